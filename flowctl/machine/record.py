"""The record of a run: the facts that were there, served once each, and the new ones, until they are taken.

Facts are made in the order in which things happen and never reordered; ``order`` numbers them, old and
new alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowctl.journal import Entry, Fact
from flowctl.runtime import Answer


class Record:
    """What a run remembers. ``news`` is called when there is something to take after there was nothing."""

    def __init__(self, entries: Iterable[Entry], now: Callable[[], int], news: Callable[[], None]) -> None:
        self._now = now
        self._news = news
        self._facts: dict[tuple[str, str, int], Answer] = {}
        self._pending: list[Entry] = []
        self._losses: dict[tuple[str, int], int] = {}
        self.received: set[int] = set()
        self.recoveries = 0
        self.order = 0
        for entry in entries:
            for fact in entry.facts():
                self._remember(fact)

    def take(self, path: str, kind: str, attempt: int = 0) -> Answer | None:
        """What was recorded there, if anything. Each fact is asked for once, and then forgotten."""
        return self._facts.pop((path, kind, attempt), None)

    def peek(self, path: str, kind: str, attempt: int = 0) -> Answer | None:
        """The same, without forgetting it."""
        return self._facts.get((path, kind, attempt))

    def losses(self, path: str, attempt: int) -> int:
        """How many workers this attempt has lost, as far as was recorded."""
        return self._losses.get((path, attempt), 0)

    def primary(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0) -> Answer:
        """Record what the world answered: opens an entry."""
        return self._add(path, kind, data, attempt, opens=True)

    def rider(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0) -> Answer:
        """Record a decision or a start: joins the entry that is open."""
        return self._add(path, kind, data, attempt, opens=not self._pending)

    @property
    def pending(self) -> int:
        """Entries that were not taken yet."""
        return len(self._pending)

    def take_pending(self) -> list[Entry]:
        """The entries since the last call, to be committed."""
        pending, self._pending = self._pending, []
        return pending

    def _add(self, path: str, kind: str, data: dict[str, Any], attempt: int, *, opens: bool) -> Answer:
        at, pending = self._now(), self._pending
        fact = Fact(str(path), kind, at, attempt, 0, data)  # SQLite and JSON are slow with subclasses of str
        if not pending:
            self._news()
        if opens:
            pending.append(Entry(fact, []))
        else:
            pending[-1].riders.append(fact)
        self.order += 1
        return Answer(data, at, self.order)

    def _remember(self, fact: Fact) -> None:
        self.order += 1
        if fact.kind == "lost":
            self._losses[fact.path, fact.attempt] = fact.data["count"]
        elif fact.kind == "recovered":
            self.recoveries = fact.attempt
        else:
            self._facts[fact.path, fact.kind, fact.attempt] = Answer(fact.data, fact.at, self.order)
        if "message" in fact.data:
            self.received.add(fact.data["message"])
