"""Run a case in virtual time; end the world after any commit, before or after it is durable, and begin
again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

from flowctl.interpreter import execute
from flowctl.journal import Change, Message, MessageKind, Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.machine import Machine
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.status import status_document
from flowctl.testing.conformance import RUN_ID, Case, Event, Observed
from flowctl.testing.script import ScriptedActivities

START = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

When = Literal["before", "after"]


class WorldEnds(Exception):
    """The process dies here."""


class _DyingJournal(MemoryJournal):
    """Dies at one commit: before it is written, or after."""

    def doom(self, commit: int, when: When) -> None:
        """Die at the ``commit``-th commit from now, from 1."""
        self._left, self._when = commit, when

    def commit(self, changes: Sequence[Change]) -> None:
        """See ``Journal``."""
        self._left -= 1
        if self._left == 0 and self._when == "before":
            raise WorldEnds
        super().commit(changes)
        if self._left == 0:
            raise WorldEnds

    _left = -1
    _when: When = "after"


def run_virtual(case: Case, *, die_at: int | None = None, when: When = "after") -> tuple[Observed, int]:
    """Run a case; returns what came of it and the number of commits. The world ends at commit ``die_at``,
    from 1, once.
    """
    world = _World(case)
    commits = world.live(die_at, when)
    if commits is None:
        commits = world.live(None, when)
    return world.observe(), commits or 0


class _World:
    """The journal, the ledger and the clock: what outlives a process."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._store = MemoryStore()
        self._script: ScriptedActivities = case.script()
        self._now = START
        self._events = list(case.events)
        with_input = case.workflow.prepare_input(dict(case.input))
        self._run = Run(
            id=RUN_ID,
            workflow_id=RUN_ID,
            workflow=case.workflow.name,
            version=case.workflow.version,
            digest=case.workflow.digest,
            input=with_input,
            created_at=START,
            deadline=START + case.workflow.timeout,
        )
        MemoryJournal(self._store).create(self._run)

    def live(self, die_at: int | None, when: When) -> int | None:
        """One worker's life, until nothing more happens; None if it died at ``die_at``."""
        journal = _DyingJournal(self._store)
        if die_at is not None:
            journal.doom(die_at, when)
        commits = itertools.count()
        runtime = VirtualRuntime(
            journal, self._script, start=self._now, after_commit=lambda change: _tick(commits)
        )
        run = journal.claim(RUN_ID)
        assert run is not None
        try:
            self._drive(journal, runtime, run)
        except WorldEnds:
            self._now = runtime.now()
            journal.kill()
            return None
        self._now = runtime.now()
        lost = self._events and self._events[0].kind == "lose_worker"
        if lost:
            journal.kill()
            self._now += self._events.pop(0).data
            self._happen_unattended()
            return self.live(None, when)
        return next(commits)

    def _drive(self, journal: MemoryJournal, runtime: VirtualRuntime, run: Run) -> None:
        machine = runtime.add(run, lambda machine: execute(self._case.workflow, run.input, machine))
        while self._events:
            event = self._events[0]
            runtime.run_until_idle(until=START + event.at)
            if event.kind == "lose_worker":
                machine.drop()
                return
            self._happen(journal, machine, event)
            self._events.pop(0)
        until = self._case.until
        runtime.run_until_idle(until=None if until is None else START + until)

    def _happen(self, journal: MemoryJournal, machine: Machine, event: Event) -> None:
        if machine.ended:
            return
        accepted, new = journal.deliver(_message(event))
        if new:
            machine.receive([accepted])

    def _happen_unattended(self) -> None:
        """What comes while there is no worker is there when the next one looks."""
        journal = MemoryJournal(self._store)
        while (
            self._events and self._events[0].kind != "lose_worker" and START + self._events[0].at < self._now
        ):
            journal.deliver(_message(self._events.pop(0)))

    def observe(self) -> Observed:
        """What there is to see at the end, read from the journal alone."""
        journal = MemoryJournal(self._store)
        run = journal.run(RUN_ID)
        assert run is not None
        document = status_document(run, journal.entries(RUN_ID))
        ended = run.completed_at if run.completed_at is not None else self._now
        return Observed(document, list(self._script.ledger), ended - START)


def _message(event: Event) -> Message:
    kind: MessageKind = "signal" if event.kind == "signal" else "cancel"
    return Message(RUN_ID, kind, event.name, event.data, START + event.at, event.principal, event.dedup_id)


def _tick(commits: itertools.count[int]) -> None:
    next(commits)


def die_everywhere(case: Case, check: Callable[[Observed, int, When], None]) -> int:
    """Run a case once for every commit and both ways of dying there, and ``check`` what came of each;
    returns how many.
    """
    _, commits = run_virtual(case)
    deaths = 0
    for commit, when in itertools.product(range(1, commits + 1), ("before", "after")):
        observed, _ = run_virtual(case, die_at=commit, when=when)  # type: ignore[arg-type]
        check(observed, commit, when)  # type: ignore[arg-type]
        deaths += 1
    return deaths
