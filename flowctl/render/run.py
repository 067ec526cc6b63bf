"""A run as people see it: what it is, how it stands, its steps, what came of it, and how to go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flowctl.clock import parse_timestamp
from flowctl.render.commands import going_on
from flowctl.render.layout import EMPTY, Column, Json, Line, Row, Span, Style, Table, View, line
from flowctl.render.signs import SIGNS, sign, words
from flowctl.render.steps import steps
from flowctl.render.text import duration, escape, inline, moment, paragraphs, pretty, relative
from flowctl.wall_clock import wall_clock

_SAGA: Sequence[tuple[str, str, Style, str]] = (
    ("undone", "undone", "undone", ""),
    ("failed", "undo failed", "bad", ""),
    ("in_doubt", "in doubt", "bad", "may have happened, and was not undone"),
    ("not_undone", "not undone", "warn", "irreversible"),
    ("skipped", "skipped", "", "handled by a person"),
)
"""What a saga lists: key, words, style, remark."""


def status(doc: Json, *, now: int | None = None, live: bool | None = None, db: str | None = None) -> View:
    """Everything about a run, from its status document.

    ``now`` is in milliseconds, the clock's by default. ``live`` says whether some process drives the run,
    None if nobody asked. ``db`` is what the user gave as ``--db``: the commands shown repeat it.
    """
    now = wall_clock() if now is None else now
    yield from heading(doc, now)
    yield from _steps(doc, now)
    yield from outcome(doc, now=now, live=live, db=db)


def status_before(doc: Json, path: str) -> View:
    """What a run knew just before the step at ``path`` began, from such a status document."""
    at = _latest(doc)
    yield from heading(doc, at, f"just before {escape(path)}, {duration(_took(doc, at))} after it began")
    yield from _steps(doc, at)
    yield from _sections(_saga(doc), _error(doc), _attributes(doc))


def _steps(doc: Json, now: int) -> View:
    if doc["steps"]:
        yield EMPTY
        yield from steps(doc, now)


def _latest(doc: Json) -> int:
    """The latest moment that a document knows of."""
    times = (time for each in (doc, *doc["steps"]) for time in (each["started_at"], each["completed_at"]))
    return max(map(parse_timestamp, (doc["created_at"], *filter(None, times))))


def outcome(doc: Json, *, now: int | None = None, live: bool | None = None, db: str | None = None) -> View:
    """What comes of it: what it waits for, what was undone, the error or the output, and how to go on."""
    now = wall_clock() if now is None else now
    came_of_it = _waiting(doc, now), _saga(doc), _error(doc), _output(doc), _attributes(doc)
    yield from _sections(*came_of_it, going_on(doc, now, live, db))


def _sections(*sections: Iterable[Line]) -> View:
    """Those that have something to say, each after an empty line."""
    for section in sections:
        lines = list(section)
        if lines:
            yield EMPTY
            yield from lines


def run_list(docs: Iterable[Json], *, now: int | None = None) -> View:
    """Runs, one a line, from documents as ``list --json`` has them."""
    now = wall_clock() if now is None else now
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
    remark = why(doc["error"]) if doc["error"] else ", ".join(_waits_for(w) for w in doc["waiting_for"])
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


def heading(doc: Json, now: int, phrase: str | None = None) -> Iterator[Line]:
    """Two lines: which run, how it stands (or another ``phrase``), what it runs."""
    status = doc["status"]
    shown = Span(stands(doc, now) if phrase is None else phrase, SIGNS[status][1])
    yield line(sign(status), " ", Span(escape(doc["id"]), "strong"), "  ", shown)
    facts = [f"{escape(doc['workflow'])} v{doc['version']}", moment(doc["started_at"] or doc["created_at"])]
    if doc["parent_id"]:
        facts.append(f"child of {escape(doc['parent_id'])}")
    if doc["principal"]:
        facts.append(f"for {escape(doc['principal'])}")
    yield line("   ", Span(" · ".join(facts), "dim"))


def stands(doc: Json, now: int) -> str:
    """How a run stands, in a few words."""
    began = parse_timestamp(doc["started_at"] or doc["created_at"])
    status: str = doc["status"]
    phrase = _PHRASES.get(status, status.replace("_", " ") + " after {took}")
    return phrase.format(ago=relative(began, now), took=duration(_took(doc, now)))


def _took(doc: Json, now: int) -> int:
    began = parse_timestamp(doc["started_at"] or doc["created_at"])
    return (parse_timestamp(doc["completed_at"]) if doc["completed_at"] else now) - began


# --- what comes of it


def _labelled(label: str, style: Style, *parts: str | Span) -> Line:
    return line("  ", Span(label, style), " " * (_LABEL - len(label)), *parts)


_LABEL = 13


def _waiting(doc: Json, now: int) -> Iterator[Line]:
    blocked = doc["blocked"]
    if blocked:
        where = f"{escape(blocked['path'])}: " if blocked["path"] else ""
        yield _labelled("blocked", "bad", where, escape(blocked["reason"]))
    for waiting in doc["waiting_for"]:
        yield _labelled("waits for", "warn", _waits_for(waiting), Span(_limit(waiting, now), "dim"))


def _limit(waiting: Json, now: int) -> str:
    if waiting["until"] is None:
        return ""
    due = parse_timestamp(waiting["until"])
    word = "times out" if waiting["kind"] == "signal" else "due"
    return f", {word} {relative(due, now)}" if due > now else ", its time is up"


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
            yield _labelled(title, style, paths, Span(f"  ({remark})" if remark else "", "dim"))


def _error(doc: Json) -> Iterator[Line]:
    if doc["error"]:
        yield _labelled("error", "bad", why(doc["error"]))


def why(error: Json) -> str:
    """An error on one line: its type, where it happened, its message."""
    where = f" at {escape(error['step'])}" if error["step"] else ""
    return f"{escape(error['type'])}{where}: {paragraphs(error['message'])[0]}"


def _output(doc: Json) -> Iterator[Line]:
    if doc["status"] == "completed" and doc["output"] is not None:
        first, *more = pretty(doc["output"])
        yield _labelled("output", "good", first)
        yield from (line("  ", " " * _LABEL, text) for text in more)


def _attributes(doc: Json) -> Iterator[Line]:
    for key in ("attributes", "memo"):
        if doc[key]:
            yield _labelled(key, "", inline(doc[key]))
