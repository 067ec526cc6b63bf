"""Text for people: made safe, made short, and put into human units. Knows nothing of layout or colour."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

_JOINERS = "\u200c\u200d"
"""Invisible, but scripts and emoji need them, and they cannot mislead."""

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def escape(text: str) -> str:
    r"""``text`` with nothing in it that a terminal obeys or that makes it read otherwise than it is.

    Control characters (C0, C1, so also every ANSI sequence), bidirectional and other invisible format
    characters, line and paragraph separators and lone surrogates become visible escapes such as ``\x1b``
    and ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(c if _harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """``text`` in at most ``columns`` columns, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += _columns(character)
        if taken > columns - 1:
            return text[:position] + "…"
    return text


def inline(value: Any, limit: int = 200) -> str:
    """A JSON value on one line of at most ``limit`` columns, escaped."""
    return cut(escape(json.dumps(value, ensure_ascii=False)), limit)


def pretty(value: Any, lines: int = 40) -> list[str]:
    """A JSON value on one line if it is short, else indented, and cut after ``lines`` lines."""
    short = inline(value, 101)
    if width(short) <= 100:
        return [short]
    every = [escape(line) for line in json.dumps(value, ensure_ascii=False, indent=2).split("\n")]
    return every if len(every) <= lines else [*every[:lines], "…"]


def paragraphs(text: str, limit: int = 4) -> list[str]:
    """The first lines of a message that may have many, escaped."""
    lines = [escape(line.expandtabs(4).rstrip()) for line in text.splitlines()] or [""]
    return lines if len(lines) <= limit else [*lines[:limit], "…"]


def duration(milliseconds: int) -> str:
    """Two units at most: ``420 ms``, ``1.2 s``, ``3 m 5 s``, ``47 h``, ``3 d 4 h``."""
    if milliseconds < 1_000:
        return f"{max(0, milliseconds)} ms"
    if milliseconds < 10_000:
        return f"{milliseconds // 100 / 10:g} s"
    if milliseconds < 60_000:
        return f"{milliseconds // 1_000} s"
    for position, (unit, size) in enumerate(_UNITS):
        if milliseconds >= (2 * size if unit == "d" else size):  # 47 h says more than 1 d 23 h
            smaller, smaller_size = _UNITS[position + 1]
            exact = smaller_size if milliseconds < 10 * size else size
            rounded = (milliseconds + exact // 2) // exact * exact
            if rounded != milliseconds:
                return duration(rounded)  # rounding may lead into the next unit: 48 h are 2 d
            count, rest = divmod(milliseconds, size)
            return f"{count} {unit} {rest // smaller_size} {smaller}" if rest else f"{count} {unit}"
    raise AssertionError(milliseconds)


def moment(timestamp: str) -> str:
    """An RFC 3339 timestamp in UTC as people read it: ``2026-11-21 08:23:05 UTC``."""
    return f"{timestamp[:10]} {timestamp[11:19]} UTC"


def relative(at: int, now: int) -> str:
    """A moment seen from now: ``in 47 h``, ``3 m 5 s ago``."""
    return f"in {duration(at - now)}" if at > now else f"{duration(now - at)} ago"
