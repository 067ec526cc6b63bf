"""An asyncio loop in virtual time: when nothing is ready, the clock jumps to the next timer.

Real file descriptors and threads still work, but time does not pass for them: use it where everything
that takes time is a timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves a clock instead of waiting."""

    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None and timeout > 0:
            self.seconds += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0 and jumps. ``milliseconds`` is the same clock for an engine."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

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
