"""How states look: a symbol and a style for each, the same wherever one is shown."""

from __future__ import annotations

from collections.abc import Mapping

from flowctl.render.layout import Span, Style
from flowctl.render.text import width

SIGNS: Mapping[str, tuple[str, Style]] = {
    "created": ("·", "dim"),
    "pending": ("·", "dim"),
    "running": ("▸", "busy"),
    "waiting": ("⏳", "warn"),
    "retrying": ("↻", "warn"),
    "paused": ("‖", "warn"),
    "blocked": ("■", "bad"),
    "compensating": ("↺", "warn"),
    "completed": ("✓", "good"),
    "compensated": ("↺", "undone"),
    "compensation_failed": ("✗", "bad"),
    "failed": ("✗", "bad"),
    "cancelled": ("⊘", "warn"),
    "terminated": ("⊘", "bad"),
    "continued": ("→", "good"),
    "skipped": ("⊘", "dim"),
}
"""Symbol and style of every state of runs and steps."""


def sign(status: str) -> Span:
    """The symbol of a state, always two columns wide."""
    symbol, style = SIGNS.get(status, ("·", ""))
    return Span(symbol + " " * (2 - width(symbol)), style)


def words(status: str) -> Span:
    """A state as people write it, in its style."""
    return Span(status.replace("_", " "), SIGNS.get(status, ("", ""))[1])
