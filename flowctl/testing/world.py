"""A run and all that it starts, in virtual time: driven to where nothing more happens, through the deaths of
its workers.

What outlives a worker is here: the journal, the clock, and what is still to come from outside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.errors import RunClosed, RunOpen
from flowctl.journal import Change, Document, Entry, Message, MessageKind, Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.machine import Handle
from flowctl.model import NO_POLICY, Policy, Workflow
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.operations import Operations
from flowctl.runtimes.virtual import Script, VirtualRuntime
from flowctl.state import LIVE
from flowctl.testing.events import OPERATIONS, Event, operate

START = 1_767_225_600_000
"""2026-01-01T00:00:00Z: when every run in virtual time begins."""

TAKEOVER = 1_000
"""Milliseconds after which another worker finds the runs of one that died without being told when."""


class WorldEnds(BaseException):
    """The worker dies here. No ``except Exception`` survives that."""


class Scenario(Protocol):
    """What is run."""

    @property
    def workflow(self) -> Workflow:
        """The document."""

    @property
    def input(self) -> Mapping[str, Any]:
        """The input as it is given, before defaults."""

    @property
    def pins(self) -> dict[str, dict[str, str]]:
        """As ``Run.pins``."""

    @property
    def events(self) -> Sequence[Event]:
        """What comes from outside, in order."""

    @property
    def until(self) -> int | None:
        """When to stop, in milliseconds after the start; None: when nothing more happens."""

    def document(self, digest: str) -> Workflow:
        """A document of the run, by its digest."""

    def pinned(self, digest: str) -> Workflow:
        """The same, as whoever takes the run over reads it."""


class Performs(Script, Protocol):
    """A script that wants to know how its attempts end."""

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """The run hears of the end of an attempt."""


class World:
    """The journal, the clock and the events. ``watch`` is told what was committed, and may end the world.

    ``InvalidInput`` if the run cannot begin with its input.
    """

    def __init__(
        self,
        scenario: Scenario,
        script: Performs,
        *,
        run_id: str,
        settings: Policy = NO_POLICY,
        watch: Callable[[VirtualRuntime, Change], None] | None = None,
    ) -> None:
        self._scenario = scenario
        self._document = scenario.document
        self.store = MemoryStore()
        self._script = script
        self._settings = settings
        self._watch = watch
        self._events = list(scenario.events)
        self.run_id = run_id
        self.now = START
        workflow = scenario.workflow
        self._first = Run(
            id=run_id,
            workflow_id=run_id,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            input=workflow.prepare_input(dict(scenario.input)),
            created_at=START,
            deadline=START + workflow.timeout,
            pins=scenario.pins or None,
        )
        journal = MemoryJournal(self.store)
        for digest in {workflow.digest}.union(*(known.values() for known in scenario.pins.values())):
            journal.put_document(_stored(scenario.document(digest)))
        journal.create(self._first)

    def live(self, journal: MemoryJournal) -> bool:
        """One worker's life with this journal of the store, until nothing more happens; False if it died."""
        kin = Kin(journal, self._document, lambda: runtime.now())
        self._document = self._scenario.pinned
        watch = self._watch

        def committed(change: Change) -> None:
            if watch is not None:
                watch(runtime, change)

        runtime = _Runtime(
            journal,
            self._script,
            start=self.now,
            settings=self._settings,
            kin=kin,
            after_commit=committed,
        )
        try:
            self._drive(journal, runtime)
        except WorldEnds:
            self.now = runtime.now()
            journal.kill()
            return False
        self.now = runtime.now()
        if not self._events or self._events[0].kind != "lose_worker":
            return True
        journal.kill()
        self.now += self._events.pop(0).data
        self._happen_unattended()
        return self.live(MemoryJournal(self.store))

    def live_on(self) -> None:
        """Worker after worker, until nothing more happens."""
        while not self.live(MemoryJournal(self.store)):
            self.now += TAKEOVER

    def happen(self, runtime: VirtualRuntime, event: Event) -> None:
        """It comes from another process, so the worker's journal has no part in it."""
        runtime.errands.drive(self._accept(event))
        journal = MemoryJournal(self.store)
        for run in reversed(journal.list_runs(statuses=sorted(LIVE))):
            machine = runtime.machine(run.id)
            if machine is not None and not machine.ended:
                machine.receive(journal.inbox(run.id, machine.seen))

    def _drive(self, journal: MemoryJournal, runtime: VirtualRuntime) -> None:
        for run in reversed(journal.list_runs(statuses=sorted(LIVE))):  # detached children too, after the run
            runtime.errands.drive(run.id)
        while self._events:
            event = self._events[0]
            runtime.run_until_idle(until=START + event.at)
            if event.kind == "lose_worker":
                runtime.drop()
                return
            self.happen(runtime, event)
            self._events.pop(0)
        until = self._scenario.until
        runtime.run_until_idle(until=None if until is None else START + until)

    def _happen_unattended(self) -> None:
        """What comes while there is no worker is there when the next one looks."""
        while (
            self._events and self._events[0].kind != "lose_worker" and START + self._events[0].at < self.now
        ):
            self._accept(self._events.pop(0))

    def _accept(self, event: Event) -> str:
        """Record what happens, unless it is refused; returns the id of the latest run."""
        journal = MemoryJournal(self.store)
        latest = journal.latest_of(self.run_id)
        assert latest is not None
        operations = Operations(journal, lambda: START + event.at)
        with contextlib.suppress(RunClosed, RunOpen):
            if event.kind in OPERATIONS:
                operate(operations, latest.id, event)
            else:
                journal.deliver(_message(event, latest.id))
        journal.close()
        return latest.id

    # --- what there is to see

    def run(self) -> Run:
        """The latest run of the chain."""
        run = MemoryJournal(self.store).latest_of(self.run_id)
        assert run is not None
        return run

    def runs(self) -> list[tuple[Run, list[Entry]]]:
        """All runs with their entries, in the order of their creation: the chain, and all children."""
        journal = MemoryJournal(self.store)
        runs: Iterable[Run] = reversed(journal.list_runs(limit=1_000_000))
        return [(run, journal.entries(run.id)) for run in runs]

    @property
    def elapsed(self) -> int:
        """How long the chain took, or has taken so far, in milliseconds."""
        run = self.run()
        return (run.completed_at if run.completed_at is not None else self.now) - START


class _Runtime(VirtualRuntime):
    """Tells the script how its attempts end."""

    def __init__(self, journal: MemoryJournal, script: Performs, **options: Any) -> None:
        super().__init__(journal, script, **options)
        self._performs = script

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``."""
        if attempt.kind != "activity":
            return super().perform(attempt, done, heard)

        def ended(outcome: Outcome) -> None:
            self._performs.ended(attempt, outcome)
            done(outcome)

        return super().perform(attempt, ended, heard)


def _message(event: Event, run_id: str) -> Message:
    kind: MessageKind = "signal" if event.kind == "signal" else "cancel"
    return Message(run_id, kind, event.name, event.data, START + event.at, event.principal, event.dedup_id)


def _stored(workflow: Workflow) -> Document:
    body = values.encode(workflow.body)
    return Document(workflow.digest, workflow.name, workflow.version, body, body.decode())
