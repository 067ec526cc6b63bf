"""Carrying out attempts: each ends in one outcome, handed to ``done`` on the loop, exactly once.

How a call ends is a race between its own answer, its timeouts and the loss of its process. The first that
arrives on the loop decides; what comes later is ignored. The rules:

1. Time begins when the activity is called, not while it waits for a thread, a runner or its resources. These
   have as much time for themselves, and if they cannot be had, nothing has happened.
2. Being told to stop is not an end. The activity may answer (then that counts), raise, or time out.
3. A coroutine or a thread that has timed out cannot be made to stop; it is cancelled, or abandoned, and its
   outcome is ``Timeout`` at once. A process can: its outcome comes when it is gone.
4. The details of heartbeats are passed on (``heard``) while the attempt goes on, because its process may be
   killed: the first at once, then the latest of each ``HEARD_EVERY``. Who reports a thousand times a second
   costs no more than who does it once.
5. Any ``BaseException`` of an activity is a failure of the attempt. asyncio would let ``SystemExit`` and
   ``KeyboardInterrupt`` end the loop, so they never reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowctl import values
from flowctl.activities.attempt import Attempt, Handle, Outcome
from flowctl.activities.binding import result_bytes
from flowctl.activities.context import ActivityContext
from flowctl.activities.definition import Activity
from flowctl.activities.failures import failure_from, masked
from flowctl.activities.masking import NOTHING, Mask, reveal
from flowctl.activities.modules import Source, source_of
from flowctl.activities.process import GRACE, Child, Children, Died
from flowctl.activities.resources import ResourceFailed, Resources
from flowctl.activities.runners import Runner, Runners
from flowctl.activities.threads import Threads
from flowctl.activities.wire import Answer, Raised
from flowctl.clock import format_duration
from flowctl.errors import Failure, InvalidOutput, PayloadTooLarge

Done = Callable[[Outcome], None]

Around = Callable[[Attempt], contextlib.AbstractContextManager[object]]
"""Made for each call of an activity, and entered around it, where it is called: its thread, or its task."""

Heard = Callable[[bytes], None]
"""Is given the details of a heartbeat, as canonical JSON without secrets."""

HEARD_EVERY = 1.0
"""Seconds, at least, between two details of one attempt that are passed on."""

MAX_THREADS = 64
MAX_PROCESSES = max(4, os.cpu_count() or 1)


class Performer:
    """Carries out the attempts of one loop. All methods are called on it.

    ``resolve_secret`` returns the text of a secret, or None if nobody has it.
    """

    def __init__(
        self,
        activities: Mapping[str, Activity],
        *,
        resolve_secret: Callable[[str], str | None],
        loop: asyncio.AbstractEventLoop,
        threads: int = MAX_THREADS,
        processes: int = MAX_PROCESSES,
        around: Around | None = None,
        around_in_child: Around | None = None,
    ) -> None:
        self.loop = loop
        self.runners = Runners(loop)
        self.threads = Threads(loop, threads)
        self.processes = Threads(loop, processes)  # a process is waited for in a thread
        self.children = Children()
        self.resources = Resources(loop)
        self.around = around
        self.around_in_child = source_of(around_in_child) if around_in_child is not None else None
        self.closed = False
        self._activities = activities
        self._resolve_secret = resolve_secret

    def perform(self, attempt: Attempt, done: Done, heard: Heard = lambda details: None) -> Handle:
        """Begin an attempt. ``done`` is called later, on the loop, never from within this call, and so is
        ``heard`` before it.

        Raises ``KeyError`` for an activity that is not there and ``MissingSecret``, both before anything has
        happened.
        """
        activity = self._activities[attempt.name]
        arguments, mask = attempt.args, NOTHING
        if attempt.secrets:
            arguments, mask = reveal(arguments, attempt.secrets, self._resolve_secret)
        call = _CALLS[activity.isolation](self, activity, attempt, arguments, mask, done, heard)
        if activity.resources:
            given = self.resources.at_hand(activity.resources)
            if given is None:
                return _Preparation(self, call)
            call.given = given
        call.begin()
        return call

    async def leave(self) -> None:
        """``close``, and close the resources that were opened. Raises nothing."""
        self.close()
        await self.resources.close()

    def close(self) -> None:
        """Kill the processes and forget all attempts in flight: no ``done`` is called from now on, as after a
        crash."""
        self.closed = True
        self.threads.close()
        self.processes.close()
        self.children.close()


class _Call(msgspec.Struct, eq=False):
    """One attempt in flight. A struct, because one is made in every step."""

    owner: Performer
    activity: Activity
    attempt: Attempt
    arguments: dict[str, Any]
    mask: Mask
    done: Done | None
    heard: Heard
    given: Mapping[str, Any] = {}
    told: bool = False
    details: bytes | None = None
    passed_on: bytes | None = None
    listens: bool = True
    beat_at: float = 0.0
    timers: list[asyncio.TimerHandle] = []

    def begin(self) -> None:
        """Start it, or have it start when its turn comes."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Tell the activity to stop, once."""
        raise NotImplementedError

    def give_up(self, failure: Failure) -> None:
        """The time is over."""
        raise NotImplementedError

    def beat(self, details: bytes | None) -> None:
        """The activity is alive. From any thread, without a lock: what is seen too early is seen again."""
        self.beat_at = self.owner.loop.time()
        if details is not None:
            self.details = details
            if self.listens:
                self.listens = False
                with contextlib.suppress(RuntimeError):  # the loop of an abandoned thread may be gone
                    self.owner.loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        """Say how far the activity came, if it came further, and look again later."""
        self.listens = True
        details = self.details
        if self.done is None or self.owner.closed or details is None or details == self.passed_on:
            return
        self.listens = False
        self.passed_on = details
        self.owner.loop.call_later(HEARD_EVERY, self._pass_on)
        self.heard(self.mask.encoded(details))

    def last_details(self) -> bytes | None:
        """The last details that it reported, if any."""
        return None if self.details is None else self.mask.encoded(self.details)

    def started(self) -> None:
        """The activity is called now: watch the time."""
        loop, attempt = self.owner.loop, self.attempt
        self.timers.append(loop.call_later(attempt.timeout / 1000, self._timed_out))
        if attempt.heartbeat_timeout is not None:
            self.beat_at = self.owner.loop.time()
            self.timers.append(loop.call_later(attempt.heartbeat_timeout / 1000, self._listen))

    def finish(self, outcome: Outcome) -> None:
        """Hand over the outcome, if it is the first."""
        done, self.done = self.done, None
        if self.timers:
            self._stop_watching()
        if done is not None and not self.owner.closed:
            done(outcome)

    def bind(self) -> dict[str, Any]:
        """The keyword arguments of the call, its context and its resources among them."""
        binding = self.activity.binding
        bound = binding.bind(self.arguments)
        bound.update(self.given)
        if binding.context is not None:
            bound[binding.context] = ActivityContext.of(self.attempt, self.mask, self.beat, lambda: self.told)
        return bound

    def answered(self, value: Any) -> Outcome:
        """The outcome of a call that returned ``value``; an unusable one leaves open what it stands for."""
        try:
            data = self.mask.encoded(result_bytes(value, self.activity.name))
        except (InvalidOutput, PayloadTooLarge) as error:
            return self.failed(failure_from(error, self.mask), uncertain=True)
        return Outcome(value=data, heartbeat=self.last_details())

    def raised(self, error: BaseException) -> Outcome:
        """The outcome of a call that raised: an interruption we asked for is no answer, anything else is
        one."""
        interrupted = self.told and isinstance(error, asyncio.CancelledError)
        failure = _CANCELLED if interrupted else failure_from(error, self.mask)
        return self.failed(failure, uncertain=interrupted)

    def failed(self, failure: Failure, *, uncertain: bool = False) -> Outcome:
        """The outcome of a call that has no result."""
        return Outcome(
            failure=failure, uncertain=uncertain, cancelled=self.told, heartbeat=self.last_details()
        )

    def _stop_watching(self) -> None:
        for timer in self.timers:
            timer.cancel()

    def _timed_out(self) -> None:
        self.give_up(Failure("Timeout", f"no answer within {format_duration(self.attempt.timeout)}"))

    def _listen(self) -> None:
        limit = self.attempt.heartbeat_timeout
        assert limit is not None
        left = self.beat_at + limit / 1000 - self.owner.loop.time()
        if left > 0:
            self.timers[1] = self.owner.loop.call_later(left, self._listen)
        else:
            self.give_up(Failure("HeartbeatTimeout", f"no heartbeat within {format_duration(limit)}"))


_CANCELLED = Failure("Cancelled", "the attempt was told to stop, and stopped without an answer")
_WITHDRAWN = Failure("Cancelled", "the attempt was told to stop before it had begun")


class _Coroutine(_Call):
    """``isolation="async"``: on the loop. Its timeouts are watched once it waits (see ``runners``)."""

    runner: Runner | None = None

    def begin(self) -> None:
        self.owner.runners.submit(self)

    def cancel(self) -> None:
        if self.told:
            return
        self.told = True
        if self.owner.runners.withdraw(self):
            self.owner.loop.call_soon(self.finish, self.failed(_WITHDRAWN))
        else:
            self._task().cancel()

    def give_up(self, failure: Failure) -> None:
        outcome = self.failed(failure, uncertain=True)
        self.told = True
        task = self._task()
        task.cancel()
        # asyncio.run waits for all tasks it knows of, and this one may never end; that is no news at exit
        asyncio.tasks._unregister_task(task)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.finish(outcome)

    async def run(self) -> None:
        try:
            if self.owner.around is None:
                value = await self.activity.function(**self.bind())
            else:
                with self.owner.around(self.attempt):
                    value = await self.activity.function(**self.bind())
            outcome = self.answered(value)
        except BaseException as error:
            outcome = self.raised(error)
        self.finish(outcome)

    def waits(self) -> None:
        self.started()

    def _task(self) -> asyncio.Task[None]:
        assert self.runner is not None
        assert self.runner.task is not None
        return self.runner.task


class _Thread(_Call):
    """``isolation="thread"``: it can be told and abandoned, not stopped."""

    @property
    def pool(self) -> Threads:
        return self.owner.threads

    def begin(self) -> None:
        self.pool.submit(self)

    def cancel(self) -> None:
        self.told = True
        if self.pool.withdraw(self):
            self.owner.loop.call_soon(self.finish, self.failed(_WITHDRAWN))

    def give_up(self, failure: Failure) -> None:
        outcome = self.failed(failure, uncertain=True)
        self.told = True
        self.pool.abandon(self)
        self.finish(outcome)

    def work(self) -> Outcome:
        """The call, in its thread."""
        try:
            if self.owner.around is None:
                return self.answered(self.activity.function(**self.bind()))
            with self.owner.around(self.attempt):
                return self.answered(self.activity.function(**self.bind()))
        except BaseException as error:
            return self.raised(error)

    def ended(self, outcome: Outcome) -> None:
        self.finish(outcome)


class _Process(_Thread):
    """``isolation="process"``: a thread that waits for a child process, which can be stopped."""

    child: Child | None = None
    lock: threading.Lock = msgspec.field(default_factory=threading.Lock)
    """A child that was given back must not get the signal of its last attempt."""
    verdict: Outcome | None = None

    @property
    def pool(self) -> Threads:
        return self.owner.processes

    @property
    def around(self) -> Source | None:
        return self.owner.around_in_child

    def attach(self, child: Child) -> None:
        with self.lock:
            self.child = child
            if self.told:
                child.terminate()

    def detach(self) -> bool:
        with self.lock:
            self.child = None
            return not self.told

    def cancel(self) -> None:
        with self.lock:
            super().cancel()
            if self.child is not None:
                self.child.terminate()

    def give_up(self, failure: Failure) -> None:
        self.verdict = self.failed(failure, uncertain=True)
        self._stop_watching()
        self.cancel()
        self.timers.append(self.owner.loop.call_later(GRACE, self._kill))

    def work(self) -> Outcome:
        try:
            reply = self.owner.children.run(self)
        except BaseException as error:  # no process could be started
            return self.raised(error)
        match reply:
            case Answer():
                return self.answered(values.decode(bytes(reply.value)))
            case Died():
                return self.failed(Failure("ProcessDied", str(reply), details=reply.details), uncertain=True)
            case Raised():
                if reply.interrupted and self.told:
                    return self.failed(_CANCELLED, uncertain=True)
                failure = masked(Failure.from_json(reply.failure), self.mask)
                return self.failed(failure, uncertain=reply.uncertain)

    def ended(self, outcome: Outcome) -> None:
        self.finish(self.verdict or outcome)

    def _kill(self) -> None:
        with self.lock:
            if self.child is not None:
                self.child.kill()
        # a process in the depths of the kernel does not even die; nobody waits for that
        self.timers.append(self.owner.loop.call_later(GRACE, self._forget))

    def _forget(self) -> None:
        assert self.verdict is not None
        self.pool.abandon(self)
        self.finish(self.verdict)


class _Preparation:
    """An attempt that begins when its resources are open."""

    def __init__(self, owner: Performer, call: _Call) -> None:
        self._owner = owner
        self._call = call
        self._begun = self._over = False
        self._timer = owner.loop.call_later(call.attempt.timeout / 1000, self._late)
        self._task = owner.loop.create_task(self._prepare())

    def cancel(self) -> None:
        if self._begun:
            self._call.cancel()
        elif not self._over:
            self._call.told = True
            self._end(_WITHDRAWN)

    async def _prepare(self) -> None:
        try:
            self._call.given = await self._owner.resources.open(self._call.activity.resources)
        except ResourceFailed as error:
            self._end(masked(error.failure, self._call.mask))
        else:
            self._timer.cancel()
            if not (self._over or self._owner.closed):
                self._begun = True
                self._call.begin()

    def _late(self) -> None:
        limit = format_duration(self._call.attempt.timeout)
        self._end(Failure("Timeout", f"its resources were not open within {limit}"))

    def _end(self, failure: Failure) -> None:
        self._over = True
        self._timer.cancel()
        self._owner.loop.call_soon(self._call.finish, self._call.failed(failure))


_CALLS: dict[str, type[_Call]] = {"async": _Coroutine, "thread": _Thread, "process": _Process}
