"""One command on many runs.

1. First everything is accepted, durably, run by run; only then is anything driven. So who stops it in the
   middle has a request that holds for all of them, and not for the first few.
2. A run that cannot be helped does not stop the others. A storage error does: nobody knows what it did.
3. A run that ends by itself between being chosen and its turn needs nothing any more, which is no failure;
   nor does one that is paused, and not held, when what has failed is retried.
4. ``--wait`` is for all of them together.
5. A child that failed is not retried by the way: its parent knows how it ended, and went on, or runs it anew,
   under another id, if it is retried itself. A run that was to undo a child comes before its parent.

The exit code is 0 if it could be done for every run, else 1: a run that refused, or that ended half undone.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowctl.cli import output
from flowctl.cli.errors import Interrupted, in_one_line, to_json
from flowctl.errors import FlowctlError, InternalError, RunClosed, RunNotFound, RunOpen, StorageError
from flowctl.state import RunStatus, acts_on

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.cli.options import Invocation
    from flowctl.cli.selection import Selection

UNDO = "~undo"
"""With what the id of a run ends that undoes a child."""

_LATER, _ATTEMPT = re.compile(r"~[0-9]+$"), re.compile(r"#[0-9]+$")
"""In the id of a child: the number in its chain, and that of the attempt that ran it."""

Act = Callable[[str], Mapping[str, Any]]
"""What is done to one run, by its id; returns ``{"id", "status"}``."""


def for_each(
    invocation: Invocation,
    backend: Backend,
    command: str,
    selection: Selection,
    act: Act,
    *,
    said: str,
    wait: int | None = None,
) -> int:
    """Do something to every chosen run; with ``wait`` (milliseconds) drive them here afterwards.

    ``said`` is what people are told of each that accepted it. With ``--json``: a list of ``{"id", "status",
    "error"}``. Returns the exit code.
    """
    chosen = selection.for_command(backend, command)
    if command == "retry":
        chosen = _to_retry(backend, chosen)
    answers = [_accept(backend, command, run, act) for run in chosen]
    if wait is not None:
        _drive(backend, answers, wait)
    if invocation.json:
        output.write_json([{**answer, "error": _error_json(answer["error"])} for answer in answers])
    else:
        _tell(backend, answers, said if wait is None else None)
    return int(any(map(_failed, answers)))


def _to_retry(backend: Backend, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    undoing = [run for run in runs if run["id"].endswith(UNDO)]
    return undoing + [run for run in runs if run not in undoing and not _is_settled(backend, run)]


def _is_settled(backend: Backend, run: Mapping[str, Any]) -> bool:
    """Whether a parent has heard that it failed: not of one that it only started, whose id was its result."""
    first = _LATER.sub("", run["id"])
    parent, _, step = first.rpartition("/")
    if not parent or run["status"] != RunStatus.FAILED:
        return False
    path, started = _ATTEMPT.sub("", step), {"run": first}
    try:
        steps = backend.status(parent, first=1, count=sys.maxsize)["steps"]
    except RunNotFound:
        return False
    return not any(each["path"] == path and each["output"] == started for each in steps)


def _failed(answer: Mapping[str, Any]) -> bool:
    return answer["error"] is not None or answer["status"] == RunStatus.COMPENSATION_FAILED


def _accept(backend: Backend, command: str, run: Mapping[str, Any], act: Act) -> dict[str, Any]:
    try:
        return {**act(run["id"]), "error": None}
    except (StorageError, InternalError):
        raise
    except FlowctlError as error:
        status = backend.status(run["id"], count=1)["status"]
        needless = isinstance(error, RunClosed | RunOpen) and run["status"] in acts_on(command)
        return {"id": run["id"], "status": status, "error": None if needless else error}


def _drive(backend: Backend, answers: Iterable[dict[str, Any]], wait: int) -> None:
    """Drive what was accepted, unless somebody else does."""
    until = time.monotonic() + wait / 1000
    try:
        for answer in answers:
            if answer["error"] is None and not backend.is_taken(answer["id"]):
                left = max(0, round((until - time.monotonic()) * 1000))
                answer["status"] = backend.drive(answer["id"], wait=left)["status"]
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what was asked is accepted for every run, and nothing durable is lost",
            hint="`flowctl list` shows how they stand, `flowctl resume RUN` drives one on",
        ) from None


def _tell(backend: Backend, answers: list[dict[str, Any]], said: str | None) -> None:
    """A line for each run: what it accepted, or, where they were driven, how it stands."""
    from flowctl import render

    for answer in answers:
        if answer["error"] is not None:
            output.complain(render.error(in_one_line(answer["error"])))
        else:
            output.write(render.escape(f"{answer['id']}: {said or answer['status'].replace('_', ' ')}"))
    alone = [
        answer["id"]
        for answer in answers
        if not RunStatus(answer["status"]).ended and not backend.is_live(answer["id"])
    ]
    if not answers:
        output.write("no runs to do it to")
    elif alone:
        output.write(f"nobody is driving {len(alone)} of them; `flowctl resume RUN` goes on with one")


def _error_json(error: FlowctlError | None) -> dict[str, Any] | None:
    return None if error is None else to_json(error)
