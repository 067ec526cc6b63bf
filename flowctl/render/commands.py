"""How to go on with a run. Whoever looks at a run that does not move wants the command that moves it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping

from flowctl.clock import UNITS, format_duration, parse_timestamp
from flowctl.render.layout import Json, Line, Span, line
from flowctl.render.text import escape

Command = tuple[list[str], str]
"""Arguments of flowctl, and a remark."""

_WAIT = 60_000
"""What ``resume`` waits for by itself."""


def going_on(doc: Json, now: int, live: bool | None, db: str | None) -> Iterator[Line]:
    """The commands that move this run, as they can be typed; where somebody sees to it (``live``), those that
    he waits for.
    """
    if live and doc["status"] in _GOES_ON:
        yield line("  ", Span(_GOES_ON[doc["status"]], "dim"))
        return
    find = _COMMANDS.get(doc["status"])
    commands = list(find(doc, now)) if find is not None else []
    if live and doc["status"] == "waiting":
        commands = [command for command in commands if command[0][0] != "resume"]
    if not commands:
        return
    yield line("  ", Span("to go on", "strong"))
    options = ["--db", db] if db else []
    lines = [escape(shlex.join(["flowctl", *arguments, *options])) for arguments, _ in commands]
    longest = max(map(len, lines))
    for command, (_, remark) in zip(lines, commands, strict=True):
        yield line("    ", Span(command, "busy"), Span(f"{'':{longest - len(command)}}   # {remark}", "dim"))


_GOES_ON = {
    "created": "a worker takes it up",
    "running": "another process drives it",
    "compensating": "another process drives it",
}


def _wake(doc: Json, now: int) -> Iterator[Command]:
    awaited = dict.fromkeys(
        (waiting["kind"], name) for waiting in doc["waiting_for"] for name in waiting["names"]
    )
    for kind, name in awaited:
        if kind == "child":
            yield ["status", name], "the child that it waits for"
        else:
            yield ["signal", doc["id"], name], "what it waits for"
    due = [parse_timestamp(waiting["until"]) for waiting in doc["waiting_for"] if waiting["until"]]
    left = min(due, default=now) - now
    if awaited:
        yield ["resume", doc["id"]], "then drive it on"
    elif left > _WAIT:
        minutes = -(-left // UNITS["m"]) * UNITS["m"]
        yield ["resume", doc["id"], "--wait", format_duration(minutes)], "wait for it here"
    else:
        yield ["resume", doc["id"]], "drive it on"


def _resume(remark: str) -> Callable[[Json, int], Iterable[Command]]:
    return lambda doc, now: [(["resume", doc["id"]], remark)]


def is_held(doc: Json) -> bool:
    """Whether a failed step holds the run: then it has an error, and has undone nothing yet."""
    undoing = any(step["compensation"] is not None for step in doc["steps"])
    return doc["status"] == "paused" and doc["error"] is not None and not undoing


def _paused(doc: Json, now: int) -> Iterator[Command]:
    if not is_held(doc):
        yield ["resume", doc["id"]], "let it go on"
        return
    yield ["history", doc["id"]], "look at what happened"
    yield ["retry", doc["id"]], "go on from the step that failed"
    yield ["cancel", doc["id"]], "undo what it did"


def _failed(doc: Json, now: int) -> Iterator[Command]:
    yield ["history", doc["id"]], "every attempt and its error"
    yield ["retry", doc["id"]], "go on from the step that failed"


def _compensation_failed(doc: Json, now: int) -> Iterator[Command]:
    saga = doc["saga"]
    yield ["history", doc["id"]], "every attempt and its error"
    for run in _undoing(doc):
        yield ["retry", run], "first, what undoes the child"
    if saga["failed"]:
        yield ["retry", doc["id"]], "try again to undo the rest"
    for path in [*saga["failed"], *saga["in_doubt"]][:1]:
        yield ["retry", doc["id"], "--skip", path], "once you have seen to it yourself"


def _undoing(doc: Json) -> Iterator[str]:
    """The runs that were to undo children, and failed."""
    for step in doc["steps"]:
        error = (step["compensation"] or {}).get("error") or {}
        if error.get("type") == "CompensationFailed" and (error.get("details") or {}).get("run"):
            yield error["details"]["run"]


_COMMANDS: Mapping[str, Callable[[Json, int], Iterable[Command]]] = {
    "created": _resume("drive it"),
    "running": _resume("drive it on, if nobody does"),
    "waiting": _wake,
    "paused": _paused,
    "blocked": _resume("once what is missing is there"),
    "compensating": _resume("undo the rest"),
    "compensation_failed": _compensation_failed,
    "failed": _failed,
}
"""The commands for each state, with a remark on each. In other states there is nothing to do."""
