"""Blocks and how they become lines: what views are made of, and the one layout for terminals and pipes.

A span's style says what it means (``good``, ``name``); printers decide what that looks like. With a width, a
table is made to fit, from the right: a ``flexible`` column is cut, and left out if that is not enough and
it is ``optional``. Without a width, as in a pipe, nothing is left out. Lines outside of tables are never
cut or broken, so that a command in them can be copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from flowctl.render.text import cut, width

Json = Mapping[str, Any]
"""What views are made from: documents, or parts of them, as ``--json`` has them."""

Style = Literal["", "strong", "dim", "good", "bad", "warn", "busy", "undone", "name"]


class Span(NamedTuple):
    """Text of one style. It must have been escaped."""

    text: str
    style: Style = ""


Line = tuple[Span, ...]

EMPTY: Line = ()
GAP = 2
MIN_FLEXIBLE = 12
"""Columns below which a flexible column says nothing any more."""


def line(*parts: str | Span) -> Line:
    """A line of spans; text is a span without style."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


class Column(msgspec.Struct, frozen=True):
    """A column of a table, and what becomes of it where there is little room."""

    title: str = ""
    optional: bool = False
    flexible: bool = False
    right: bool = False


class Row(msgspec.Struct, frozen=True):
    """A row: a cell for each column, and lines that stand beneath it across all columns."""

    cells: Sequence[Line]
    below: Sequence[Line] = ()


class Table(msgspec.Struct, frozen=True):
    """Rows in columns. Titles are shown if there are any."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    indent: int = 2


Block = Line | Table
View = Iterable[Block]


def lay_out(view: View, columns: int | None) -> Iterator[Line]:
    """The lines of a view, one block after another as they come. ``columns`` is the width, None for any."""
    for block in view:
        if isinstance(block, Table):
            yield from _table(block, columns)
        else:
            yield block


def _table(table: Table, available: int | None) -> Iterator[Line]:
    rows = list(table.rows)
    if any(column.title for column in table.columns):
        rows.insert(0, Row([line(Span(column.title, "dim")) for column in table.columns]))
    widths = _widths(table, rows, available)
    for row in rows:
        yield _row(table, row, widths)
        yield from row.below


def _widths(table: Table, rows: Sequence[Row], available: int | None) -> list[int]:
    """The width of each column, 0 for one that is left out."""
    widths = [max((_width(row.cells[i]) for row in rows), default=0) for i in range(len(table.columns))]
    if available is None:
        return widths
    for i in reversed(range(len(widths))):
        excess = _excess(table, widths, available)
        if excess > 0 and table.columns[i].flexible:
            excess -= widths[i] - (kept := max(min(widths[i], MIN_FLEXIBLE), widths[i] - excess))
            widths[i] = kept
        if excess > 0 and table.columns[i].optional:
            widths[i] = 0
    return widths


def _excess(table: Table, widths: Sequence[int], available: int) -> int:
    shown = [width for width in widths if width]
    return table.indent + sum(shown) + GAP * (len(shown) - 1) - available


def _row(table: Table, row: Row, widths: Sequence[int]) -> Line:
    spans: list[Span] = []
    pending = table.indent
    for column, cell, columns in zip(table.columns, row.cells, widths, strict=True):
        if not columns:
            continue
        cell = _fit(cell, columns)
        room = columns - _width(cell)
        pending += room if column.right else 0
        if cell:
            spans += [Span(" " * pending), *cell]
            pending = 0
        pending += GAP + (0 if column.right else room)
    return tuple(spans)


def _fit(cell: Line, columns: int) -> Line:
    if _width(cell) <= columns:
        return tuple(span for span in cell if span.text)
    spans: list[Span] = []
    for span in cell:
        room = columns - sum(width(before.text) for before in spans)
        spans.append(Span(cut(span.text, room), span.style))
        if width(span.text) > room:
            break
    return tuple(spans)


def _width(cell: Line) -> int:
    return sum(width(span.text) for span in cell)
