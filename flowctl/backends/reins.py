"""How another thread holds a backend that is driving runs: it can stop it, and tell it of news.

Whoever drives says, on its loop, what is to be done (``held``). What is asked before that is done as soon as
it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Holds(Protocol):
    """Whoever holds a worker."""

    def held(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], look: Callable[[], object]
    ) -> AbstractContextManager[None]:
        """While it works on ``loop``: what to call there."""


class Reins:
    """Thread-safe. Good for one drive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] = lambda: None
        self._look: Callable[[], object] = lambda: None
        self._stops = 0

    def stop(self) -> None:
        """Let what is under way end, give everything back, and return; asked again, do not wait for it."""
        with self._lock:
            self._stops += 1
            self._call(self._stop)

    def look(self) -> None:
        """There is something new to do: do not wait for the next look."""
        with self._lock:
            self._call(self._look)

    @property
    def stopped(self) -> bool:
        """Whether somebody has said ``stop``."""
        return self._stops > 0

    @contextlib.contextmanager
    def held(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], look: Callable[[], object]
    ) -> Iterator[None]:
        """While it is driven on ``loop``: what to call there."""
        with self._lock:
            self._loop, self._stop, self._look = loop, stop, look
            for _ in range(self._stops):
                self._call(stop)
        try:
            yield
        finally:
            with self._lock:
                self._loop = None

    def _call(self, what: Callable[[], object]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(what)
