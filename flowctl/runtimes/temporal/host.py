"""The world of a machine inside of a Temporal workflow: its clock, its timers, its activities, its journal.

Everything here is replayed: it may only depend on the workflow's history. What is recorded becomes durable
together with what it leads to, because Temporal stores both when the workflow task is done; so the effects of
a commit are released at once.

A run that has become long continues as new, with its journal (``moves_at``). For that nothing may be in
flight, so what is about to begin is held back. While a child is in flight, that would be long: then it waits.
One that has become too large to be taken along stays, and fails: whatever it attempts from then on is
refused, but for compensations.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from temporalio import exceptions, workflow
from temporalio.common import RetryPolicy

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.document import stored
from flowctl.errors import (
    ExpressionError,
    Failure,
    FlowctlError,
    InternalError,
    PayloadTooLarge,
    RunClosed,
    safe_text,
)
from flowctl.expressions import FUNCTIONS
from flowctl.journal import Entry, Message, MessageKind, Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack, unpack
from flowctl.machine import Handle, Machine
from flowctl.machine.core import BLOCKED_FOR
from flowctl.model import Policy, Workflow
from flowctl.path import Path
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.card import Showing
from flowctl.runtimes.temporal.kindred import Errands, described, remember
from flowctl.runtimes.temporal.messages import message_from
from flowctl.runtimes.temporal.wire import attempt_to_json, outcome_from_json, raw
from flowctl.runtimes.temporal.witness import decided
from flowctl.state import ENDED, RunStatus

MARGIN = timedelta(seconds=60)
"""An attempt's own worker ends it in time. Only if it does not, Temporal does, so much later."""

TAKEN_UP_WITHIN, PER_ENTRY = timedelta(seconds=10), timedelta(milliseconds=1)
"""Temporal's own limit of a workflow task, and how much longer one may take that begins with so many entries:
if a worker forgets the run, they are all gone through again."""

UNDO = "undo"
"""The segment of a path below which a compensation is."""

NAMED = 3
"""Steps that are named when a run is too large."""


class Equipment:
    """What this process has besides activities: the functions that expressions may call. Whoever replays a
    run needs them, to read it as well as to work on it.
    """

    functions: Mapping[str, Any] = FUNCTIONS


def equip(functions: Mapping[str, Any]) -> None:
    """Set the functions of this process."""
    if functions is not Equipment.functions:
        Equipment.functions = functions
        built.cache_clear()


class TemporalHost:
    """Drives one chain of runs. ``over`` is set once this Temporal run has nothing more to do; ``failure`` is
    why its workflow task fails.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self.run_id = begin.run_id
        self._store = unpack(begin.store)
        self.journal = MemoryJournal(self._store)
        self.kin = Kin(self.journal, self._document, self.now)
        self.showing = Showing(self.run(), cards=begin.cards, indexed=begin.indexed)
        self.errands = Errands(self)
        self.over = False
        self._machine: Machine | None = None
        self._timers: dict[_Timer, None] = {}
        self._armed = False
        self._moving = False
        self._next: list[bytes] | None = None
        self._too_large: Failure | None = None
        self.failure: FlowctlError | None = None

    # --- what the workflow does with a host

    def take_up(self) -> None:
        """Drive the run from the top to where it was, and on."""
        run = self.journal.claim(self.run_id)
        assert run is not None
        self._machine = machine = Machine(run, self.journal.entries(run.id), self)
        machine.begin(self.kin.interpret(run), self.journal.inbox(run.id))
        self.wake(machine)

    def put_aside(self) -> None:
        """The worker forgets the run: nothing that its tasks do from now on is of the run."""
        if self._machine is not None:
            self._machine.drop()

    def hear(self, kind: MessageKind, name: str, about: Any) -> None:
        """A message for the run. One that is none, or a signal that does not fit its document, is as if it
        had not been sent; whoever sends it by flowctl is told so before.
        """
        run = self.run()
        try:
            told = message_from(kind, about)
            data = self.kin.payload_of(run, name, told.payload) if kind == "signal" else told.data
        except (FlowctlError, msgspec.ValidationError):
            self.refuse(name if kind == "signal" else f"_{kind}")
            return
        now = self.now()  # it may have been sent while no worker was there
        at = now if told.at is None else min(now, told.at)
        message = Message(run.id, kind, name, data, at, told.principal, told.dedup_id)
        try:
            self.journal.deliver(message)
        except RunClosed:
            return
        machine = self._machine
        if machine is not None:
            self._ring_before(at)
            machine.receive(self.journal.inbox(run.id, machine.seen))

    def refuse(self, name: str) -> None:
        """Say that a message is not heard: whatever anybody can send must not be a mistake of the run."""
        workflow.logger.warning("run %s was sent a signal %s that it does not take", self.run_id, name)

    def _ring_before(self, at: int) -> None:
        """Let the timers ring that were due before a message was sent. Temporal hands over messages first."""
        for timer in sorted(self._timers, key=lambda timer: timer.when):
            if timer.when < at:
                timer.ring()

    def run(self) -> Run:
        """The run as it stands."""
        run = self.journal.run(self.run_id)
        assert run is not None
        return run

    def result(self) -> Any:
        """What the Temporal run ends with, which raises what Temporal shows of a run that did not complete. A
        child tells its parent everything, all others the output.
        """
        if self.failure is not None:
            self.put_aside()
            raise self.failure
        run = self.run()
        if self._next is not None:
            within = TAKEN_UP_WITHIN + run.entries * PER_ENTRY
            successor = self.showing.of_another(self._latest()) if run.status == RunStatus.CONTINUED else {}
            workflow.continue_as_new(args=self._next, task_timeout=within, **successor)
        everything = described(self.journal, run)
        if everything["ended"].get("left"):
            everything["kin"] = [described(self.journal, relative) for relative in self._relatives()]
        if run.status == RunStatus.COMPLETED:
            hidden = self.kin.has_secret_output(run)
            return everything if run.parent_id is not None else None if hidden else run.output
        if run.status == RunStatus.CANCELLED and run.parent_id is None:
            raise asyncio.CancelledError
        error = Failure.from_json(run.error) if run.error is not None else Failure(run.status, "")
        raise exceptions.ApplicationError(error.message, everything, type=error.type, non_retryable=True)

    # --- moving on

    def _continued(self) -> Begin:
        """The same run in another Temporal run."""
        return msgspec.structs.replace(self._begin, run_id=self.run_id, store=pack(self._store))

    def _succeeded(self) -> Begin:
        """The next run of the chain."""
        return msgspec.structs.replace(
            self._begin, run_id=self._latest().id, store=pack(self._store, leave={self.run_id})
        )

    def _latest(self) -> Run:
        latest = self.journal.latest_of(self.run().workflow_id)
        assert latest is not None
        return latest

    def begin_child(self, child: Run) -> list[bytes]:
        """See ``Kindred``."""
        store = MemoryStore()
        store.documents = dict(self._store.documents)
        journal = MemoryJournal(store)
        if (child.inherited or {}).get("left"):
            for relative in self._relatives():
                remember(journal, described(self.journal, relative))
        journal.create(child)
        return to_chunks(msgspec.structs.replace(self._begin, run_id=child.id, store=pack(store)))

    def _relatives(self) -> list[Run]:
        """The children that have ended, and theirs: what there is to know when they are undone."""
        runs = self.journal.list_runs(limit=len(self._store.runs))
        return [run for run in reversed(runs) if run.id != self.run_id and run.status in ENDED]

    def _document(self, digest: str) -> Workflow:
        document = self.journal.document(digest)
        if document is None:
            raise InternalError(f"the run does not have the document {digest}")
        return built(document.body, digest)

    # --- Host

    @property
    def settings(self) -> Policy:
        """See ``Host``."""
        return self._begin.settings

    @property
    def task_queue(self) -> str:
        """See ``Host``."""
        return self._begin.task_queue

    @property
    def namespace(self) -> str:
        """See ``Host``."""
        return workflow.info().namespace

    def now(self) -> int:
        """See ``Host``. The same for all that is done in one workflow task."""
        return workflow.time_ns() // 1_000_000

    def chance(self) -> float:
        """See ``Host``."""
        return workflow.random().random()

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        timer = _Timer(self, when, callback)
        if when > self.now():
            self._timers[timer] = None
        return timer

    def disarmed(self, timer: _Timer) -> None:
        """It has rung, or was called off."""
        self._timers.pop(timer, None)

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``. Temporal keeps the details of heartbeats, and tells them if the attempt is lost."""
        if self._too_large is not None and UNDO not in attempt.path.split("."):
            return _Refused(self._too_large, done)
        if attempt.kind != "activity":
            return self.errands.perform(attempt, done)
        return _Flight(attempt, done, timedelta(milliseconds=self._begin.heard_within))

    def declared(self, activity: str) -> Policy | None:
        """See ``Host``. As it was where the run was started; whether a worker has the activity, the attempt
        shows.
        """
        return self._begin.policies.get(activity)

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """See ``Host``. Whether a worker has them, the attempt shows."""

    def wake(self, machine: Machine) -> None:
        """See ``Host``."""
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._flush)

    # --- committing

    def _flush(self) -> None:
        try:
            self._commit()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """See ``Kindred``. The workflow task fails, and is tried again. An expression that is wrong is in a
        document that cannot be built here: whatever runs evaluate, their interpreter has seen to.
        """
        self.over = True
        if isinstance(error, ExpressionError):
            self.failure = error
        else:
            workflow.logger.exception("run %s cannot go on", self.run_id)
            self.failure = InternalError(f"flowctl failed: {safe_text(error)}")

    def _commit(self) -> None:
        self._armed = False
        machine = self._machine
        assert machine is not None
        change = machine.take()
        if change is not None:
            self.journal.commit([change])
            if change.state_changed or change.release:
                self.showing.renew(self.run(), self._own_entries)
            decided(change, self.journal)
        machine.committed()
        if machine.reopened:
            machine.begin_again(self.journal.entries(self.run_id), self.journal.inbox(self.run_id))
        self._look(machine)

    def _look(self, machine: Machine) -> None:
        """Whether this is the end, or the run should move."""
        if machine.ended:
            if machine.run.status == RunStatus.CONTINUED:
                self._next = to_chunks(self._succeeded())
            self.over = True
        elif machine.stopped:
            self._stop(machine)
        elif self._moving:
            if machine.rests and self.errands.children == 0:
                self._move(machine)
        elif self._is_long() and self.errands.children == 0 and self._too_large is None:
            self._moving = True
            machine.hold_back()
            self.wake(machine)

    def _move(self, machine: Machine) -> None:
        try:
            self._next = to_chunks(self._continued())
        except PayloadTooLarge as error:
            self._too_large = Failure("PayloadTooLarge", f"{error.message}; {largest(self._own_entries())}")
            self._moving = False
            machine.let_go()
            self.wake(machine)
        else:
            self.over = True

    def _own_entries(self) -> Sequence[Entry]:
        return self.journal.entries(self.run_id)

    def _is_long(self) -> bool:
        info = workflow.info()
        return (
            info.get_current_history_length() >= self._begin.moves_at or info.is_continue_as_new_suggested()
        )

    def _stop(self, machine: Machine) -> None:
        """The run cannot go on. If that is flowctl's own mistake, the workflow task fails, so that a worker
        that is mended can do it; else somebody looks again in a while.
        """
        blocked = machine.run.blocked
        if blocked["code"] == "InternalError":
            self.failure, self.over = InternalError(blocked["reason"]), True
        else:
            self.call_at(self.now() + BLOCKED_FOR, self.take_up)


@functools.lru_cache(maxsize=256)
def built(body: bytes, digest: str) -> Workflow:
    """The workflow of a document. ``ExpressionError`` if this process lacks a function of it."""
    return stored(body, digest, Equipment.functions)


class _Timer:
    """A Temporal timer. One that is due already rings in the same workflow task, as soon as possible."""

    def __init__(self, host: TemporalHost, when: int, callback: Callable[[], None]) -> None:
        self.when = when
        self._host = host
        self._callback = callback
        self._arm()

    def cancel(self) -> None:
        """See ``Handle``."""
        self._handle.cancel()
        self._host.disarmed(self)

    def ring(self) -> None:
        """Its time has come."""
        self.cancel()
        self._callback()

    def _arm(self) -> None:
        loop, left = asyncio.get_running_loop(), self.when - self._host.now()
        self._handle: asyncio.Handle = (
            loop.call_later(left / 1000, self._look) if left > 0 else loop.call_soon(self._callback)
        )

    def _look(self) -> None:
        """Never early."""
        if self._host.now() < self.when:
            self._arm()
        else:
            self.ring()


class _Flight:
    """One attempt, as a Temporal activity."""

    def __init__(self, attempt: Attempt, done: Callable[[Outcome], None], heard_within: timedelta) -> None:
        self._done = done
        self._told = False
        self._handle: workflow.ActivityHandle[Any] = workflow.start_activity(
            attempt.name,
            raw(attempt_to_json(attempt)),
            result_type=dict,
            start_to_close_timeout=timedelta(milliseconds=attempt.timeout) + MARGIN,
            heartbeat_timeout=heard_within,
            retry_policy=RetryPolicy(maximum_attempts=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=str(attempt.path),
        )
        self._landing = asyncio.create_task(self._land())

    def cancel(self) -> None:
        """See ``Handle``."""
        self._told = True
        self._handle.cancel()

    async def _land(self) -> None:
        try:
            outcome = outcome_from_json(await self._handle)
        except exceptions.ActivityError as error:
            outcome = _outcome_of(error)
        except asyncio.CancelledError:
            if not self._told:  # the whole workflow is put aside
                raise
            outcome = _NEVER_MADE
        self._done(outcome)


_NEVER_MADE = Outcome(failure=Failure("Cancelled", "cancelled before it began"), cancelled=True)


def _outcome_of(error: exceptions.ActivityError) -> Outcome:
    """What an activity's failure says. One that says nothing of its own was lost, or cancelled in time."""
    cause = error.cause
    if isinstance(cause, exceptions.ApplicationError) and cause.details:
        return outcome_from_json(cause.details[0])
    if isinstance(cause, exceptions.CancelledError):
        return _NEVER_MADE
    details = cause.last_heartbeat_details if isinstance(cause, exceptions.TimeoutError) else ()
    return Outcome(lost=True, heartbeat=values.encode(details[0]) if details else None)


class _Refused:
    """An attempt that is not made."""

    def __init__(self, failure: Failure, done: Callable[[Outcome], None]) -> None:
        asyncio.get_running_loop().call_soon(done, Outcome(failure=failure))

    def cancel(self) -> None:
        """See ``Handle``. It is over already."""


def largest(entries: Sequence[Entry]) -> str:
    """A clause that names the steps that have left most in the journal."""
    sizes: Counter[str] = Counter()
    for fact in (fact for entry in entries for fact in entry.facts() if fact.path):
        sizes[fact.path] += len(values.encode(fact.data))
    named = ", ".join(f"{path} ({size:,} bytes)" for path, size in sizes.most_common(NAMED))
    return f"its largest steps are {named}"
