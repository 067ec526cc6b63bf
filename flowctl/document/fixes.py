"""Mistakes that mend themselves: the words that were certainly meant, written where the wrong ones stand.

A check that knows the one word that can be meant says so in its diagnostic. Here it is written into the
text, in place: comments, order and layout are nobody's business. Whether it was right is not believed but
tried: the mended document is checked again, and unless it has fewer mistakes than before, it stays what it
was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from flowctl.document.diagnostics import Diagnostic
from flowctl.document.source import LINE_BREAK

MAX_ROUNDS = 100
"""Of changes, in each of which at least one word is mended for good, or to bring another to light."""

Check = Callable[[str], list[Diagnostic]]
"""All that is wrong with a text."""


class Change(msgspec.Struct, frozen=True):
    """A word that was replaced, and where it stood."""

    line: int
    column: int
    wrong: str
    right: str


class Mended(msgspec.Struct, frozen=True):
    """A text after all changes, and what is still wrong with it."""

    text: str
    changes: list[Change]
    left: list[Diagnostic]


def mend(text: str, check: Check) -> Mended:
    """Replace what is certainly wrong, as long as that makes a document better."""
    before = now = Mended(text, [], check(text))
    for _ in range(MAX_ROUNDS):
        after = _together(now, check) or _one_by_one(now, check)
        if after is None:
            break
        now = after
    return now if len(_mistakes(now.left)) < len(_mistakes(before.left)) else before


def _together(now: Mended, check: Check) -> Mended | None:
    """All changes at once, which is quick; None if there are none, or one of them does no good."""
    return _tried(now, list(_changes(now.text, now.left)), check)


def _one_by_one(now: Mended, check: Check) -> Mended | None:
    """The first change that does good on its own."""
    for change in _changes(now.text, now.left):
        after = _tried(now, [change], check)
        if after is not None:
            return after
    return None


def _tried(now: Mended, changes: list[Change], check: Check) -> Mended | None:
    """The text with some changes. None if it has more mistakes then, or others that nobody can mend: a word
    that is mended brings to light what could not be looked at before.
    """
    if not changes:
        return None
    text = _written(now.text, changes)
    left = check(text)
    before, after = _mistakes(now.left), _mistakes(left)
    new = [one for key, one in after.items() if key not in before]
    if len(after) > len(before) or any(one.fix is None for one in new):
        return None
    return Mended(text, now.changes + changes, left)


def _mistakes(found: Iterable[Diagnostic]) -> dict[tuple[str, str, int], Diagnostic]:
    """The errors, by what stays the same when something else on the line is changed."""
    return {(one.code, one.message, one.line): one for one in found if one.severity == "error"}


def _changes(text: str, found: Iterable[Diagnostic]) -> Iterable[Change]:
    """What can be changed: the word that is wrong stands where its diagnostic says."""
    starts = _line_starts(text)
    changes: dict[tuple[int, int], Change] = {}
    for one in found:
        if one.fix is None or one.severity != "error":
            continue
        at = starts[one.line - 1] + one.column - 1
        quoted = text[at : at + 1] in ("'", '"')
        if text.startswith(one.fix.wrong, at + quoted):
            change = Change(one.line, one.column + quoted, one.fix.wrong, one.fix.right)
            changes.setdefault((change.line, change.column), change)
    return changes.values()


def _written(text: str, changes: Iterable[Change]) -> str:
    starts = _line_starts(text)
    for change in sorted(changes, key=lambda change: (change.line, change.column), reverse=True):
        at = starts[change.line - 1] + change.column - 1
        text = text[:at] + change.right + text[at + len(change.wrong) :]
    return text


def _line_starts(text: str) -> list[int]:
    return [0, *(found.end() for found in LINE_BREAK.finditer(text))]
