"""Commands that move runs: run, resume, signal, cancel."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flowctl.cli.driving import accepted, drive
from flowctl.cli.options import Command, Invocation, document_options, principal_option, wait_option
from flowctl.cli.selection import Selection, run_or_all


@click.command(cls=Command)
@document_options
@wait_option
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
        run_id, _ = backend.start(asked, claim=True)
        return drive(invocation, backend, run_id, wait)


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@wait_option
@click.option("--detach", is_flag=True, help="Leave it to whoever drives runs here.")
@click.pass_obj
def resume(invocation: Invocation, reference: str, wait: int, detach: bool) -> int:
    """Drive a run that was interrupted, or whose wait is over.

    RUN is a run id, a workflow id, the beginning of one, or @last. A run that is paused goes on; one that has
    ended is shown as it is. Exit codes are those of `run`.
    """
    with invocation.existing(executes=not detach) as backend:
        run_id = backend.resolve(reference)
        answer = backend.resume(run_id)
        return accepted(invocation, backend, answer) if detach else drive(invocation, backend, run_id, wait)


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.argument("name")
@click.option(
    "--payload",
    metavar="JSON|@FILE|-",
    help="What the signal carries.  [default: null, or {} if it is an object]",
)
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
        return accepted(invocation, backend, answer, f"signal {name} accepted")


@click.command(cls=Command)
@run_or_all
@click.option("--reason", default="cancelled on request", show_default=True, help="Becomes the run's error.")
@click.option("--detach", is_flag=True, help="Only record the request.")
@wait_option
@principal_option
@click.pass_obj
def cancel(
    invocation: Invocation,
    target: str | Selection,
    reason: str,
    detach: bool,
    wait: int,
    principal: str | None,
) -> int:
    """Cancel runs and undo what they did.

    The request is kept durably; then, unless somebody else has the run, it is driven here until it has ended.
    Exit codes are those of `run`: 1 is a run that was cancelled or compensated.

    With --all: every run that has not ended and fits the filters. The exit code is 0 if it could be done for
    all of them, else 1; --wait is for all together.
    """
    with invocation.existing(executes=not detach) as backend:
        if isinstance(target, Selection):
            from flowctl.cli.bulk import for_each

            return for_each(
                invocation,
                backend,
                "cancel",
                target,
                lambda run_id: backend.cancel(run_id, reason, principal=principal),
                said="cancellation accepted",
                wait=None if detach else wait,
            )
        run_id = backend.resolve(target)
        answer = backend.cancel(run_id, reason, principal=principal)
        if detach:
            return accepted(invocation, backend, answer, "cancellation accepted")
        return drive(invocation, backend, run_id, wait)
