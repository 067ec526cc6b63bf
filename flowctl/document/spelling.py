"""Slips of the pen: which of the known words a word was meant to be.

What people mistype is letters: swapped, dropped, doubled, mistaken; or they remember a word with humps and
hyphens. So words are compared by the number of such slips between them, which ranks ``reserv`` before
``reverse`` where a ratio of common letters would not. Only a word that shares much with one of the known ones
and is not near it at all is left to that ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

KNOWN_LIMIT = 2_000
"""Known words that are looked at: they can be data."""

_WORD_LIMIT = 64
_CASUAL = 5
"""Letters up to which two slips make another word, and from which they are still the same one."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def normalised(word: str) -> str:
    """A word without regard to case, hyphens and humps: ``maxAttempts`` is ``max_attempts``."""
    return _HUMP.sub("_", word[:100]).replace("-", "_").replace(" ", "_").lower()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was most probably meant to be, or None if none is like it."""
    names = _candidates(known)
    close = closest(word, names)
    if close:
        return close[0]
    import difflib  # only when something is far off

    alike = difflib.get_close_matches(word[:_WORD_LIMIT], names[:200], n=1, cutoff=0.6)
    return alike[0] if alike else None


def certain(word: str, known: Iterable[str]) -> str | None:
    """The one known word that is a slip or two away, or None if there is none, or are several."""
    close = closest(word, known)
    return close[0] if len(close) == 1 else None


def closest(word: str, known: Iterable[str]) -> list[str]:
    """The known words with the fewest slips between them and ``word``, if these are few enough; the most
    probable first.
    """
    plain, least = normalised(word[:_WORD_LIMIT]), 3
    found: list[str] = []
    for name in _candidates(known):
        allowed = min(least, 1 if min(len(plain), len(name)) < _CASUAL else 2)
        slips = _slips(plain, normalised(name), allowed)
        if slips > allowed:
            continue
        if slips < least:
            found, least = [], slips
        found.append(name)
    return sorted(found, key=lambda name: (name[:1] != word[:1], name))


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "known are") -> str | None:
    """A hint with the nearest known word, or else the first few of them."""
    names = sorted(known)
    close = nearest(word, names)
    if close is not None:
        return f"did you mean {close!r}?"
    if not names:
        return None
    more = ", …" if len(names) > 8 else ""
    return f"{otherwise} {', '.join(name[:_WORD_LIMIT] for name in names[:8])}{more}"


def _candidates(known: Iterable[str]) -> Sequence[str]:
    return [name for name in sorted(known)[:KNOWN_LIMIT] if len(name) <= _WORD_LIMIT]


def _slips(word: str, other: str, most: int) -> int:
    """How many letters were swapped, dropped, added or mistaken; anything above ``most`` is too many."""
    if word == other:
        return 0
    if abs(len(word) - len(other)) > most or len(set(word) ^ set(other)) > 2 * most:
        return most + 1
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            slips = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == wanted:
                slips = min(slips, before[j - 2] + 1)
            row.append(slips)
        before, last = last, row
        if min(row) > most:
            return most + 1
    return last[-1]
