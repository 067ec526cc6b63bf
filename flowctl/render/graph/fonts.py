"""How wide text is, in the fonts that readers are likely to have, and where to break it.

A picture is laid out before anybody knows the font it will be shown in. The table has, for each character,
about the widest of the usual sans-serif fonts: text may leave some room, and never leaves its box.
"""

from __future__ import annotations

from flowctl.render.text import width

_WIDTHS = {
    0.32: "!'ijl|I.,: ;",
    0.42: '()[]/\\`frt-*"',
    0.54: "sczJ_",
    0.61: "kvxyeaoFTEL?^~",
    0.66: "bdghnpqu0123456789${}SYZP",
    0.71: "ABKRVX&#",
    0.79: "CDGHNOQU+<=>",
    0.99: "mwMW%@",
}
_OF_CHARACTER = {character: size for size, characters in _WIDTHS.items() for character in characters}
_OTHER = 0.75
_WIDE = 1.05
BOLD = 1.09
"""How much wider bold text is."""


def measure(text: str, size: float, *, bold: bool = False) -> float:
    """The width of ``text`` in the unit of ``size``, which is the font's."""
    return sum(map(_of, text)) * size * (BOLD if bold else 1.0)


def _of(character: str) -> float:
    known = _OF_CHARACTER.get(character)
    if known is not None:
        return known
    return (0.0, _OTHER, _WIDE)[width(character)]


def wrap(text: str, size: float, room: float, lines: int, *, bold: bool = False) -> list[str]:
    """``text`` in at most so many lines no wider than ``room``; an ellipsis if that is not enough. Breaks at
    spaces, or anywhere in a word that is too long for a line.
    """
    found: list[str] = []
    left = text
    while left and len(found) < lines:
        end = _fitting(left, size, room, bold)
        if end < len(left):
            if len(found) == lines - 1:
                return [*found, left[: max(1, _fitting(left, size, room - size, bold))].rstrip() + "…"]
            end = left.rfind(" ", 1, end + 1) if " " in left[1 : end + 1] else end
        found.append(left[:end].rstrip())
        left = left[end:].lstrip()
    return found


def _fitting(text: str, size: float, room: float, bold: bool) -> int:
    """How many characters of ``text`` fit, at least one."""
    taken = 0.0
    for position, character in enumerate(text):
        taken += measure(character, size, bold=bold)
        if taken > room and position:
            return position
    return len(text)
