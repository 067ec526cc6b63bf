"""The steps of a run as a tree: how each stands, what it does, how long it took, what came of it.

A compensation is shown at the step it undoes, and an error where it happened, not at every block around it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flowctl.clock import parse_timestamp
from flowctl.render.layout import Block, Column, Json, Line, Row, Span, Table, line
from flowctl.render.signals import received
from flowctl.render.signs import SIGNS, sign
from flowctl.render.text import duration, escape, inline, paragraphs, relative

_COLUMNS = (
    Column(flexible=True),
    Column(flexible=True, optional=True),
    Column(),
    Column(flexible=True, optional=True),
)


def steps(doc: Json, now: int) -> Iterator[Block]:
    """The steps as a tree: what is inside a block stands beneath it, in order of start."""
    left_out = sum((doc["step_counts"] or {}).values()) - len(doc["steps"])
    if left_out > 0:
        command = escape(shlex.join(["flowctl", "status", doc["id"], "--steps", f"1:{left_out}"]))
        yield line("  ", Span(f"{left_out} more: {command}", "dim"))
    until = {waiting["path"]: waiting["until"] for waiting in doc["waiting_for"]}
    shown = {step["path"] for step in doc["steps"]}
    rows = [
        Row(_step_cells(step, "  " * depth, label, until, now), _step_errors(step, "  " * depth, shown))
        for step, label, depth in _tree(doc["steps"])
    ]
    yield Table(_COLUMNS, rows)


def _tree(steps: Sequence[Json]) -> Iterator[tuple[Json, str, int]]:
    """Each step, its path as far as the one above it does not say it, and its depth."""
    inside: dict[str, list[Json]] = {"": []}
    for step in steps:
        inside[step["path"]] = []
    for step in steps:
        inside[_owner(step["path"], inside)].append(step)

    def walk(owner: str, depth: int) -> Iterator[tuple[Json, str, int]]:
        for step in inside[owner]:
            yield step, step["path"][len(owner) :].lstrip("."), depth
            yield from walk(step["path"], depth + 1)

    return walk("", 0)


def _owner(path: str, known: Mapping[str, Any]) -> str:
    """The innermost of the ``known`` paths that this one is inside of, "" if none is."""
    while path:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
        if path in known:
            return path
    return ""


def _step_cells(
    step: Json, indent: str, label: str, until: Mapping[str, str | None], now: int
) -> Sequence[Line]:
    quiet = step["status"] in ("skipped", "pending")
    return (
        line(sign(step["status"]), " ", indent, Span(escape(label), "dim" if quiet else "name")),
        line(Span(_what(step), "dim")),
        _note(step, until.get(step["path"]), now),
        line(Span(_result(step), "dim")),
    )


def _result(step: Json) -> str:
    output = step["output"]
    # a wait that began before anybody followed the run has no kind yet
    signal = received(output) if step["kind"] in ("wait_for_signal", None) else None
    return signal or (inline(output) if output is not None else "")


_VERBS = {"wait_for_signal": "signal", "steps": "block"}


def _what(step: Json) -> str:
    """What a step does: its activity, or its verb."""
    if step["kind"] == "activity" and step["name"]:
        return escape(step["name"])
    verb = _VERBS.get(step["kind"], step["kind"] or "")
    return f"{verb} {escape(step['name'])}" if step["name"] else verb


def _note(step: Json, until: str | None, now: int) -> Line:
    """How a step stands, in a few words: only what its symbol does not say."""
    note, style = _NOTES.get(step["status"], _took_note)(step, until, now), SIGNS[step["status"]][1]
    attempts = (step["compensation"] or step)["attempt"]
    parts = [part for part in (note, f"{attempts} attempts" if attempts > 1 else "") if part]
    return line(Span(" · ".join(parts), "" if style == "good" else style))


def _took_note(step: Json, until: str | None, now: int) -> str:
    if step["started_at"] is None:
        return ""
    end = parse_timestamp(step["completed_at"]) if step["completed_at"] else now
    return duration(end - parse_timestamp(step["started_at"]))


def _waiting_note(step: Json, until: str | None, now: int) -> str:
    left = parse_timestamp(until) - now if until else 0
    return f"{duration(left)} left" if left > 0 else "waiting"


def _retrying_note(step: Json, until: str | None, now: int) -> str:
    due = parse_timestamp(until) if until else now
    return f"again {relative(due, now)}" if due > now else "again now"


def _word(text: str) -> Callable[[Json, str | None, int], str]:
    return lambda step, until, now: text


_NOTES: Mapping[str, Callable[[Json, str | None, int], str]] = {
    "pending": _word("not begun"),
    "skipped": _word("skipped"),
    "cancelled": _word("cancelled"),
    "waiting": _waiting_note,
    "retrying": _retrying_note,
    "compensating": _word("being undone"),
    "compensated": _word("undone"),
    "compensation_failed": _word("undo failed"),
}
"""What is said of a step in each state; of any other, how long it took."""


def _step_errors(step: Json, indent: str, shown: set[str]) -> Sequence[Line]:
    """Why the step failed, unless a step inside of it says so, and why it could not be undone."""
    lines: list[Line] = []
    margin = f"       {indent}"
    if step["error"] and (step["error"]["step"] == step["path"] or step["error"]["step"] not in shown):
        lines += _error_lines(step["error"], margin)
    undo = step["compensation"]
    if undo and undo["error"]:
        lines += _error_lines(undo["error"], f"{margin}undo: ")
    return lines


def _error_lines(error: Json, margin: str) -> list[Line]:
    """``Type: message``, further lines of the message beneath, and what caused it."""
    first, *more = paragraphs(error["message"])
    lines = [line(margin, Span(f"{escape(error['type'])}: ", "bad"), Span(first, "bad"))]
    lines += [line(" " * len(margin) + "  ", Span(text, "bad")) for text in more]
    if error["cause"]:
        lines += _error_lines(error["cause"], f"{' ' * len(margin)}caused by ")
    return lines
