"""The time of one life of a run, and what is done to it.

There are two clocks, as on every machine. The loop's only goes forward; the wall clock says what time it is
*since the start of the run*, and can be set. What happens to a process happens at **moments**: before a
commit, and when an activity has had its effect and its answer is on the way. They are numbered from 1.

A commit that comes late stops everything in the process: what was due meanwhile is due at once, afterwards.
An answer that comes late delays nobody else.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

from flowctl.activities import ActivityContext
from flowctl.journal import Change, Journal
from flowctl.testing.loop import VirtualTimeLoop
from flowctl.testing.points import CLOCK, LATE, STOP, Blow
from flowctl.testing.world import START


class Timing:
    """The clocks of a life that begins ``since`` milliseconds after the start of the run. ``felt`` is told
    each blow that falls; ``left`` is, of each moment, how long the call could still have taken, None for
    commits.
    """

    def __init__(
        self,
        loop: VirtualTimeLoop,
        since: int = 0,
        blows: Sequence[Blow] = (),
        felt: Callable[[Blow], object] = lambda blow: None,
    ) -> None:
        self.left: list[int | None] = []
        self._loop = loop
        self._since = since
        self._blows = [blow for blow in blows if blow.fault in (CLOCK, LATE, STOP)]
        self._felt = felt
        self._since += self._falling(CLOCK)

    def elapsed(self) -> int:
        """Milliseconds since the start of the run, by the wall clock."""
        return self._since + self._loop.milliseconds()

    def clock(self) -> int:
        """The time of day, as an engine is given it."""
        return START + self.elapsed()

    def watch(self, journal: Journal) -> None:
        """Have all that a journal commits be moments."""
        commit, try_commit = journal.commit, journal.try_commit

        def slowly(changes: Sequence[Change]) -> None:
            self._commits()
            commit(changes)

        def try_slowly(changes: Sequence[Change]) -> bool:
            self._commits()
            return try_commit(changes)

        journal.commit, journal.try_commit = slowly, try_slowly  # type: ignore[method-assign]

    async def begin(self) -> None:
        """A call has arrived. In the same moment, its caller may have thought better of it."""
        if tie := self._loop.tie():
            await asyncio.sleep(tie)

    async def answer(self, ctx: ActivityContext) -> None:
        """The way of an answer."""
        assert ctx.deadline is not None
        self._moment(round(ctx.deadline.timestamp() * 1000) - self.clock())
        if late := self._falling(LATE):
            await asyncio.sleep(late / 1000)

    def _commits(self) -> None:
        self._moment(None)
        self._loop.pass_by(self._falling(LATE) / 1000)
        if self._falls(STOP):
            os.kill(os.getpid(), signal.SIGSTOP)

    def _moment(self, left: int | None) -> None:
        self._loop.something_happens()
        self.left.append(left)
        self._since += self._falling(CLOCK)

    def _falling(self, fault: str) -> int:
        """By how much time goes wrong now."""
        return sum(blow.by or 0 for blow in self._falls(fault))

    def _falls(self, fault: str) -> list[Blow]:
        falling = [blow for blow in self._blows if blow.fault == fault and blow.at <= len(self.left)]
        for blow in falling:
            self._blows.remove(blow)
            self._felt(blow)
        return falling
