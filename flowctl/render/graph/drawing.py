"""Drawings that are put together from smaller ones.

A ``Drawing`` is a piece of SVG around its own origin, how much room it takes, and its *axis*: how far from
the left the flow enters at the top and leaves at the bottom. Whoever puts drawings together needs to know no
more, so there is no layout apart from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from flowctl.render.graph.fonts import measure, wrap

GAP = 26.0
"""Room for an arrow between two steps."""

LINE_HEIGHT = 1.36
"""In font sizes."""


class Drawing(NamedTuple):
    """Width, height and axis in pixels. ``leads`` means that the arrow into it is part of it."""

    width: float
    height: float
    axis: float
    markup: str
    leads: bool = False


class Font(NamedTuple):
    """``name`` is the class in the style sheet, ``size`` in pixels."""

    name: str
    size: float
    bold: bool = False


class Paragraph(NamedTuple):
    """Text broken into lines, and the room they take."""

    lines: Sequence[str]
    font: Font
    width: float
    height: float


def paragraph(text: str, font: Font, room: float, lines: int) -> Paragraph:
    """``text`` in at most ``lines`` lines of ``room`` pixels."""
    broken = wrap(text, font.size, room, lines, bold=font.bold)
    widest = max((measure(line, font.size, bold=font.bold) for line in broken), default=0.0)
    return Paragraph(broken, font, widest, len(broken) * font.size * LINE_HEIGHT)


def write(text: Paragraph, x: float, y: float) -> str:
    """The lines of a paragraph, its top left corner at x, y."""
    size = text.font.size
    return "".join(
        f'<text class="{text.font.name}" x="{x:g}" y="{y + size + at * size * LINE_HEIGHT:.4g}">'
        f"{escape(line)}</text>"
        for at, line in enumerate(text.lines)
    )


def box(x: float, y: float, width: float, height: float, name: str, radius: float = 8) -> str:
    """A rectangle with round corners. ``name`` is its class."""
    return f'<rect class="{name}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'


def sign(path: str, x: float, y: float, name: str = "icon", scale: float = 1) -> str:
    """A sign of ``icons``."""
    size = f" scale({scale:g})" if scale != 1 else ""
    return f'<path class="{name}" transform="translate({x:g} {y:g}){size}" d="{path}"/>'


Point = tuple[float, float]


def arrow(points: Sequence[Point], name: str = "flow", *, head: bool = True) -> str:
    """A line through the points, which lie above or beside each other, with round corners."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by) = _towards(corner, before), _towards(corner, after)
        path += f"L{ax:g} {ay:g}Q{corner[0]:g} {corner[1]:g} {bx:g} {by:g}"
    path += f"L{points[-1][0]:g} {points[-1][1]:g}"
    line = f'<path class="{name}" d="{path}"/>'
    return line + _head(points[-2], points[-1], name) if head else line


_CORNER = 6.0
_HEAD = 5.5


def _towards(corner: Point, other: Point) -> Point:
    """The point a little away from a corner where its rounding begins."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    reach = min(_CORNER, max(abs(dx), abs(dy)) / 2)
    return corner[0] + _direction(dx) * reach, corner[1] + _direction(dy) * reach


def _head(before: Point, tip: Point, name: str) -> str:
    dx, dy = _direction(tip[0] - before[0]), _direction(tip[1] - before[1])
    x, y = tip[0] - dx * _HEAD, tip[1] - dy * _HEAD
    side = _HEAD * 0.62
    points = (
        f"M{tip[0]:g} {tip[1]:g}L{x - dy * side:g} {y + dx * side:g}L{x + dy * side:g} {y - dx * side:g}z"
    )
    return f'<path class="{name} head" d="{points}"/>'


def _direction(length: float) -> float:
    return (length > 0) - (length < 0)


def at(drawing: Drawing, x: float, y: float) -> str:
    """A drawing in its place."""
    return f'<g transform="translate({x:g} {y:g})">{drawing.markup}</g>'


def column(parts: Iterable[tuple[Drawing, bool]]) -> Drawing:
    """Drawings one above the other on one axis, with an arrow from each to the next unless it ends there."""
    listed = list(parts)
    left = max((drawing.axis for drawing, _ in listed), default=0.0)
    right = max((drawing.width - drawing.axis for drawing, _ in listed), default=0.0)
    markup: list[str] = []
    y = 0.0
    leads_on = False
    for drawing, ends in listed:
        if markup and not drawing.leads:
            markup.append(arrow([(left, y), (left, y + GAP)]) if leads_on else "")
            y += GAP
        markup.append(at(drawing, left - drawing.axis, y))
        y += drawing.height
        leads_on = not ends
    return Drawing(left + right, y, left, "".join(markup))


def titled(drawing: Drawing, title: str, name: str) -> Drawing:
    """A drawing as a group with a title, which a browser shows for what is under the pointer."""
    return drawing._replace(markup=f'<g class="{name}"><title>{escape(title)}</title>{drawing.markup}</g>')
