"""Run a case in virtual time; end the world after any commit, before or after it is durable, and begin
again.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

from flowctl.errors import RunClosed, RunOpen
from flowctl.journal import Change, Entry, Message, MessageKind, Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.operations import Operations
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.state import LIVE
from flowctl.status import status_document
from flowctl.testing.conformance import EVERY_STEP, OPERATIONS, RUN_ID, Case, Event, Observed, operate
from flowctl.testing.script import START, ScriptedActivities

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


def records_of(case: Case) -> list[list[Entry]]:
    """What the journal holds of the runs of the case's chain once it has been run undisturbed."""
    world = _World(case)
    world.live(None, "after")
    journal = MemoryJournal(world.store)
    chain = [run for run in journal.list_runs(limit=1_000) if run.workflow_id == RUN_ID]
    return [list(journal.entries(run.id)) for run in reversed(chain)]


class _World:
    """The journal, the ledger and the clock: what outlives a process."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._document = case.document
        self.store = MemoryStore()
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
            pins=case.pins or None,
        )
        MemoryJournal(self.store).create(self._run)

    def live(self, die_at: int | None, when: When) -> int | None:
        """One worker's life, until nothing more happens; None if it died at ``die_at``."""
        journal = _DyingJournal(self.store)
        if die_at is not None:
            journal.doom(die_at, when)
        commits = itertools.count()
        kin = Kin(journal, self._document, lambda: runtime.now())
        self._document = self._case.pinned
        runtime = VirtualRuntime(
            journal, self._script, start=self._now, kin=kin, after_commit=lambda change: _tick(commits)
        )
        try:
            self._drive(journal, runtime)
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

    def _drive(self, journal: MemoryJournal, runtime: VirtualRuntime) -> None:
        for run in reversed(journal.list_runs(statuses=sorted(LIVE))):  # detached children too, after the run
            runtime.errands.drive(run.id)
        while self._events:
            event = self._events[0]
            runtime.run_until_idle(until=START + event.at)
            if event.kind == "lose_worker":
                runtime.drop()
                return
            self._happen(runtime, event)
            self._events.pop(0)
        until = self._case.until
        runtime.run_until_idle(until=None if until is None else START + until)

    def _happen(self, runtime: VirtualRuntime, event: Event) -> None:
        """It comes from another process, so the worker's journal has no part in it."""
        runtime.errands.drive(self._accept(event))
        journal = MemoryJournal(self.store)
        for run in reversed(journal.list_runs(statuses=sorted(LIVE))):
            machine = runtime.machine(run.id)
            if machine is not None and not machine.ended:
                machine.receive(journal.inbox(run.id, machine.seen))

    def _happen_unattended(self) -> None:
        """What comes while there is no worker is there when the next one looks."""
        while (
            self._events and self._events[0].kind != "lose_worker" and START + self._events[0].at < self._now
        ):
            self._accept(self._events.pop(0))

    def _accept(self, event: Event) -> str:
        """Record what happens, unless it is refused; returns the id of the latest run."""
        journal = MemoryJournal(self.store)
        latest = journal.latest_of(RUN_ID)
        assert latest is not None
        operations = Operations(journal, lambda: START + event.at)
        with contextlib.suppress(RunClosed, RunOpen):
            if event.kind in OPERATIONS:
                operate(operations, latest.id, event)
            else:
                journal.deliver(_message(event, latest.id))
        journal.close()
        return latest.id

    def observe(self) -> Observed:
        """What there is to see at the end, read from the journal alone."""
        journal = MemoryJournal(self.store)
        run = journal.latest_of(RUN_ID)
        assert run is not None
        document = status_document(run, journal.entries(run.id), count=EVERY_STEP)
        ended = run.completed_at if run.completed_at is not None else self._now
        return Observed(document, list(self._script.ledger), ended - START)


def _message(event: Event, run_id: str) -> Message:
    kind: MessageKind = "signal" if event.kind == "signal" else "cancel"
    return Message(run_id, kind, event.name, event.data, START + event.at, event.principal, event.dedup_id)


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
