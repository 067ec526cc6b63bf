"""The embedded runtime: machines on an asyncio loop, and a journal.

All that happens in one turn of the loop, in all runs, is committed together (group commit), and only then
are its effects released. The commit is done on the loop, where it is cheapest; only when another process
holds the journal is it waited for in a thread. A commit whose outcome is unknown stops everything here:
the truth is in the journal now.

Whoever has many runs to drive lets those go that only wait (``lets_go``): a run is then given back with the
commit after which it rests, and forgotten. Who drives it next runs it from the top to where it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from flowctl import collector
from flowctl.activities import Activity, Attempt, Outcome
from flowctl.errors import Blocked, StorageError
from flowctl.journal import BEAT, Change, Fenced, Journal, Run, end_of_child
from flowctl.machine import Handle, Interpret, Machine
from flowctl.model import Policy
from flowctl.path import Path
from flowctl.runtimes.errands import Errands
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.timers import Timers
from flowctl.wall_clock import wall_clock

POLL = 0.05
"""Seconds between looks at whether another process left a message."""


class Performs(Protocol):
    """What carries attempts out (``activities.performer.Performer``)."""

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """Make one attempt and call back once, on the loop, as ``Host`` says."""


class EmbeddedRuntime:
    """Drives machines on the running loop. ``settled`` is called when a run may have ended or only wait, its
    state durable. ``lets_go`` is None, or from how many milliseconds on a run is let go that has to wait.
    """

    def __init__(
        self,
        journal: Journal,
        performer: Performs,
        activities: Mapping[str, Activity],
        *,
        lacks: Callable[[str], str | None],
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
        self._lacks = lacks
        self.settings = settings
        self._settled = settled
        self._on_commit = committed
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._timers = Timers(self._loop, clock)
        self._machines: dict[str, Machine] = {}
        self._children: dict[str, Machine] = {}  # of the same, so that a thousand others need not be asked
        self._dirty: list[Machine] = []
        self._armed = False
        self._elsewhere: asyncio.Task[None] | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._beaten = 0.0
        self._broken: BaseException | None = None
        self._holds_back = False
        self.lets_go: int | None = None

    # --- driving

    def add(self, run: Run, interpret: Interpret, *, new: bool = False) -> Machine:
        """Drive a run that this journal's session has claimed, or that it creates (``new``)."""
        with collector.resting():
            entries = () if new else self.journal.entries(run.id)
            messages = () if new else self.journal.inbox(run.id)
            heartbeats = () if new else self.journal.heartbeats(run.id)
            machine = Machine(run, entries, self, new=new, heartbeats=heartbeats)
            if self._holds_back:
                machine.hold_back()
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

    @property
    def count(self) -> int:
        """How many are driven."""
        return len(self._machines)

    @property
    def idle(self) -> bool:
        """Whether all of them are."""
        return all(machine.idle for machine in self._machines.values())

    def hold_back(self) -> None:
        """Let nothing new begin, from now on: see ``Machine.hold_back``."""
        self._holds_back = True
        for machine in self._machines.values():
            machine.hold_back()

    def children(self) -> list[Machine]:
        """Those that other runs have started."""
        return list(self._children.values())

    def _forget(self, machine: Machine) -> bool:
        run = machine.run
        self.errands.forget(run.id)
        if self._children.pop(run.id, None) is not None and run.parent_id in self._machines:
            self.wake(self._machines[run.parent_id])  # which may rest now as well
        return self._machines.pop(run.id, None) is not None

    @property
    def free(self) -> bool:
        """Whether nobody uses the journal at the moment, so that it may be asked for something."""
        return self._elsewhere is None and self._broken is None

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

    def abandon(self, run_id: str) -> None:
        """The same for a run that may not be driven at all."""
        if run_id in self._machines:
            self.remove(self._machines[run_id])

    async def close(self) -> list[Change]:
        """Stop driving everything; waits for a commit that is under way. Returns what gives back the runs
        that have not ended.
        """
        live = [machine for machine in self._machines.values() if machine.run.key and not machine.ended]
        left = [_given_back(machine) for machine in live]
        for machine in list(self._machines.values()):
            self.remove(machine)
        self._timers.close()
        if self._poll is not None:
            self._poll.cancel()
        if self._elsewhere is not None:
            await asyncio.wait([self._elsewhere])
        return [] if self._broken is not None else left

    # --- Host

    task_queue = namespace = "default"

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        return self._timers.call_at(when, callback)

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``."""
        if attempt.kind != "activity":
            return self.errands.perform(attempt, done)
        return self._performer.perform(attempt, done, heard)

    def declared(self, activity: str) -> Policy | None:
        """See ``Host``."""
        found = self._activities.get(activity)
        if found is None:
            raise Blocked("UnknownActivity", f"no plugin here registers the activity {activity}", "")
        return found.policy

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """See ``Host``."""
        for name in names:
            reason = self._lacks(name)
            if reason is not None:
                raise Blocked("MissingSecret", reason, path)

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
        dirty, self._dirty = dict.fromkeys(self._dirty), []
        machines = [machine for machine in dirty if self._machines.get(machine.run.id) is machine]
        changes = [change for machine in machines if (change := self._take(machine)) is not None]
        self._tell_parents(changes)
        try:
            done = not changes or self.journal.try_commit(changes)
        except (StorageError, Fenced) as error:
            self._break(error)
            return
        if done:
            self._commit_done(machines, changes)
        else:
            self._elsewhere = self._loop.create_task(self._wait_and_commit(machines, changes))

    def _take(self, machine: Machine) -> Change | None:
        """What to commit of a run now. One that may go is given back with that, and forgotten."""
        change = machine.take()
        if self.lets_go is None or not self._may_go(machine, self.lets_go):
            return change
        change = _given_back(machine, change)
        self.remove(machine)
        return change

    def _may_go(self, machine: Machine, wait: int) -> bool:
        if not machine.rests or self.errands.busy_for(machine.run.id):
            return False
        due_at = machine.due_at
        return due_at is None or due_at > self.now() + wait

    def _tell_parents(self, changes: list[Change]) -> None:
        """Whoever drives the parent of a run that ends hears of it: we do by ourselves."""
        for change in changes:
            if change.run.parent_id is not None and change.run.parent_id not in self._machines:
                change.tell = end_of_child(change.run, self.now())

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
        at_rest = [machine for machine in machines if machine.committed()]
        for machine in at_rest:
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
        self.say_that_we_live()
        if self._elsewhere is not None:  # one thread at a time uses the journal
            return
        try:
            if self.journal.changed():
                for message in self.journal.news():
                    self.errands.tell(message)
                self.errands.look()
        except StorageError as error:
            self._break(error)

    def say_that_we_live(self) -> None:
        """To be called again and again, on the loop, because it is the loop that must not hang."""
        if self._loop.time() >= self._beaten + BEAT:
            self._beaten = self._loop.time()
            self.journal.beat()


def _given_back(machine: Machine, change: Change | None = None) -> Change:
    """The change that gives a run back as it is now, or the one that does so besides."""
    machine.run.due_at = machine.due_at
    change = change or Change(machine.run, [])
    change.state_changed = change.release = True
    change.seen = machine.seen
    return change
