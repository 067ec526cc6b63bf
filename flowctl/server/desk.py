"""The threads that ask the backend, so that the loop never waits for SQLite.

Readers have backends of their own that cannot write; everything that writes goes through one thread, which
is the order in which it happens. So many may wait, then somebody is told to come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flowctl.backends import Backend
from flowctl.errors import StorageError
from flowctl.server.problems import Overloaded

T = TypeVar("T")

READERS = 3


class Desk:
    """``backend`` is kept by the caller, who closes it after the desk."""

    def __init__(self, backend: Backend, *, waiting: int) -> None:
        self._backend = backend
        self._room = waiting
        self._waiting = 0
        self._kept = threading.local()
        self._open: list[Backend] = []
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, "flowctl-read")
        self._writer = ThreadPoolExecutor(1, "flowctl-write")

    @property
    def waiting(self) -> int:
        """How many questions are waiting or being answered."""
        return self._waiting

    async def read(self, ask: Callable[[Backend], T]) -> T:
        """What ``ask`` returns, of a backend that cannot write. ``Overloaded``."""
        return await self._carry_out(self._readers, ask, read_only=True)

    async def write(self, ask: Callable[[Backend], T]) -> T:
        """The same of one that can; one at a time. What was begun is done, whoever stops waiting for it."""
        return await self._carry_out(self._writer, ask, read_only=False)

    def open(self, *, read_only: bool) -> Backend:
        """One more backend for a thread of the caller's, who closes it."""
        with self._lock:  # opening is not made for several threads at once
            return self._backend.another(read_only=read_only)

    def close(self) -> None:
        """Wait for what is being answered, and give everything back. Idempotent."""
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown()
        while self._open:
            with contextlib.suppress(StorageError):
                self._open.pop().close()

    async def _carry_out(
        self, pool: ThreadPoolExecutor, ask: Callable[[Backend], T], *, read_only: bool
    ) -> T:
        if self._waiting >= self._room:
            raise Overloaded("too many questions are waiting for the database")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._ask, ask, read_only)
        finally:
            self._waiting -= 1

    def _ask(self, ask: Callable[[Backend], T], read_only: bool) -> T:
        backend: Backend | None = getattr(self._kept, "backend", None)
        if backend is None:
            backend = self._kept.backend = self.open(read_only=read_only)
            self._open.append(backend)
        try:
            return ask(backend)
        except StorageError:  # whether the last write is there only a new one can tell
            self._kept.backend = None
            self._open.remove(backend)
            with contextlib.suppress(StorageError):
                backend.close()
            raise
