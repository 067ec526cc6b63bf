"""Two runs side by side: a row for everything in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowctl.render.layout import EMPTY, Column, Json, Row, Span, Table, View, line
from flowctl.render.run import stands, why
from flowctl.render.signs import sign
from flowctl.render.text import duration, escape, inline
from flowctl.wall_clock import wall_clock

ROWS = 200
"""Rows that are shown; JSON has them all."""

_VALUE = 60
"""Columns of a value."""

_SLOWER, _LONGER = 2, 100
"""Two times are worth a row if one is so many times the other, and so many milliseconds longer."""

_COLUMNS = (
    Column(),
    Column(flexible=True),
    Column("A", flexible=True),
    Column("B", flexible=True),
)


def diff(doc: Json) -> View:
    """Where two runs differ, from the document of ``diff --json``."""
    now = wall_clock()
    for letter, run in zip("AB", doc["runs"], strict=True):
        yield line(
            Span(f"{letter}  ", "strong"),
            sign(run["status"]),
            " ",
            Span(escape(run["id"]), "strong"),
            f"  {stands(run, now)}  ",
            Span(f"{escape(run['workflow'])} v{run['version']}", "dim"),
        )
    yield EMPTY
    rows = [*map(_difference, doc["differences"]), *_times(doc["times"])]
    if not rows:
        yield line("no differences")
        return
    yield Table(_COLUMNS, rows[:ROWS], indent=0)
    if len(rows) > ROWS:
        yield line(Span(f"{len(rows) - ROWS} more: --json has them all", "dim"))


def _difference(found: Json) -> Row:
    show = _VALUES.get(found["what"], _text)
    what = escape(found["what"] + found["where"])
    return _row(found["path"], what, *(show(value) for value in found["values"]))


def _row(path: str, what: str, left: str, right: str) -> Row:
    name = Span(escape(path), "name") if path else Span("the run", "dim")
    return Row([line(name), line(what), line(left), line(right)])


def _text(value: Any) -> str:
    """States, kinds and numbers, as they are."""
    return "–" if value is None else escape(str(value)).replace("_", " ")


def _data(value: Any) -> str:
    return "–" if value is None else inline(value, _VALUE)


def _error(value: Any) -> str:
    return "–" if value is None else why(value)


def _reached(value: Any) -> str:
    return "reached" if value else "–"


_VALUES: Mapping[str, Callable[[Any], str]] = {
    "input": _data,
    "output": _data,
    "error": _error,
    "reached": _reached,
}
"""How the values of a difference are shown."""


def _times(times: Iterable[Json]) -> Iterable[Row]:
    for each in times:
        left, right = each["milliseconds"]
        if left is None or right is None:
            continue
        shorter, longer = sorted((left, right))
        if longer >= shorter * _SLOWER and longer - shorter >= _LONGER:
            yield _row(each["path"], "took", duration(left), duration(right))
