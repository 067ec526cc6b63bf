"""The embedded runtime: machines on an asyncio loop, and a journal.

All that happens in one turn of the loop, in all runs, is committed together (group commit), and only then
are its effects released. The commit is done on the loop, where it is cheapest; only when another process
holds the journal is it waited for in a thread. A commit whose outcome is unknown stops everything here:
the truth is in the journal now.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from flowctl.activities import Activity, Attempt, Outcome
from flowctl.errors import Blocked, StorageError
from flowctl.journal import Change, Fenced, Journal, Run
from flowctl.machine import Handle, Interpret, Machine
from flowctl.model import Policy
from flowctl.path import Path
from flowctl.runtimes.errands import Errands
from flowctl.runtimes.kin import Kin

POLL = 0.05
"""Seconds between looks at whether another process left a message."""

LONGEST_NAP = 60.0
"""Seconds that a timer sleeps at a time: the wall clock may have been set meanwhile."""


class Performs(Protocol):
    """What carries attempts out (``activities.performer.Performer``)."""

    def perform(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Handle:
        """Make one attempt and call back once, on the loop."""


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class EmbeddedRuntime:
    """Drives machines on the running loop. ``settled`` is called when a run may have ended or only wait, its
    state durable.
    """

    def __init__(
        self,
        journal: Journal,
        performer: Performs,
        activities: Mapping[str, Activity],
        *,
        has_secret: Callable[[str], bool],
        settings: Policy = Policy(),  # noqa: B008  (frozen)
        clock: Callable[[], int] = wall_clock,
        settled: Callable[[], None],
        committed: Callable[[Change], None] | None = None,
        failed: Callable[[BaseException], None],
        kin: Kin,
    ) -> None:
        self.journal = journal
        self.errands = Errands(self, kin)
        self._soon: list[Callable[[], None]] = []
        self.now = clock
        self.chance = random.random
        self._performer = performer
        self._activities = activities
        self._has_secret = has_secret
        self._settings = settings
        self._settled = settled
        self._on_commit = committed
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._machines: dict[str, Machine] = {}
        self._children: dict[str, Machine] = {}  # of the same, so that a thousand others need not be asked
        self._dirty: list[Machine] = []
        self._armed = False
        self._elsewhere: asyncio.Task[None] | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._broken: BaseException | None = None

    # --- driving

    def add(self, run: Run, interpret: Interpret, *, new: bool = False) -> Machine:
        """Drive a run that this journal's session has claimed, or that it creates (``new``)."""
        entries = () if new else self.journal.entries(run.id)
        messages = () if new else self.journal.inbox(run.id)
        machine = Machine(run, entries, self, new=new)
        self._machines[run.id] = machine
        if run.parent_id is not None:
            self._children[run.id] = machine
        machine.begin(interpret, messages)
        self.wake(machine)
        if self._poll is None:
            self._poll = self._loop.call_later(POLL, self._look)
        return machine

    def machine(self, run_id: str) -> Machine | None:
        """See ``Drives``."""
        return self._machines.get(run_id)

    def machines(self) -> list[Machine]:
        """All that are driven."""
        return list(self._machines.values())

    def children(self) -> list[Machine]:
        """Those that other runs have started."""
        return list(self._children.values())

    def _forget(self, machine: Machine) -> bool:
        self._children.pop(machine.run.id, None)
        return self._machines.pop(machine.run.id, None) is not None

    def soon(self, callback: Callable[[], None]) -> None:
        """See ``Drives``."""
        self._loop.call_soon(self._when_free, callback)

    def _when_free(self, callback: Callable[[], None]) -> None:
        if self._elsewhere is not None:
            self._soon.append(callback)
        elif self._broken is None:
            try:
                callback()
            except (StorageError, Fenced) as error:
                self._break(error)
            else:
                self._settled()

    def remove(self, machine: Machine) -> None:
        """Stop driving a run, wherever it is; what is durable stays."""
        machine.drop()
        self._forget(machine)

    async def close(self) -> None:
        """Stop driving everything; waits for a commit that is under way."""
        for machine in list(self._machines.values()):
            self.remove(machine)
        if self._poll is not None:
            self._poll.cancel()
        if self._elsewhere is not None:
            await asyncio.wait([self._elsewhere])

    # --- Host

    @property
    def settings(self) -> Policy:
        """See ``Host``."""
        return self._settings

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        return _Timer(self, when, callback)

    def perform(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Handle:
        """See ``Host``."""
        if attempt.kind != "activity":
            return self.errands.perform(attempt, done)
        return self._performer.perform(attempt, done)

    def declared(self, activity: str) -> Policy | None:
        """See ``Host``."""
        found = self._activities.get(activity)
        if found is None:
            raise Blocked("UnknownActivity", f"no plugin here registers the activity {activity}", "")
        return found.policy

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """See ``Host``."""
        for name in names:
            if not self._has_secret(name):
                raise Blocked("MissingSecret", f"nobody here has the secret {name}", path)

    def wake(self, machine: Machine) -> None:
        """See ``Host``."""
        self._dirty.append(machine)
        self._arm()

    # --- committing

    def _arm(self) -> None:
        if not self._armed and self._elsewhere is None and self._broken is None:
            self._armed = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._armed = False
        if self._broken is not None or self._elsewhere is not None:
            return
        # One that was removed has nothing to say: what it recorded since belongs to whoever drives it next.
        machines = [machine for machine in self._dirty if self._machines.get(machine.run.id) is machine]
        self._dirty = []
        changes = [change for machine in machines if (change := machine.take()) is not None]
        try:
            done = not changes or self.journal.try_commit(changes)
        except (StorageError, Fenced) as error:
            self._break(error)
            return
        if done:
            self._commit_done(machines, changes)
        else:
            self._elsewhere = self._loop.create_task(self._wait_and_commit(machines, changes))

    async def _wait_and_commit(self, machines: list[Machine], changes: list[Change]) -> None:
        """Another process has the journal: wait for our turn where that holds up nobody else."""
        try:
            await asyncio.to_thread(self.journal.commit, changes)
        except (StorageError, Fenced) as error:
            self._break(error)
        else:
            self._commit_done(machines, changes)
        finally:
            self._elsewhere = None
            if self._dirty:
                self._arm()
            waiting, self._soon = self._soon, []
            for callback in waiting:
                self.soon(callback)

    def _commit_done(self, machines: list[Machine], changes: list[Change]) -> None:
        if self._on_commit is not None:
            for change in changes:
                self._on_commit(change)
        for machine in machines:
            machine.committed()
        for machine in machines:
            if machine.reopened and self._machines.get(machine.run.id) is machine:
                machine.begin_again(self.journal.entries(machine.run.id), self.journal.inbox(machine.run.id))
            if machine.idle:
                if machine.ended and self._forget(machine):
                    self.errands.settled(machine.run)
                self._settled()

    def _break(self, error: BaseException) -> None:
        self._broken = error
        for machine in list(self._machines.values()):
            self.remove(machine)
        self._failed(error)

    def _look(self) -> None:
        """See whether somebody left a message for one of our runs."""
        self._poll = None
        if self._broken is not None or not self._machines:
            return
        self._poll = self._loop.call_later(POLL, self._look)
        if self._elsewhere is not None:  # one thread at a time uses the journal
            return
        try:
            if self.journal.changed():
                for machine in list(self._machines.values()):
                    messages = self.journal.inbox(machine.run.id, machine.seen)
                    if messages:
                        machine.receive(messages)
                self.errands.look()
        except StorageError as error:
            self._break(error)


class _Timer:
    """Calls back once the wall clock says so: never early, whatever is done to the clock."""

    __slots__ = ("_callback", "_handle", "_runtime", "_when")

    def __init__(self, runtime: EmbeddedRuntime, when: int, callback: Callable[[], None]) -> None:
        self._runtime = runtime
        self._when = when
        self._callback = callback
        self._sleep()

    def cancel(self) -> None:
        """Call it off."""
        self._handle.cancel()

    def _sleep(self) -> None:
        seconds = (self._when - self._runtime.now()) / 1000  # less than none: sooner than what is due later
        self._handle = self._runtime._loop.call_later(min(seconds, LONGEST_NAP), self._ring)

    def _ring(self) -> None:
        if self._runtime.now() < self._when:
            self._sleep()
        else:
            self._callback()
