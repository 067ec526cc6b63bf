"""The nearest known word: what most mistakes need to hear."""

from __future__ import annotations

from collections.abc import Iterable

_KNOWN_LIMIT = 200
_WORD_LIMIT = 64


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was meant to be, or None. Bounded, because known words can be data."""
    import difflib  # only when something is wrong

    candidates = [
        name for name, _ in zip(sorted(known), range(_KNOWN_LIMIT), strict=False) if len(name) <= _WORD_LIMIT
    ]
    close = difflib.get_close_matches(word[:_WORD_LIMIT], candidates, n=1, cutoff=0.6)
    return close[0] if close else None


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
