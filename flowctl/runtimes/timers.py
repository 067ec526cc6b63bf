"""Timers by the wall clock: one heap for all runs, and one handle of the loop for what is due first.

Nearly every timer is called off, the deadline of a run above all, so setting one must cost next to nothing:
those of asyncio take a context, two objects and a search in Python. Two rules. Nothing is called back before
the clock says so, whatever is done to the clock. And of several things that are due the earliest comes first.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

import msgspec

LONGEST_NAP = 60.0
"""Seconds to sleep at a time: the wall clock may have been set meanwhile."""

_TIDY = 64
"""Timers that may be called off before it is worth while to look for them."""


class Timer(msgspec.Struct, eq=False):
    """Something that is due. ``callback`` is None once it was called, or called off."""

    _timers: Timers
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        """Call it off."""
        if self.callback is not None:
            self.callback = None
            self._timers.tidy()

    def ring(self) -> None:
        """Call back, unless it was called off meanwhile."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class Timers:
    """What is due on one loop. ``now`` are milliseconds since the epoch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], int]) -> None:
        self._loop = loop
        self._now = now
        self._heap: list[tuple[int, int, Timer]] = []
        self._numbers = count()
        self._cancelled = 0
        self._handle: asyncio.TimerHandle | None = None

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call back on the loop at ``when`` or later; soon if that has passed. Callbacks raise nothing."""
        timer = Timer(self, callback)
        first = (when, next(self._numbers), timer)
        heapq.heappush(self._heap, first)
        if self._heap[0] is first:
            self._sleep()
        return timer

    def tidy(self) -> None:
        """One was called off: forget those that were, once they are the better part."""
        self._cancelled += 1
        if self._cancelled > _TIDY and self._cancelled > len(self._heap) // 2:
            self._heap = [item for item in self._heap if item[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def close(self) -> None:
        """Call everything off."""
        self._heap.clear()
        self._sleep()

    def _sleep(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        if self._heap:
            seconds = (self._heap[0][0] - self._now()) / 1000
            self._handle = self._loop.call_later(min(seconds, LONGEST_NAP), self._wake)

    def _wake(self) -> None:
        self._handle, now = None, self._now()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        self._sleep()
        for timer in due:  # all at once: what comes of them is one commit
            timer.ring()
