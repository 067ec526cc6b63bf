"""How steps are put together: with what undoes them, with the rail past them, into lanes and frames.

The flow goes down one axis. Every branch of it stands in a frame of its own, so no arrow crosses another: a
step that may be skipped has a rail past it on its left, a loop one back to its beginning, and what undoes a
step stands on its right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowctl.render.graph.cards import DETAIL, LABEL, MARK, PADDING, ROOM, badge, card, header, style_class
from flowctl.render.graph.drawing import GAP, Drawing, Point, arrow, at, box, column, paragraph, titled, write
from flowctl.render.graph.structure import UNDO, Lane, Node, words

BESIDE = 16.0
"""Between two lanes."""

UNDO_GAP = 46.0
RAIL = 18.0
"""How far on the left of everything else a rail goes."""

WIDEST = 1_300.0
"""A row of lanes that would be wider goes on in the next."""

_TRY = "try"


def part(node: Node) -> tuple[Drawing, bool]:
    """A step with all that belongs to it, and whether the flow ends there."""
    drawing = _with_undo(node)
    if node.condition is not None:
        return _skippable(drawing, node.condition, node.ends), False
    return drawing, node.ends


def _step(node: Node) -> Drawing:
    status = node.state.status.replace("_", " ") if node.state is not None else ""
    says = filter(None, (words(node.path), node.detail, status, *node.marks))
    kind = f"{style_class(node.state)}{' undo' if node.verb == UNDO else ''}"
    return titled(_frame(node) if node.rows else card(node), " - ".join(says), kind)


def _with_undo(node: Node) -> Drawing:
    """A step, and on its right what undoes it."""
    step = _step(node)
    if node.undo is None:
        return step
    undo = _step(node.undo)
    x, y = step.width + UNDO_GAP, min(step.height, undo.height, 44.0) / 2
    label = paragraph("undo", MARK, ROOM, 1)
    height = max(step.height, undo.height)
    markup = [
        step.markup,
        at(undo, x, 0),
        arrow([(step.width + 2, y), (x, y)], "undoes"),
        write(label, step.width + (UNDO_GAP - label.width) / 2 - 2, y - 16),
    ]
    if height > step.height and not node.ends:
        markup.append(arrow([(step.axis, step.height), (step.axis, height)], head=False))
    return Drawing(x + undo.width, height, step.axis, "".join(markup))


def _skippable(step: Drawing, condition: str, ends: bool) -> Drawing:
    """A step with a rail past it, and the condition at the arrow into it."""
    label = paragraph(f"if {condition}", LABEL, ROOM + 40, 2)
    lead, tail = max(GAP, label.height) + 14, 16.0
    bottom = lead + step.height + tail
    axis = step.axis + RAIL
    rail = [(axis, 0.0), (axis, 9.0), (0.0, 9.0), (0.0, bottom - 7), (axis, bottom - 7), (axis, bottom)]
    markup = [
        arrow([(axis, 0), (axis, lead)]),
        arrow(rail, head=False),
        write(label, axis + 8, lead - label.height - 4),
        at(step, RAIL, lead),
    ]
    if not ends:
        markup.append(arrow([(axis, bottom - tail), (axis, bottom)], head=False))
    width = max(step.width + RAIL, axis + 8 + label.width)
    return Drawing(width, bottom, axis, "".join(markup), leads=True)


# --- frames


def _frame(node: Node) -> Drawing:
    """A step that is made of steps: a header, and beneath it a list of steps or rows of lanes."""
    head = header(node, ROOM + 100)
    only = node.rows[0][0] if len(node.rows) == 1 and len(node.rows[0]) == 1 else None
    body = _body(only) if only is not None and not only.title else _rows(node)
    width = max(head.width, body.width) + 2 * PADDING
    top = head.height + 2 * PADDING
    x = (width - body.width) / 2
    markup = box(0, 0, width, top + body.height + PADDING, "frame", 11)
    markup += at(head, PADDING, PADDING - 2) + at(body, x, top) + badge(node.state, width)
    return Drawing(width, top + body.height + PADDING, x + body.axis, markup)


def _body(lane: Lane) -> Drawing:
    """The only list of a frame; in a loop with a rail back to its beginning."""
    steps = _steps(lane)
    if lane.kind != "loop":
        return steps
    axis, top, bottom = steps.axis + RAIL, RAIL, steps.height + RAIL
    rail: list[Point] = [(axis, bottom), (axis, bottom + 9), (0, bottom + 9), (0, top - 14), (axis, top - 14)]
    markup = at(steps, RAIL, RAIL) + arrow([*rail, (axis, top)], "again")
    return Drawing(steps.width + RAIL, bottom + RAIL - 4, axis, markup)


def _steps(lane: Lane) -> Drawing:
    if lane.nodes:
        return column(map(part, lane.nodes))
    label = paragraph("nothing", DETAIL, ROOM, 1)
    return Drawing(label.width, label.height, label.width / 2, write(label, 0, 0))


class _Box:
    """A lane whose steps are drawn, while it is not known yet how large its box must be."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.title = paragraph(lane.title, LABEL, ROOM + 40, 3)
        self.steps = _steps(lane)
        self.width = max(self.title.width, self.steps.width) + 2 * PADDING
        self.height = self.title.height + self.steps.height + 2.5 * PADDING

    def drawing(self, width: float, height: float) -> Drawing:
        """The lane in a box of at least its own size."""
        x, y = (width - self.steps.width) / 2, self.title.height + 1.5 * PADDING
        markup = box(0, 0, width, height, "lane") + write(self.title, PADDING, PADDING - 4)
        markup += at(self.steps, x, y)
        return Drawing(width, height, width / 2, f'<g class="{self.lane.kind}">{markup}</g>')


def _rows(node: Node) -> Drawing:
    """Rows of lanes, all as wide as the widest. What comes finally comes after the others."""
    tries = node.verb == _TRY
    apart = 2 * BESIDE if tries else BESIDE
    rows = [part for row in node.rows for part in _broken([_Box(lane) for lane in row], tries)]
    width = max(_width(row, apart) for row in rows)
    markup: list[str] = []
    y = 0.0
    for row in rows:
        if y:
            markup.append(arrow([(width / 2, y), (width / 2, y + GAP)]) if tries else "")
            y += GAP if tries else BESIDE
        drawing = _row(row, width, apart)
        markup.append(at(drawing, 0, y))
        y += drawing.height
    return Drawing(width, y, width / 2, "".join(markup))


def _width(row: Sequence[_Box], apart: float) -> float:
    return sum(box.width for box in row) + apart * (len(row) - 1)


def _broken(row: Sequence[_Box], tries: bool) -> Iterator[Sequence[_Box]]:
    """A row, or several if it is too wide. A ``try`` and its catches stay together."""
    begin = 0
    for end in range(1, len(row)):
        if not tries and _width(row[begin : end + 1], BESIDE) > WIDEST:
            yield row[begin:end]
            begin = end
    yield row[begin:]


def _row(boxes: Sequence[_Box], width: float, apart: float) -> Drawing:
    """Lanes side by side, of one height. A catch is where an arrow leads from the lane before it."""
    more = (width - _width(boxes, apart)) / len(boxes)
    height = max(box.height for box in boxes)
    markup: list[str] = []
    x = 0.0
    for each in boxes:
        if each.lane.kind == "catch":
            markup.append(arrow([(x - apart, PADDING + 4), (x, PADDING + 4)], "fails"))
        drawing = each.drawing(each.width + more, height)
        markup.append(at(drawing, x, 0))
        x += drawing.width + apart
    return Drawing(width, height, width / 2, "".join(markup))
