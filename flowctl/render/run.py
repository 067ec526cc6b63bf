"""A run as people see it: what it is, how it stands, its steps as a tree, and how to go on.

The last is the point: whoever looks at a run that does not move wants the command that moves it. ``_COMMANDS``
has it for every state in which there is one.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowctl.clock import UNITS, format_duration, parse_timestamp
from flowctl.render.layout import EMPTY, Block, Column, Line, Row, Span, Table, View, line
from flowctl.render.signs import SIGNS, sign, words
from flowctl.render.text import duration, escape, inline, moment, paragraphs, pretty, relative

Json = Mapping[str, Any]

_WAIT = 60_000
"""What ``resume`` waits for by itself."""

_STEP_COLUMNS = (
    Column(flexible=True),
    Column(flexible=True, optional=True),
    Column(),
    Column(flexible=True, optional=True),
)

_SAGA = (
    ("undone", "undone", "warn", ""),
    ("failed", "not undone, its compensation failed", "bad", ""),
    ("in_doubt", "in doubt", "bad", "nobody knows whether it happened"),
    ("not_undone", "not undone", "warn", "it cannot be"),
    ("skipped", "handled by a person", "", ""),
)
"""What a saga lists: key, words, style, remark."""


def status(doc: Json, *, now: int | None = None, live: bool | None = None, db: str | None = None) -> View:
    """Everything about a run, from its status document.

    ``now`` is in milliseconds, the clock's by default. ``live`` says whether some process drives the run, None
    if nobody asked. ``db`` is what the user gave as ``--db``: the commands shown repeat it.
    """
    now = now_in_milliseconds() if now is None else now
    yield from heading(doc, now)
    if doc["steps"]:
        yield EMPTY
        yield from steps(doc, now)
    yield from outcome(doc, now=now, live=live, db=db)


def outcome(doc: Json, *, now: int | None = None, live: bool | None = None, db: str | None = None) -> View:
    """What comes of it: what it waits for, what was undone, the error or the output, and how to go on."""
    now = now_in_milliseconds() if now is None else now
    for section in (_waiting(doc, now), _saga(doc), _error(doc), _output(doc), going_on(doc, now, live, db)):
        lines = list(section)
        if lines:
            yield EMPTY
            yield from lines


def run_list(docs: Iterable[Json], *, now: int | None = None) -> View:
    """Runs, one a line, from documents as ``list --json`` has them."""
    now = now_in_milliseconds() if now is None else now
    rows = [Row(_run_cells(doc, now)) for doc in docs]
    if not rows:
        yield line(Span("no runs", "dim"))
        return
    columns = (
        Column(flexible=True),
        Column("run", flexible=True),
        Column("workflow", flexible=True),
        Column("state"),
        Column("started"),
        Column("took", right=True, optional=True),
        Column("", flexible=True, optional=True),
    )
    yield Table(columns, rows, indent=0)


def _run_cells(doc: Json, now: int) -> Sequence[Line]:
    remark = _why(doc["error"]) if doc["error"] else ", ".join(_waits_for(w) for w in doc["waiting_for"])
    remark = escape(doc["blocked"]["reason"]) if doc["blocked"] else remark
    ended = doc["completed_at"] is not None
    return (
        (sign(doc["status"]),),
        line(Span(escape(doc["id"]), "strong")),
        line(f"{escape(doc['workflow'])} v{doc['version']}"),
        (words(doc["status"]),),
        line(relative(parse_timestamp(doc["started_at"] or doc["created_at"]), now)),
        line(duration(_took(doc, now)) if ended else ""),
        line(Span(remark.split("\n")[0], "dim")),
    )


# --- the heading


_PHRASES = {
    "created": "accepted {ago}",
    "running": "running, started {ago}",
    "waiting": "waiting, started {ago}",
    "paused": "paused, started {ago}",
    "blocked": "blocked, started {ago}",
    "compensating": "compensating, started {ago}",
    "completed": "completed in {took}",
    "continued": "continued as a new run after {took}",
}


def heading(doc: Json, now: int) -> Iterator[Line]:
    """Two lines: which run, how it stands, what it runs."""
    status = doc["status"]
    began = parse_timestamp(doc["started_at"] or doc["created_at"])
    phrase = _PHRASES.get(status, status.replace("_", " ") + " after {took}")
    phrase = phrase.format(ago=relative(began, now), took=duration(_took(doc, now)))
    yield line(sign(status), " ", Span(escape(doc["id"]), "strong"), "  ", Span(phrase, SIGNS[status][1]))
    facts = [f"{escape(doc['workflow'])} v{doc['version']}", moment(doc["started_at"] or doc["created_at"])]
    if doc["parent_id"]:
        facts.append(f"child of {escape(doc['parent_id'])}")
    if doc["principal"]:
        facts.append(f"for {escape(doc['principal'])}")
    yield line("   ", Span(" · ".join(facts), "dim"))


def _took(doc: Json, now: int) -> int:
    began = parse_timestamp(doc["started_at"] or doc["created_at"])
    return (parse_timestamp(doc["completed_at"]) if doc["completed_at"] else now) - began


# --- the steps


def steps(doc: Json, now: int) -> Iterator[Block]:
    """The steps as a tree: what is inside a block stands beneath it, in order of start."""
    left_out = sum((doc["step_counts"] or {}).values()) - len(doc["steps"])
    if left_out > 0:
        yield line("  ", Span(f"{left_out} more steps: flowctl status … --steps FROM:N", "dim"))
    until = {waiting["path"]: waiting["until"] for waiting in doc["waiting_for"]}
    shown = {step["path"] for step in doc["steps"]}
    rows = [
        Row(_step_cells(step, "  " * depth, label, until, now), _step_errors(step, "  " * depth, shown))
        for step, label, depth in _tree(doc["steps"])
    ]
    yield Table(_STEP_COLUMNS, rows)


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
    output = inline(step["output"]) if step["output"] is not None else ""
    return (
        line(sign(step["status"]), " ", indent, Span(label, "dim" if quiet else "name")),
        line(Span(_what(step), "dim")),
        _note(step, until.get(step["path"]), now),
        line(Span(output, "dim")),
    )


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
    attempts = step["attempt"]
    parts = [part for part in (note, f"{attempts} attempts" if attempts > 1 else "") if part]
    return line(Span(" · ".join(parts), "" if style == "good" else style))


def _took_note(step: Json, until: str | None, now: int) -> str:
    if step["started_at"] is None:
        return ""
    end = parse_timestamp(step["completed_at"]) if step["completed_at"] else now
    return duration(end - parse_timestamp(step["started_at"]))


def _waiting_note(step: Json, until: str | None, now: int) -> str:
    return f"until {relative(parse_timestamp(until), now)}" if until else "waiting"


def _retrying_note(step: Json, until: str | None, now: int) -> str:
    due = parse_timestamp(until) if until else now
    return f"again {relative(due, now)}" if due > now else "again now"


def _undo_note(word: str) -> Callable[[Json, str | None, int], str]:
    def note(step: Json, until: str | None, now: int) -> str:
        attempts = step["compensation"]["attempt"] if step["compensation"] else 0
        return f"{word} at attempt {attempts}" if attempts > 1 else word

    return note


def _word(text: str) -> Callable[[Json, str | None, int], str]:
    return lambda step, until, now: text


_NOTES: Mapping[str, Callable[[Json, str | None, int], str]] = {
    "pending": _word("not begun"),
    "skipped": _word("skipped"),
    "cancelled": _word("cancelled"),
    "waiting": _waiting_note,
    "retrying": _retrying_note,
    "compensating": _undo_note("being undone"),
    "compensated": _undo_note("undone"),
    "compensation_failed": _undo_note("not undone"),
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


# --- what comes of it


def _title(text: str, style: Any = "strong") -> Line:
    return line("  ", Span(text, style))


def _waiting(doc: Json, now: int) -> Iterator[Line]:
    if doc["blocked"]:
        where = f" at {escape(doc['blocked']['path'])}" if doc["blocked"]["path"] else ""
        yield line("  ", Span(f"blocked{where}", "bad"), f"  {escape(doc['blocked']['reason'])}")
    for waiting in doc["waiting_for"]:
        due = parse_timestamp(waiting["until"]) if waiting["until"] else None
        at = f", {_LIMITS.get(waiting['kind'], 'due')} {relative(due, now)}" if due else ""
        yield line("  ", Span("waits for ", "warn"), _waits_for(waiting), Span(at, "dim"))


_LIMITS = {"signal": "times out"}


def _waits_for(waiting: Json) -> str:
    path = escape(waiting["path"])
    if waiting["kind"] == "signal":
        return f"signal {' or '.join(map(escape, waiting['names']))} ({path})"
    if waiting["kind"] == "retry":
        return f"the next attempt of {path}"
    return f"{waiting['kind']} {path}"


def _saga(doc: Json) -> Iterator[Line]:
    for key, title, style, remark in _SAGA:
        if doc["saga"][key]:
            paths = ", ".join(map(escape, doc["saga"][key]))
            yield line("  ", Span(title, style), f"  {paths}", Span(f"  {remark}" if remark else "", "dim"))


def _error(doc: Json) -> Iterator[Line]:
    if doc["error"]:
        yield line("  ", Span("error", "bad"), "  ", _why(doc["error"]))


def _why(error: Json) -> str:
    """An error on one line: its type, where it happened, its message."""
    where = f" at {escape(error['step'])}" if error["step"] else ""
    return f"{escape(error['type'])}{where}: {paragraphs(error['message'])[0]}"


def _output(doc: Json) -> Iterator[Line]:
    if doc["status"] == "completed" and doc["output"] is not None:
        first, *more = pretty(doc["output"])
        yield line("  ", Span("output", "good"), "  ", first)
        yield from (line("          ", text) for text in more)


# --- how to go on


def going_on(doc: Json, now: int, live: bool | None, db: str | None) -> Iterator[Line]:
    """The commands that move this run, as they can be typed."""
    if live and doc["status"] in ("running", "compensating"):
        yield line("  ", Span("another process drives it", "dim"))
        return
    commands = list(_COMMANDS.get(doc["status"], lambda doc, now: ())(doc, now))
    if not commands:
        return
    yield _title("to go on")
    options = ["--db", db] if db else []
    for words, remark in commands:
        command = shlex.join(["flowctl", *words, *options])
        yield line("    ", Span(command, "busy"), Span(f"   # {remark}", "dim"))


Command = tuple[list[str], str]


def _wake(doc: Json, now: int) -> Iterator[Command]:
    names = dict.fromkeys(name for waiting in doc["waiting_for"] for name in waiting["names"])
    for name in names:
        yield ["signal", doc["id"], name], "what it waits for"
    due = [parse_timestamp(waiting["until"]) for waiting in doc["waiting_for"] if waiting["until"]]
    left = min(due, default=now) - now
    if names:
        yield ["resume", doc["id"]], "then drive it on"
    elif left > _WAIT:
        minutes = -(-left // UNITS["m"]) * UNITS["m"]
        yield ["resume", doc["id"], "--wait", format_duration(minutes)], "wait for it here"
    else:
        yield ["resume", doc["id"]], "drive it on"


def _resume(remark: str) -> Callable[[Json, int], Iterable[Command]]:
    return lambda doc, now: [(["resume", doc["id"]], remark)]


def _held(doc: Json, now: int) -> Iterator[Command]:
    yield ["history", doc["id"]], "look at what happened"
    yield ["cancel", doc["id"]], "undo what it did"


_COMMANDS: Mapping[str, Callable[[Json, int], Iterable[Command]]] = {
    "created": _resume("drive it"),
    "running": _resume("drive it on, if nobody does"),
    "waiting": _wake,
    "paused": _held,
    "blocked": _resume("once what is missing is there"),
    "compensating": _resume("undo the rest"),
    "compensation_failed": lambda doc, now: [(["history", doc["id"]], "every attempt and its error")],
    "failed": lambda doc, now: [(["history", doc["id"]], "every attempt and its error")],
}
"""The commands for each state, with a remark on each. In other states there is nothing to do."""


def now_in_milliseconds() -> int:
    """The present moment, which only displays ask for."""
    return time.time_ns() // 1_000_000
