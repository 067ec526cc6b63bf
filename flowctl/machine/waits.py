"""Waits: timers and signals. A wait is recorded with its absolute end before it begins, and its answer
when it comes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowctl.clock import format_timestamp
from flowctl.journal import Message
from flowctl.machine.core import Core, Waiting
from flowctl.machine.deadlines import Deadlines
from flowctl.machine.host import Handle
from flowctl.path import Path
from flowctl.runtime import Answer
from flowctl.trampoline import Future


@dataclasses.dataclass(slots=True)
class _Listener:
    names: tuple[str, ...]
    until: int | None
    heard: Future[Message | None]


class Waits(msgspec.Struct, eq=False):
    """What a run waits for, and the signals that nobody has waited for yet."""

    _core: Core
    _deadlines: Deadlines
    _inbox: list[Message] = []
    _listeners: list[_Listener] = []

    async def sleep(self, path: Path, until: Callable[[int], int]) -> Answer:
        """See ``Runtime.sleep``."""
        record = self._core.record
        started = self._begun(path, lambda now: {"verb": "sleep", "until": until(now)})
        completed = record.take(path, "completed")
        if completed is None:
            await self.wait_until(path, "timer", started.value["until"])
            completed = record.primary(path, "completed", {"output": None})
        return completed.of("output")

    async def signal(self, path: Path, names: Sequence[str], timeout: int | None) -> Answer:
        """See ``Runtime.wait_signal``. A signal accepted before the time was up counts, however late
        somebody looks."""
        record = self._core.record

        def begin(now: int) -> dict[str, Any]:
            until = None if timeout is None else now + timeout
            return {"verb": "wait_for_signal", "names": list(names), "until": until}

        started = self._begun(path, begin)
        timed_out = record.take(path, "timed_out")
        completed = record.take(path, "completed") if timed_out is None else None
        if timed_out is None and completed is None:
            message = await self._listen(path, tuple(names), started.value["until"])
            if message is None:
                timed_out = record.primary(path, "timed_out", {})
            else:
                completed = record.primary(path, "completed", _signal_data(message))
        if completed is None:
            assert timed_out is not None
            return Answer(None, timed_out.at, timed_out.order, served=timed_out.served)
        return completed.of("output")

    async def wait_until(self, path: Path, kind: str, until: int) -> None:
        """Wait for a moment, also for one that has passed: of several that did while nobody was there, the
        host calls back for the earliest first. Raises ``Cancelled``.
        """
        core = self._core
        self._deadlines.must_wait(until)
        future = core.trampoline.future()
        handle = core.host.call_at(until, lambda: self._ring(future))
        core.waiting[path] = Waiting(kind, until)
        try:
            await core.trampoline.wait(future)
        finally:
            handle.cancel()
            core.waiting.pop(path, None)

    def hear(self, message: Message) -> None:
        """Give a signal to the first who waits for it, in order of waiting, else keep it."""
        for listener in self._listeners:
            in_time = listener.until is None or message.at <= listener.until
            if message.name in listener.names and in_time and not listener.heard.done:
                listener.heard.set(message)
                return
        self._inbox.append(message)

    def _begun(self, path: Path, data: Callable[[int], dict[str, Any]]) -> Answer:
        recorded = self._core.record.take(path, "started")
        if recorded is None:
            self._deadlines.must_wait()
            recorded = self._core.record.rider(path, "started", data(self._core.host.now()))
        return recorded

    async def _listen(self, path: Path, names: tuple[str, ...], until: int | None) -> Message | None:
        core = self._core
        for index, message in enumerate(self._inbox):
            if message.name in names and (until is None or message.at <= until):
                self._deadlines.must_wait(message.at - 1)
                return self._inbox.pop(index)
        self._deadlines.must_wait(until)
        if until is not None and until <= core.host.now():
            return None
        listener = _Listener(names, until, core.trampoline.future())
        handle: Handle | None = None
        if until is not None:
            handle = core.host.call_at(until, lambda: self._ring(listener.heard))
        self._listeners.append(listener)
        core.waiting[path] = Waiting("signal", until, names)
        try:
            return await core.trampoline.wait(listener.heard)
        finally:
            self._listeners.remove(listener)
            core.waiting.pop(path, None)
            if handle is not None:
                handle.cancel()

    def _ring(self, future: Future[Any]) -> None:
        future.set(None)
        self._core.machine.advance()


def _signal_data(message: Message) -> dict[str, Any]:
    output = {
        "signal": message.name,
        "payload": message.data,
        "received_at": format_timestamp(message.at),
        "principal": message.principal,
    }
    return {"output": output, "message": message.seq}
