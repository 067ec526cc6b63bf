"""A picture as a tree of lines, for terminals and pipes. What undoes a step hangs on it, last of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowctl.render.graph.structure import UNDO, Graph, Lane, Node, State
from flowctl.render.layout import EMPTY, Column, Line, Row, Span, Table, View, line
from flowctl.render.signs import SIGNS, sign
from flowctl.render.signs import words as status_words
from flowctl.render.text import cut

_COLUMNS = (Column(flexible=True), Column(flexible=True), Column(flexible=True))
_LONGEST = 60
"""Columns of a cell. A tree with longer lines is not one that can be read at a glance."""

_QUIET = ("pending", "skipped")
_UNDO = "↺ "

_Cells = list[Line]


def text(graph: Graph) -> View:
    """The view of a picture."""
    title = Span(graph.title, "strong")
    if graph.state is None:
        yield line(title)
    else:
        yield line(*_sign(graph.state), title, "  ", status_words(graph.state.status))
    if graph.description:
        yield line(Span(graph.description, "dim"))
    yield EMPTY
    yield Table(_COLUMNS, list(_rows(_list(graph.nodes, ""))), indent=0)


def _rows(parts: Iterator[_Cells | Line]) -> Iterator[Row]:
    """Cells are a row of the table. What is no step is a line, which may be long: it stands beneath the row
    before it and takes part in no column.
    """
    cells: _Cells = []
    below: list[Line] = []
    for part in parts:
        if isinstance(part, tuple):
            below.append(part)
            continue
        if cells:
            yield Row(cells, below)
        cells, below = part, []
    if cells:
        yield Row(cells, below)


def _list(parts: Sequence[Node | Lane], margin: str) -> Iterator[_Cells | Line]:
    """Parts of the tree that hang on the same branch. ``margin`` is what stands on the left of them."""
    for part in parts:
        last = part is parts[-1]
        branch, inside = f"{margin}{'└─ ' if last else '├─ '}", f"{margin}{'   ' if last else '│  '}"
        if isinstance(part, Lane):
            yield _title(part, branch)
            yield from _list(part.nodes, inside)
        else:
            yield _undo(part, branch) if part.verb == UNDO else _cells(part, branch)
            yield from _list(_inside(part), inside)


def _inside(node: Node) -> list[Node | Lane]:
    """What a step is made of, and last what undoes it. A lane without a title is no level of its own."""
    parts: list[Node | Lane] = []
    for lane in (lane for row in node.rows for lane in row):
        parts += [lane] if lane.title else lane.nodes
    return parts if node.undo is None else [*parts, node.undo]


def _title(lane: Lane, branch: str) -> Line:
    nothing = [Span("  nothing", "dim")] if not lane.nodes else []
    return line(Span(branch, "dim"), Span(lane.title, "busy"), *nothing)


def _undo(undo: Node, branch: str) -> Line:
    state = undo.state if undo.state is not None and undo.state.status != "pending" else None
    told = [state.note or state.status.replace("_", " ")] if state is not None else []
    style = SIGNS[state.status][1] if state is not None else "dim"
    says = ", ".join(filter(None, (undo.title, undo.detail, *told)))
    return line(Span(branch, "dim"), Span(f"{_UNDO}{says}", style))


def _cells(node: Node, branch: str) -> _Cells:
    quiet = node.state is not None and node.state.status in _QUIET
    return [
        line(Span(branch, "dim"), *_sign(node.state), Span(node.title, "dim" if quiet else "name")),
        line(Span(cut(node.detail, _LONGEST), "dim")),
        _notes(node),
    ]


def _sign(state: State | None) -> tuple[Span, ...]:
    return (sign(state.status), Span(" ")) if state is not None else ()


def _notes(node: Node) -> Line:
    """When it runs, what is special about it, and how it went."""
    spans = [Span(cut(f"if {node.condition}", _LONGEST), "busy")] if node.condition is not None else []
    spans += [Span(mark, "warn") for mark in node.marks]
    if node.state is not None and node.state.note:
        spans.append(Span(node.state.note, SIGNS[node.state.status][1]))
    separated = [part for span in spans for part in (Span(" · ", "dim"), span)]
    return tuple(separated[1:])
