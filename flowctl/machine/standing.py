"""What the facts of a run as a whole add up to: whether it is paused, cancelled, being undone, has ended.

It follows from the record alone, so whoever has the record knows it without the interpreter: the machine that
drives the run, and who asks something of a run that nobody drives (``requests``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from flowctl.journal import Fact
from flowctl.path import ROOT

Key = tuple[str, str, int]
"""Where a fact is found: path, kind, attempt."""


class Standing(msgspec.Struct, eq=False, gc=False):
    """``note`` the facts of the run as a whole, in order.

    ``generation`` is 0 until the first retry; ``since`` is when the latest one was, or None. ``handled`` is
    the number of the latest request that was acted on: all before it were too, or had nothing to act on.
    ``skipped`` are the steps that a person has undone.
    """

    paused: bool = False
    pauses: int = 0
    cancelled: bool = False
    compensating: bool = False
    ended: bool = False
    generation: int = 0
    since: int | None = None
    handled: int = 0
    skipped: frozenset[str] = frozenset()

    def note(self, fact: Fact) -> None:
        """The next fact."""
        note = _NOTES.get(fact.kind)
        if note is not None:
            note(self, fact)
            self.handled = max(self.handled, fact.data.get("message", 0))

    def reduce(self, facts: Collection[Key]) -> None:
        """A retry took facts back: only these are left."""
        self.ended = (ROOT, "ended", 0) in facts
        self.compensating = (ROOT, "compensating", 0) in facts
        self.cancelled = any((ROOT, kind, 0) in facts for kind in ("cancel_requested", "timed_out"))


def _paused(standing: Standing, fact: Fact) -> None:
    standing.paused = True
    standing.pauses = fact.attempt


def _unpaused(standing: Standing, fact: Fact) -> None:
    standing.paused = False


def _cancelled(standing: Standing, fact: Fact) -> None:
    """Who cancels wants the run to be undone, now; the end of its time alone lifts no pause."""
    standing.cancelled = True
    if fact.kind == "cancel_requested":
        standing.paused = False


def _compensating(standing: Standing, fact: Fact) -> None:
    standing.compensating = True


def _ended(standing: Standing, fact: Fact) -> None:
    standing.ended = True


def _reopened(standing: Standing, fact: Fact) -> None:
    standing.paused = False
    standing.generation = fact.generation
    standing.since = fact.at
    standing.skipped |= frozenset(fact.data.get("skip", ()))
    standing.handled = max(standing.handled, fact.data.get("seen", 0))


_NOTES: dict[str, Callable[[Standing, Fact], None]] = {
    "paused": _paused,
    "unpaused": _unpaused,
    "cancel_requested": _cancelled,
    "timed_out": _cancelled,
    "compensating": _compensating,
    "ended": _ended,
    "reopened": _reopened,
}
