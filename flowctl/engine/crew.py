"""A crew: worker processes that share the work of one database, and the leader who looks after them.

Python uses one processor at a time, so who has two starts two workers. The leader makes that one command.

1. The leader executes nothing and opens no database. It starts the members, starts one anew that died, and
   tells what they tell it. Runs of one that died are taken over by the others, as always.
2. Only the leader is spoken to. Members are in its process group, so Ctrl-C in a terminal, or a signal to the
   group, reaches them as well; counted twice it would mean "do not wait". So a member stops once, however
   often it is told, until its leader says it again.
3. A leader that dies, however it dies, takes its members with it: the line between them is gone, and they
   stop as if told once.
4. A member that ends before it was ready, without being told, ends the crew with its exit code: a wrong
   option or a full disk would end the next one as well.

The line is a pair of sockets. The leader sends one byte each time the members are to stop; a member sends
lines of JSON: ``{"ready": PID}`` first, then ``{"ended": RUN}``, a run as ``list`` has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

PAUSE = 1.0
"""Seconds until one that died is started anew: what kills it at once must not keep a processor busy."""

_LINE = 1 << 24
"""Bytes of a line at most. A run is told with its error, which may be as large as data may be."""

_STOP = b"!"


class Leader:
    """Leads ``size`` members; ``command`` makes the command line of one from the descriptor of its line.

    ``observe`` is told of each run that ended, ``ready`` the process ids once all have begun, and
    ``replaced`` that one died: its process id, and its exit code (negative: the signal).
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        size: int,
        *,
        observe: Callable[[Mapping[str, Any]], None],
        ready: Callable[[list[int]], None],
        replaced: Callable[[int, int], None],
    ) -> None:
        self._command = command
        self._size = size
        self._observe = observe
        self._ready = ready
        self._replaced = replaced
        self._stops = 0
        self._stopped = asyncio.Event()
        self._opened = asyncio.Event()
        self._lines: set[asyncio.StreamWriter] = set()
        self._begun: list[int] = []

    def stop(self) -> None:
        """Tell all of them to stop; a second time, at once."""
        self._stops += 1
        self._stopped.set()
        for line in self._lines:
            line.write(_STOP)

    async def lead(self) -> int:
        """Lead until all have stopped. The exit code: 0, or that of the member that could not begin."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        first = asyncio.create_task(self._keep())
        await self._opened.wait()  # what is wrong with all of them is said once
        others = [self._keep() for _ in range(self._size - 1)]
        return max(await asyncio.gather(first, *others))

    async def _keep(self) -> int:
        """See to it that there is one member."""
        try:
            return await self._keep_alive()
        finally:
            self._opened.set()

    async def _keep_alive(self) -> int:
        while not self._stops:
            pid, code, ready = await self._live()
            if self._stops or code == 0:  # one that was told to stop by hand, or has nothing left to do
                break
            if not ready:
                self.stop()
                return code
            self._replaced(pid, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), PAUSE)
        return 0

    async def _live(self) -> tuple[int, int, bool]:
        """The life of one member: its process id, its exit code, and whether it was ever ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            process = await asyncio.create_subprocess_exec(
                *self._command(descriptor), pass_fds=(descriptor,), stdin=asyncio.subprocess.DEVNULL
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE)
        self._lines.add(writer)
        writer.write(_STOP * self._stops)  # those that came while it was started
        try:
            ready = await self._listen(reader)
            return process.pid, await process.wait(), ready
        finally:
            self._lines.discard(writer)
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        """Pass on what a member tells, to its end."""
        ready = False
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                told = msgspec.json.decode(line)
                if "ready" in told:
                    ready = True
                    self._has_begun(told["ready"])
                else:
                    self._observe(told["ended"])
        return ready

    def _has_begun(self, pid: int) -> None:
        self._opened.set()
        self._begun.append(pid)
        if len(self._begun) == self._size:
            self._ready(sorted(self._begun))


class Member:
    """The member's end of the line."""

    def __init__(self, descriptor: int) -> None:
        self._line = socket.socket(fileno=descriptor)
        self._said = 0
        self._stops = 0

    def tell(self, what: Mapping[str, Any]) -> None:
        """Tell the leader, if it is still there."""
        with contextlib.suppress(OSError):
            self._line.sendall(msgspec.json.encode(what) + b"\n")

    @contextlib.contextmanager
    def held(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], look: Callable[[], object]
    ) -> Iterator[None]:
        """While a worker works on ``loop``: stop it when the leader says so, or is gone; on signals once."""

        def stop_until(times: int) -> None:
            while self._stops < times:
                self._stops += 1
                stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_until, 1)
        loop.add_reader(self._line, self._hear, loop, stop_until)
        try:
            yield
        finally:
            loop.remove_reader(self._line)

    def _hear(self, loop: asyncio.AbstractEventLoop, stop_until: Callable[[int], None]) -> None:
        said = self._line.recv(16)
        if not said:
            loop.remove_reader(self._line)
        self._said += len(said)
        stop_until(max(self._said, 1))
