"""What a single step looks like: its sign, its texts, its marks, and the badge of its state."""

from __future__ import annotations

from collections.abc import Sequence

from flowctl.render.graph import icons, palette
from flowctl.render.graph.drawing import Drawing, Font, at, box, paragraph, sign, write
from flowctl.render.graph.structure import Node, State

TITLE = Font("title", 13, bold=True)
DETAIL = Font("detail", 11.5)
LABEL = Font("label", 11.5)
NOTE = Font("detail note", 11.5)
MARK = Font("mark", 10.5)

PADDING = 12.0
ICON = 16.0
ROOM = 230.0
"""Width of the texts of a card; a longer one is broken into lines."""

LEAST = 190.0
"""Width of the smallest card."""


def card(node: Node) -> Drawing:
    """A step that is not made of steps."""
    texts = header(node, ROOM)
    width, height = max(LEAST, texts.width + 2 * PADDING), texts.height + 2 * PADDING - 4
    markup = box(0, 0, width, height, "box") + at(texts, PADDING - 1, PADDING - 2)
    return Drawing(width, height, width / 2, markup + badge(node.state, width))


def header(node: Node, room: float) -> Drawing:
    """The sign of a step and all that is written about it."""
    note = node.state.note if node.state is not None else ""
    texts = [
        paragraph(node.title, TITLE, room, 2),
        paragraph(node.detail, DETAIL, room, 3),
        paragraph(note, NOTE, room, 2),
    ]
    marks = _marks(node.marks, room)
    x, y = ICON + 7, 0.0
    markup = [sign(icons.VERBS[node.verb], 0, 1)]
    for text in texts:
        markup.append(write(text, x, y))
        y += text.height + 1 if text.lines else 0
    if node.marks:
        markup.append(at(marks, x, y + 3))
        y += marks.height + 3
    return Drawing(x + max(marks.width, *(text.width for text in texts)), y, 0, "".join(markup))


def _marks(marks: Sequence[str], room: float) -> Drawing:
    """What is special about a step: a pill for each, in as many rows as they need."""
    x = y = widest = 0.0
    tall, markup = 17.0, []
    for mark in marks:
        label = paragraph(mark, MARK, room, 1)
        width = label.width + 14
        if x and x + width > room:
            x, y = 0.0, y + tall + 4
        markup.append(box(x, y, width, tall, "pill", tall / 2) + write(label, x + 7, y + 1.2))
        x += width + 5
        widest = max(widest, x - 5)
    return Drawing(widest, y + tall, 0, "".join(markup))


def badge(state: State | None, width: float) -> str:
    """The sign of a state, on the upper right corner of what is so wide."""
    if state is None or state.status not in icons.STATES:
        return ""
    x = width - 5
    circle = f'<circle class="badge" cx="{x:g}" cy="2" r="8.5"/>'
    return circle + sign(icons.STATES[state.status], x - 5.6, -3.6, "badged", scale=0.7)


def terminal(text: str, state: State | None) -> Drawing:
    """Where the workflow begins, or where it ends."""
    label = paragraph(text, DETAIL, ROOM, 1)
    path = icons.STATES.get(state.status) if state is not None else None
    room = ICON + 4 if path else 0
    width, height = label.width + room + 2 * PADDING + 4, 26.0
    markup = box(0, 0, width, height, "box", height / 2) + write(label, PADDING + 2 + room, 5)
    if path:
        markup += sign(path, PADDING, 5, "state")
    return Drawing(width, height, width / 2, f'<g class="{style_class(state)}">{markup}</g>')


def style_class(state: State | None) -> str:
    """The class of what is in that state."""
    return palette.style(state) or "plain"
