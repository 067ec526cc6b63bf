"""The gate that everything passes before it begins: a step, an attempt. Shut, it lets nothing begin.

What is under way is not touched: attempts end, timers run out, signals come, and all of that is recorded.
"""

from __future__ import annotations

import msgspec

from flowctl.trampoline import Future, Trampoline


class Gate(msgspec.Struct, eq=False):
    """The gate of one run."""

    _trampoline: Trampoline
    _waiting: tuple[Future[None], ...] = ()
    shut: bool = False

    def set(self, *, shut: bool) -> None:
        """Shut it, or let pass whoever waits, first come, first served."""
        self.shut = shut
        if not shut:
            waiting, self._waiting = self._waiting, ()
            for future in waiting:
                future.set(None)

    @property
    def withholds(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._waiting)

    async def passed(self) -> None:
        """Return once it is open. Raises ``Cancelled``."""
        while self.shut:
            future = self._trampoline.future()
            self._waiting += (future,)
            await self._trampoline.wait(future)
