"""What commands that move runs have in common: driving one here, or saying that something was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowctl.cli import output
from flowctl.state import EXIT_CODES, RunStatus

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.cli.options import Invocation


def drive(invocation: Invocation, backend: Backend, run_id: str, wait: int) -> int:
    """Drive a run, show how it goes and where it has come to; returns its exit code."""
    from flowctl.cli.errors import Interrupted

    try:
        document = _driven(invocation, backend, run_id, wait)
    except KeyboardInterrupt:
        raise Interrupted(
            f"run {run_id} was interrupted; nothing durable is lost",
            hint=f"`{_command(invocation, 'resume', run_id)}` goes on",
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


def accepted(
    invocation: Invocation, backend: Backend, answer: Mapping[str, Any], what: str = "nothing to do"
) -> int:
    """Something was recorded: say so, and how to go on if nobody is there to act on it. Returns 0."""
    if invocation.json:
        output.write_json({"id": answer["id"], "status": answer["status"]})
        return 0
    from flowctl.render import escape
    from flowctl.render.commands import is_held

    run_id, status = answer["id"], RunStatus(answer["status"])
    output.write(escape(f"{run_id}: {what}"))
    if status == RunStatus.PAUSED and is_held(backend.status(run_id)):
        retry, cancel = (_command(invocation, command, run_id) for command in ("retry", "cancel"))
        output.write(f"a failed step holds it; `{retry}` goes on from there, `{cancel}` undoes what it did")
    elif not status.ended and not backend.is_live(run_id):
        output.write(f"nobody is driving it; `{_command(invocation, 'resume', run_id)}` goes on")
    return 0


def _command(invocation: Invocation, command: str, run_id: str) -> str:
    import shlex

    return shlex.join(["flowctl", command, run_id, *(["--db", invocation.db] if invocation.db else [])])
