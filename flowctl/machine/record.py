"""The record of a run: the facts that were there, served once each, and the new ones, until they are taken.

Facts are made in the order in which things happen and never reordered; ``order`` numbers them, old and
new alike. Of a run that was reopened those count that are still in force (``reopening``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowctl.journal import Entry, Fact
from flowctl.machine.reopening import Made, is_held, reopen
from flowctl.machine.standing import Key, Standing
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer

_ANSWERS = frozenset({"completed", "failed", "timed_out"})
"""Kinds that open an entry when another run answers in place of the world."""

_APART = frozenset({"lost", "recovered", "reopened"})
"""Kinds that nobody asks for: they are about the run's being driven."""


class Record:
    """What a run remembers. ``news`` is called when there is something to take after there was nothing.

    ``standing`` is what the facts of the run as a whole add up to; ``made`` the attempts that were forgotten,
    by step.
    """

    __slots__ = (
        "_facts",
        "_losses",
        "_now",
        "_pending",
        "_served",
        "_walked",
        "made",
        "news",
        "order",
        "passed",
        "received",
        "recoveries",
        "standing",
    )

    def __init__(self, entries: Iterable[Entry], now: Callable[[], int], news: Callable[[], None]) -> None:
        self._now = now
        self.news = news
        self._facts: dict[Key, Answer] = {}
        self._served: dict[Key, dict[str, Any]] = {}
        self._pending: list[Entry] = []
        self._losses: dict[tuple[str, int], int] = {}
        self._walked: set[str] | None = None
        self.standing = Standing()
        self.made: dict[str, Made] = {}
        self.received: set[int] = set()
        self.passed: set[str] = set()
        self.recoveries = 0
        self.order = 0
        for entry in entries:  # without ``Entry.facts``: this is what the recovery of a long run takes
            self._remember(entry.fact)
            for rider in entry.riders:
                self._remember(rider)

    def take(self, path: str, kind: str, attempt: int = 0) -> Answer | None:
        """What was recorded there, if anything. Each fact is asked for once, and then forgotten."""
        found = self._facts.pop((path, kind, attempt), None) if self._facts else None
        if found is None and self._served:
            return self._take_served(path, kind, attempt)
        return found

    def has(self, path: str, kind: str, attempt: int = 0) -> bool:
        """Whether ``take`` would find something."""
        return (path, kind, attempt) in self._facts or (path, kind, attempt) in self._served

    def serve(self, facts: Mapping[Key, dict[str, Any]]) -> None:
        """Answer with these as well, which another run recorded. Each becomes a fact of this run when it is
        asked for.
        """
        self._served = {key: data for key, data in facts.items() if key not in self._facts}

    def facts(self) -> Mapping[Key, Answer]:
        """What was not asked for yet, in order."""
        return self._facts

    def was_past(self, root: Path) -> bool:
        """Whether something below ``root`` was recorded and not asked for yet, leaving out what need not be
        (``passed``).
        """
        return any(
            path and path.is_within(root) and not any(up in self.passed for up in path.ancestors())
            for path in (Path(path) for path, _, _ in self._facts)
        )

    def has_reached(self, path: Path) -> bool:
        """Whether something at ``path``, or inside of it, was on record when the run was taken up."""
        if self._walked is None:
            self._walked = {around for path, _, _ in self._facts for around in Path(path).ancestors()}
        return path in self._walked

    def is_held(self) -> bool:
        """Whether a failure holds the run; before anything was taken."""
        return is_held(self._facts)

    def losses(self, path: str, attempt: int) -> int:
        """How many workers this attempt has lost, as far as was recorded."""
        return self._losses.get((path, attempt), 0)

    def primary(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0) -> Answer:
        """Record what the world answered: opens an entry."""
        # SQLite and JSON are slow with subclasses of str.
        fact = Fact(str(path), kind, self._now(), attempt, self.standing.generation, data)
        pending = self._pending
        if not pending:
            self.news()
        pending.append(Entry(fact, []))
        return self._answer(fact)

    def rider(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0) -> Answer:
        """Record a decision or a start: joins the entry that is open."""
        pending = self._pending
        if not pending:
            return self.primary(path, kind, data, attempt)
        fact = Fact(str(path), kind, self._now(), attempt, self.standing.generation, data)
        pending[-1].riders.append(fact)
        return self._answer(fact)

    def reopen(self, data: dict[str, Any]) -> Answer:
        """Record a retry, which begins a generation. Whoever reads the record forgets what it takes back."""
        self.standing.generation += 1
        return self.primary(ROOT, "reopened", data)

    @property
    def pending(self) -> int:
        """Entries that were not taken yet."""
        return len(self._pending)

    def take_pending(self) -> list[Entry]:
        """The entries since the last call, to be committed."""
        pending, self._pending = self._pending, []
        return pending

    def _answer(self, fact: Fact) -> Answer:
        data = fact.data
        if "message" in data:
            self.received.add(data["message"])
        if fact.kind == "lost":
            self._losses[fact.path, fact.attempt] = data["count"]
        if not fact.path:
            if fact.kind == "recovered":
                self.recoveries = fact.attempt
            self.standing.note(fact)
        self.order = order = self.order + 1
        return Answer(data, fact.at, order)

    def _take_served(self, path: str, kind: str, attempt: int) -> Answer | None:
        data = self._served.pop((path, kind, attempt), None)
        if data is None:
            return None
        record = self.primary if kind in _ANSWERS else self.rider
        answer = record(path, kind, data, attempt)
        return Answer(data, answer.at, answer.order, served=True)

    def _remember(self, fact: Fact) -> None:
        self.order = order = self.order + 1
        path, kind, data = fact.path, fact.kind, fact.data
        if kind in _APART:
            self._remember_apart(fact)
        else:
            self._facts[path, kind, fact.attempt] = Answer(data, fact.at, order, 0, "served" in data)
        if "message" in data:
            self.received.add(data["message"])
        if not path:
            self.standing.note(fact)

    def _remember_apart(self, fact: Fact) -> None:
        if fact.kind == "lost":
            self._losses[fact.path, fact.attempt] = fact.data["count"]
        elif fact.kind == "recovered":
            self.recoveries = fact.attempt
        else:
            self._reopen()

    def _reopen(self) -> None:
        made = reopen(self._facts)
        self.made |= made
        self._losses = {key: count for key, count in self._losses.items() if key[0] not in made}
        self.standing.reduce(self._facts)
