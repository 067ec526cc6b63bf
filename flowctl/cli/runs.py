"""Commands about runs: run, resume, status, list, history, signal, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation, page, principal_option, wait_option
from flowctl.state import EXIT_CODES, RunStatus

if TYPE_CHECKING:
    from flowctl.backends import Backend


@click.command(cls=Command)
@click.argument("document", metavar="FILE|NAME[@V]")
@click.option(
    "-i", "pairs", multiple=True, metavar="KEY=VALUE", help="One key of the input; may be repeated."
)
@click.option("--input", "text", metavar="JSON|@FILE|-", help="The input; keys given with -i win.")
@click.option("--id", metavar="ID", help="The id of the workflow; one that exists is driven on.")
@wait_option
@principal_option
@click.pass_obj
def run(
    invocation: Invocation,
    document: str,
    pairs: Sequence[str],
    text: str | None,
    id: str | None,
    wait: int,
    principal: str | None,
) -> int:
    """Start a run and drive it until it ends or only waits.

    What ends in .yaml, .yml or .json or has a folder in it is a file; anything else is the name of a deployed
    workflow.

    Exit codes: 0 completed; 1 failed, compensated, cancelled or terminated; 2 bad document or input; 3 live:
    it waits, is paused or blocked; 5 the id is taken; 6 compensation failed; 130 interrupted.
    """
    from flowctl.cli.starting import read_source, request

    source = read_source(document)
    with invocation.backend(executes=True) as backend:
        asked = request(
            invocation, backend, document, source, text=text, pairs=pairs, id=id, principal=principal
        )
        run_id, _ = backend.start(asked)
        return _drive(invocation, backend, run_id, wait)


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@wait_option
@click.option("--detach", is_flag=True, help="Leave it to whoever drives runs here.")
@click.pass_obj
def resume(invocation: Invocation, reference: str, wait: int, detach: bool) -> int:
    """Drive a run that was interrupted, or whose wait is over.

    RUN is a run id, a workflow id, the beginning of one, or @last. A run that has ended is shown as it is.
    Exit codes are those of `run`.
    """
    if detach:
        with invocation.reader() as backend:
            run_id = backend.resolve(reference)
            return _accepted(
                invocation, backend, {"id": run_id, "status": backend.status(run_id, count=1)["status"]}
            )
    with invocation.existing(executes=True) as backend:
        return _drive(invocation, backend, backend.resolve(reference), wait)


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option(
    "--steps", callback=page, metavar="FROM:N", help="N steps from number FROM on, rather than the last 200."
)
@click.pass_obj
def status(invocation: Invocation, reference: str, steps: tuple[int, int] | None) -> None:
    """Show everything about a run."""
    first, count = steps or (None, 200)
    with invocation.reader() as backend:
        run_id = backend.resolve(reference)
        document = backend.status(run_id, first=first, count=count)
        if invocation.json:
            output.write_json(document)
        else:
            from flowctl import render

            output.show(render.status(document, live=backend.is_live(run_id), db=invocation.db))


@click.command("list", cls=Command)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([str(state) for state in RunStatus]),
    metavar="STATUS",
    help="Only runs in this state; may be repeated.",
)
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many."
)
@click.pass_obj
def list_runs(invocation: Invocation, statuses: Sequence[str], workflow: str | None, limit: int) -> None:
    """List runs, newest first."""
    with invocation.reader() as backend:
        documents = backend.list(statuses=statuses, workflow=workflow, limit=limit)
    if invocation.json:
        output.write_json(documents)
    else:
        from flowctl import render

        output.show(render.run_list(documents))


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option("--jsonl", is_flag=True, help="Print one JSON document a line.")
@click.pass_obj
def history(invocation: Invocation, reference: str, jsonl: bool) -> None:
    """Show a run's journal, one entry a line."""
    with invocation.reader() as backend:
        lines = backend.history(backend.resolve(reference))
        if jsonl:
            for line in lines:
                output.write_json(line, compact=True)
        elif invocation.json:
            output.write_json(list(lines))
        else:
            from flowctl import render

            output.show(render.history(lines))


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.argument("name")
@click.option("--payload", metavar="JSON|@FILE|-", help="What the signal carries.  [default: null]")
@click.option("--dedup-id", metavar="ID", help="A second signal with this id is not delivered.")
@principal_option
@click.pass_obj
def signal(
    invocation: Invocation,
    reference: str,
    name: str,
    payload: str | None,
    dedup_id: str | None,
    principal: str | None,
) -> int:
    """Deliver a signal to a run.

    It is checked against the run's document, kept durably, and received when the run waits for it, now or
    later.
    """
    from flowctl.cli.inputs import json_argument

    value = json_argument(payload, "--payload") if payload is not None else None
    with invocation.existing() as backend:
        run_id = backend.resolve(reference)
        answer = backend.signal(run_id, name, value, dedup_id=dedup_id, principal=principal)
        return _accepted(invocation, backend, answer, f"signal {name} accepted")


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option("--reason", default="cancelled on request", show_default=True, help="Becomes the run's error.")
@click.option("--detach", is_flag=True, help="Only record the request.")
@wait_option
@principal_option
@click.pass_obj
def cancel(
    invocation: Invocation, reference: str, reason: str, detach: bool, wait: int, principal: str | None
) -> int:
    """Cancel a run and undo what it did.

    The request is kept durably; then, unless somebody else has the run, it is driven here until it has ended.
    Exit codes are those of `run`: 1 is a run that was cancelled or compensated.
    """
    with invocation.existing(executes=not detach) as backend:
        run_id = backend.resolve(reference)
        answer = backend.cancel(run_id, reason, principal=principal)
        if detach:
            return _accepted(invocation, backend, answer, "cancellation accepted")
        return _drive(invocation, backend, run_id, wait)


def _drive(invocation: Invocation, backend: Backend, run_id: str, wait: int) -> int:
    """Drive a run, show how it goes and where it has come to; returns its exit code."""
    from flowctl.cli.errors import Interrupted

    try:
        document = _driven(invocation, backend, run_id, wait)
    except KeyboardInterrupt:
        raise Interrupted(
            f"run {run_id} was interrupted; nothing durable is lost",
            hint=f"`{_resume_command(invocation, run_id)}` goes on",
            details={"id": run_id},
        ) from None
    return EXIT_CODES[RunStatus(document["status"])]


def _driven(invocation: Invocation, backend: Backend, run_id: str, wait: int) -> dict[str, Any]:
    if invocation.json:
        document = backend.drive(run_id, wait=wait)
        output.write_json(document)
        return document
    with output.to_stdout().progress(db=invocation.db) as progress:
        document = backend.drive(run_id, wait=wait, observe=progress.observe)
        progress.finish(document, live=backend.is_live(run_id))
    return document


def _accepted(
    invocation: Invocation, backend: Backend, answer: dict[str, Any], what: str = "nothing to do"
) -> int:
    """Something was recorded: say so, and how to go on if nobody is there to act on it. Returns 0."""
    if invocation.json:
        output.write_json({"id": answer["id"], "status": answer["status"]})
        return 0
    from flowctl.render import escape

    output.write(escape(f"{answer['id']}: {what}"))
    if not RunStatus(answer["status"]).ended and not backend.is_live(answer["id"]):
        output.write(f"nobody is driving it; `{_resume_command(invocation, answer['id'])}` goes on")
    return 0


def _resume_command(invocation: Invocation, run_id: str) -> str:
    import shlex

    return shlex.join(["flowctl", "resume", run_id, *(["--db", invocation.db] if invocation.db else [])])
