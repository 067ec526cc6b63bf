"""From the status document of a run to what a program gets: its output, or an error that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.errors import (
    RunCancelled,
    RunCompensated,
    RunCompensationFailed,
    RunError,
    RunFailed,
    RunTerminated,
    RunUnfinished,
)
from flowctl.state import RunStatus

_ERRORS: Mapping[RunStatus, tuple[type[RunError], str]] = {
    RunStatus.FAILED: (RunFailed, "failed"),
    RunStatus.COMPENSATED: (RunCompensated, "was undone"),
    RunStatus.COMPENSATION_FAILED: (RunCompensationFailed, "could not be undone"),
    RunStatus.CANCELLED: (RunCancelled, "was cancelled"),
    RunStatus.TERMINATED: (RunTerminated, "was terminated"),
}


def output_of(document: Mapping[str, Any]) -> Any:
    """The output of a run that completed; ``RunError`` for all others."""
    status = RunStatus(document["status"])
    if status == RunStatus.COMPLETED:
        return document["output"]
    if status not in _ERRORS:
        raise _unfinished(document, status)
    error, what = _ERRORS[status]
    raise error(
        f"run {document['id']} {what}{_why(document['error'])}{_left(document['saga'])}",
        document,
        hint=f"`flowctl history {document['id']}` shows how it came to this",
    )


def _why(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return ""
    at = f" at {error['step']}" if error["step"] else ""
    return f": {error['type']}{at}: {error['message']}"


def _left(saga: Mapping[str, Any]) -> str:
    words = {"failed": "not undone", "in_doubt": "in doubt"}
    left = [f"{word}: {', '.join(saga[key])}" for key, word in words.items() if saga[key]]
    return f" ({'; '.join(left)})" if left else ""


def _unfinished(document: Mapping[str, Any], status: RunStatus) -> RunUnfinished:
    run_id = document["id"]
    resume = f"start it again with id={run_id!r}, or `flowctl resume {run_id}`, to go on"
    if status == RunStatus.BLOCKED:
        blocked = document["blocked"] or {}
        reason = blocked.get("reason", "something is missing here")
        return RunUnfinished(f"run {run_id} is blocked: {reason}", document, hint=f"mend that, then {resume}")
    if status == RunStatus.PAUSED:
        held = _why(document["error"])
        hint = f"`flowctl retry {run_id}`, `flowctl unpause {run_id}` or `flowctl cancel {run_id}` decide"
        return RunUnfinished(f"run {run_id} is paused{held}", document, hint=hint)
    waits = [_waits(each) for each in document["waiting_for"]]
    if not waits:
        return RunUnfinished(f"run {run_id} is {status}", document, hint=resume)
    signals = [name for each in document["waiting_for"] if each["kind"] == "signal" for name in each["names"]]
    first = f"send it with `flowctl signal {run_id} {signals[0]}`, then " if signals else ""
    return RunUnfinished(f"run {run_id} waits for {' and '.join(waits)}", document, hint=first + resume)


def _waits(waiting: Mapping[str, Any]) -> str:
    names = " or ".join(waiting["names"] or ())
    until = f" until {waiting['until']}" if waiting["until"] else ""
    return f"{waiting['kind']}{' ' if names else ''}{names}{until} ({waiting['path']})"
