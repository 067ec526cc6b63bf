"""An asyncio loop in virtual time: when nothing is ready, the clock jumps to the next timer.

Real file descriptors and threads still work, but time does not pass for them: use it where everything
that takes time is a timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STUCK_AFTER = 100_000
"""Jumps with nothing happening in between. Whoever looks at the clock every minute needs fewer in two
months."""

RESOLUTION = 1e-6
"""Seconds by which two moments must differ to be two. asyncio's nanosecond is lost in a float that counts the
seconds of months: then a timer is never quite due.
"""

TIE = 10 * RESOLUTION
"""Seconds by which timers that are due together may differ: no clock of ours sees that."""

SPREAD = 1e-3
"""How much less it may be: then one thing may come after several others that follow one another."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves a clock instead of waiting."""

    seconds = 0.0
    jumps = 0

    def stuck(self) -> None:
        """Called once nothing has happened for too long."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None and timeout > 0:
            self.seconds += timeout
            self.jumps += 1
            if self.jumps == STUCK_AFTER:
                self.stuck()
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0 and jumps. ``milliseconds`` is the same clock for an engine. Of timers that are
    due together it is asyncio's heap that says which comes first; with ``ties``, chance.

    ``stuck`` is called when nothing has happened for too long: when the loop has jumped ``STUCK_AFTER`` times
    since it last heard that ``something_happens``.
    """

    def __init__(self, *, ties: random.Random | None = None, stuck: Callable[[], None] | None = None) -> None:
        self._jumping = _JumpingSelector()
        self._ties = ties
        if stuck is not None:
            self._jumping.stuck = stuck  # type: ignore[method-assign]
        super().__init__(self._jumping)
        self._clock_resolution = RESOLUTION

    def something_happens(self) -> None:
        """The program is getting somewhere."""
        self._jumping.jumps = 0

    def pass_by(self, seconds: float) -> None:
        """Let time pass while nothing in this process moves."""
        self._jumping.seconds += seconds

    def tie(self) -> float:
        """Seconds by which something comes later than what is due together with it."""
        return TIE * SPREAD ** self._ties.random() if self._ties is not None else 0.0

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return super().call_at(when + self.tie(), callback, *args, context=context)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.seconds

    def milliseconds(self) -> int:
        """The same in whole milliseconds, rounded so that a timer due at N ms has come at N ms."""
        return round(self._jumping.seconds * 1000)


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T], loop: VirtualTimeLoop | None = None) -> T:
    """``asyncio.run`` on a ``VirtualTimeLoop``."""
    with asyncio.Runner(loop_factory=lambda: loop or VirtualTimeLoop()) as runner:
        return runner.run(coroutine)
