"""A case in processes that may not survive it: one life is one process, and the next goes on from the disk.

Two files are all that is left of a life: the journal, and a **ledger** in which the services of the case, its
mocks, note what they were asked and what they did, outside of the database and synced line by line. A line is
``{phase, key, attempt, at, called, value}``: ``begin`` when a call arrives, ``done`` or ``failed`` when it is
over; and ``event`` when something from outside was delivered.

What is real: the processes, the engine, SQLite and its files. What is not: time, which jumps, so that a run
of 30 days costs milliseconds. A new life begins at the moment of what was written last, and a call that is
made again is answered at the moment at which it would have been: the death of a process costs no time, and
what depends on time comes out the same. What is done to time itself is in ``timing``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flowctl import values
from flowctl.activities import Outcome
from flowctl.activities.masking import NOTHING, Mask
from flowctl.journal import Journal
from flowctl.journal.opening import connect
from flowctl.testing.effects import Ledger
from flowctl.testing.events import Event
from flowctl.testing.faults.judge import read_ledger
from flowctl.testing.loop import VirtualTimeLoop
from flowctl.testing.mocks import Act, Called, Mocks
from flowctl.testing.played import came_on_engine, carry_on
from flowctl.testing.points import Blow
from flowctl.testing.running import Came, Scenario, mocks_of
from flowctl.testing.timing import Timing
from flowctl.testing.world import START

Lines = Iterable[Mapping[str, Any]]
Note = Callable[[Mapping[str, Any]], None]


class Services(Mocks):
    """Mocks that note what they do before anybody hears of it, and know what was noted in earlier lives."""

    note: Note
    clock: Callable[[], int]

    def remember(self, lines: Lines) -> None:
        """What earlier lives have asked and done."""
        self._begun: dict[tuple[str, int], int] = {}
        for line in lines:
            if line["phase"] == "event":
                continue
            called = Called(**line["called"] | {"workflow": tuple(line["called"]["workflow"])})
            if line["phase"] == "begin":
                self._note(called)
                self._begun.setdefault((called.key, called.attempt), line["at"])
            else:
                value = values.encode(line["value"]) if line["phase"] == "done" else None
                super().is_over(called, Outcome(value=value))

    def answer(self, called: Called, mask: Mask = NOTHING, real: Callable[[], Outcome] | None = None) -> Act:
        """As undisturbed, and not later than undisturbed."""
        self._write("begin", called)
        act, now = super().answer(called, mask, real), self.clock()
        waited = max(0, now - self._begun.setdefault((called.key, called.attempt), now))
        if act.duration is None or not waited:
            return act
        beats = tuple((max(0, moment - waited), details) for moment, details in act.heartbeats)
        return dataclasses.replace(act, duration=max(0, act.duration - waited), heartbeats=beats)

    def is_over(self, called: Called, outcome: Outcome) -> None:
        """The effect is there, and then is known."""
        done = outcome.value is not None
        self._write("done" if done else "failed", called, values.decode(outcome.value) if done else None)  # type: ignore[arg-type]
        super().is_over(called, outcome)

    def _write(self, phase: str, called: Called, value: Any = None) -> None:
        about = {"key": called.key, "attempt": called.attempt, "called": dataclasses.asdict(called)}
        self.note({"phase": phase, "at": self.clock(), **about, "value": value})


def write_line(file: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a ledger, durably."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def live(
    scenario: Scenario,
    database: Path,
    file: Path,
    loop: VirtualTimeLoop,
    blows: Sequence[Blow] = (),
    felt: Callable[[Blow], object] = lambda blow: None,
) -> Timing:
    """Begin a case, or go on with it, until nothing more happens. Whatever the engine raises."""
    lines = read_ledger(file)
    services = _services(scenario, lines)
    with contextlib.closing(connect(str(database))) as journal:
        timing = Timing(loop, _latest(journal, lines), blows, felt)
        timing.watch(journal)
        services.note = partial(write_line, file)
        services.clock = timing.elapsed
        told = sum(line["phase"] == "event" for line in lines)
        rest = dataclasses.replace(scenario, events=_events(scenario)[told:])

        def happened(event: Event) -> None:
            loop.something_happens()
            services.note({"phase": "event", "key": event.name, "attempt": 0, "at": services.clock()})

        carry_on(rest, services, journal, loop, timing, happened=happened)
    return timing


def came(scenario: Scenario, database: Path, file: Path) -> Came:
    """What is to be seen once all lives are over."""
    lines = read_ledger(file)
    services = _services(scenario, lines)
    with contextlib.closing(connect(str(database), read_only=True)) as journal:
        return came_on_engine(journal, services, services.ledger, _latest(journal, lines))


def _services(scenario: Scenario, lines: Lines) -> Services:
    ledger = Ledger(scenario.effects, scenario.subject.documents.values())
    services = mocks_of(Services, scenario, ledger, scenario.faults)
    services.remember(lines)
    return services


def _events(scenario: Scenario) -> list[Event]:
    """All of them with an id: a sender that does not know whether it was heard sends again with the same."""
    return [
        dataclasses.replace(event, dedup_id=event.dedup_id or f"event-{number}")
        for number, event in enumerate(scenario.events)
    ]


def _latest(journal: Journal, lines: Lines) -> int:
    """The moment of the last thing that is known, in milliseconds after the start."""
    runs = journal.list_runs(limit=1_000_000)
    entries = [fact.at for run in runs for entry in journal.entries(run.id)[-1:] for fact in entry.facts()]
    events: list[int] = [line["at"] for line in lines if line["phase"] == "event"]
    return max([0, *(at - START for at in entries), *events])
