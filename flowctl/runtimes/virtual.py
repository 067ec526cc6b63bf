"""The virtual runtime: the same machine, a clock that jumps to whatever is due next, and activities that
are scripted.

Nothing here waits: an hour costs as much as a millisecond. Everything happens in one thread, in an order
that depends on nothing but the script, so a run can be stopped after any journal entry and tried again.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.errors import Failure
from flowctl.journal import Change, Journal, Run
from flowctl.machine import Handle, Interpret, Machine
from flowctl.model import NO_POLICY, Policy
from flowctl.path import Path
from flowctl.runtimes.errands import Errands
from flowctl.runtimes.kin import Kin

Beat = tuple[int, Any]
"""A heartbeat: when, in milliseconds after the start, and its details, None for none."""


class Act(Protocol):
    """One scripted answer. ``outcome`` comes after ``duration``; None: never."""

    @property
    def outcome(self) -> Outcome:
        """How it ends by itself."""

    @property
    def duration(self) -> int | None:
        """After how long, in milliseconds."""

    @property
    def heartbeats(self) -> tuple[Beat, ...]:
        """What it reports, in order."""

    @property
    def deaf(self) -> bool:
        """Whether it goes on when told to stop."""


class Script(Protocol):
    """What stands for the activities."""

    def act(self, attempt: Attempt) -> Act:
        """The answer to this attempt; called when the attempt begins."""

    def declared(self, activity: str) -> Policy | None:
        """The activity's own policy. May raise ``Blocked``."""

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """May raise ``Blocked``."""


class Clock(Protocol):
    """What scripted attempts need of the time."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """Call back then."""


class VirtualRuntime:
    """Drives machines against a journal, in virtual time. ``after_commit`` may raise to end the world
    there.
    """

    def __init__(
        self,
        journal: Journal,
        script: Script,
        *,
        start: int,
        settings: Policy = NO_POLICY,
        chance: Callable[[], float] = lambda: 0.5,
        kin: Kin,
        after_commit: Callable[[Change], None] | None = None,
    ) -> None:
        self.journal = journal
        self.errands = Errands(self, kin)
        self._machines: dict[str, Machine] = {}
        self.chance = chance
        self._settings = settings
        self._script = script
        self._time = start
        self._numbers = itertools.count()
        self._due: list[tuple[int, int, _Event]] = []
        self._dirty: list[Machine] = []
        self._after_commit = after_commit

    def add(self, run: Run, interpret: Interpret, *, new: bool = False) -> Machine:
        """Drive a run that this journal's session has claimed, or that it creates (``new``)."""
        entries = () if new else self.journal.entries(run.id)
        messages = () if new else self.journal.inbox(run.id)
        heartbeats = () if new else self.journal.heartbeats(run.id)
        machine = Machine(run, entries, self, new=new, heartbeats=heartbeats)
        self._machines[run.id] = machine
        machine.begin(interpret, messages)
        self.wake(machine)
        return machine

    def machine(self, run_id: str) -> Machine | None:
        """See ``Drives``."""
        return self._machines.get(run_id)

    def soon(self, callback: Callable[[], None]) -> None:
        """See ``Drives``."""
        self.call_at(self._time, callback)

    def drop(self) -> None:
        """Stop driving everything; what is durable stays."""
        for machine in self._machines.values():
            machine.drop()
        self._machines.clear()

    def run_until_idle(self, *, until: int | None = None) -> None:
        """Let everything happen that happens by itself (by ``until``), the clock jumping from one event
        to the next.
        """
        self._flush()
        while self._due and (until is None or self._due[0][0] <= until):
            when, _, event = heapq.heappop(self._due)
            if not event.cancelled:
                self._time = max(self._time, when)
                event.callback()
                self._flush()
        if until is not None:
            self._time = max(self._time, until)

    # --- Host

    @property
    def settings(self) -> Policy:
        """See ``Host``."""
        return self._settings

    task_queue = namespace = "default"

    def now(self) -> int:
        """See ``Host``."""
        return self._time

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        event = _Event(callback)
        heapq.heappush(self._due, (when, next(self._numbers), event))
        return event

    def declared(self, activity: str) -> Policy | None:
        """See ``Host``."""
        return self._script.declared(activity)

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """See ``Host``."""
        self._script.check_secrets(names, path)

    def wake(self, machine: Machine) -> None:
        """See ``Host``."""
        self._dirty.append(machine)

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``. The first of answer, timeout, silence and cancellation ends the attempt."""
        if attempt.kind != "activity":
            return self.errands.perform(attempt, done)
        act = self._script.act(attempt)
        performance = Performance(self, attempt, act, done, heard)
        performance.begin()
        return performance

    def _flush(self) -> None:
        while self._dirty:
            machines, self._dirty = self._dirty, []
            changes = [change for machine in machines if (change := machine.take()) is not None]
            if changes:
                self.journal.commit(changes)
                for change in changes:
                    if self._after_commit is not None:
                        self._after_commit(change)
            for machine in machines:
                machine.committed()
            for machine in machines:
                if machine.reopened:
                    machine.begin_again(
                        self.journal.entries(machine.run.id), self.journal.inbox(machine.run.id)
                    )
                if machine.ended and self._machines.pop(machine.run.id, None) is not None:
                    self.errands.settled(machine.run)


class _Event:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Performance:
    """One scripted attempt under way, by a clock."""

    def __init__(
        self,
        runtime: Clock,
        attempt: Attempt,
        act: Act,
        done: Callable[[Outcome], None],
        heard: Callable[[bytes], None],
    ) -> None:
        self._runtime = runtime
        self._attempt = attempt
        self._act = act
        self._done = done
        self._heard = heard
        self._came: bytes | None = None
        self._over = False

    def begin(self) -> None:
        """Schedule how it ends."""
        now, act, attempt = self._runtime.now(), self._act, self._attempt
        for moment, details in act.heartbeats:
            if details is not None:
                self._runtime.call_at(now + moment, partial(self._beat, values.encode(details)))
        if act.duration is not None:
            self._runtime.call_at(now + act.duration, lambda: self._end(act.outcome))
        self._runtime.call_at(now + attempt.timeout, lambda: self._end(_silent("Timeout", attempt.timeout)))
        silence = self._silence()
        if silence is not None:
            self._runtime.call_at(now + silence, lambda: self._end(_silent("HeartbeatTimeout", silence)))

    def cancel(self) -> None:
        """Tell it; one that is deaf goes on to its end."""
        if not self._act.deaf:
            outcome = Outcome(failure=Failure("Cancelled", "told to stop"), uncertain=True, cancelled=True)
            self._runtime.call_at(self._runtime.now(), lambda: self._end(outcome))

    def _beat(self, details: bytes) -> None:
        if not self._over:
            self._came = details
            self._heard(details)

    def _silence(self) -> int | None:
        """When, after the start, it has not been heard of for too long."""
        limit = self._attempt.heartbeat_timeout
        if limit is None:
            return None
        heard = 0
        for beat in (*(moment for moment, _ in self._act.heartbeats), self._act.duration):
            if beat is None or beat - heard > limit:
                return heard + limit
            heard = beat
        return None

    def _end(self, outcome: Outcome) -> None:
        if not self._over:
            self._over = True
            self._done(outcome if self._came is None else replace(outcome, heartbeat=self._came))


def _silent(kind: str, after: int) -> Outcome:
    return Outcome(failure=Failure(kind, f"no answer within {after} ms"), uncertain=True)
