"""The worker: takes up whatever is due, many runs at once, until it is stopped.

1. A run that only waits is given back and forgotten (``EmbeddedRuntime.lets_go``), and taken up again when it
   is due: a timer has run out, or a message has come. So what waits costs nothing, however much it is.
2. Runs are taken up a few at a time, so that several workers share what is due.
3. The runs of a session that has died are given back by whoever notices it first, and are due at once.
4. Being stopped, it lets nothing new begin, waits a while for what is under way, and gives everything back.
   Being told again, it does not wait: what was under way is made again by the next one, as after a crash.
5. A worker that was declared dead (it was stopped, or hung, for longer than the lease) drops everything and
   begins anew: others have its runs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from flowctl.engine.engine import CommitObserver, Engine
from flowctl.engine.session import Session
from flowctl.journal import Fenced

log = logging.getLogger("flowctl.engine")

CONCURRENCY = 500
"""Runs that are driven at once, unless somebody says otherwise. Those that wait do not count."""

BATCH = 50
"""Runs that are taken up at once."""

LINGER = 1_000
"""Milliseconds: a run that is due again so soon is not worth giving back."""

POLL = 0.05
"""Seconds between looks at what others have left."""

BUSY = 0.005
"""Seconds until the next look, when another process is writing."""

REAP = 0.2
"""Seconds between looks whether somebody has died."""

GRACE = 10.0
"""Seconds that attempts under way have to end when the worker is stopped."""


Held = Callable[
    [asyncio.AbstractEventLoop, Callable[[], None], Callable[[], None]], AbstractContextManager[None]
]
"""Told how to stop the worker, and how to let it look; both are to be called on the loop."""


class Worker:
    """Drives what is due on one engine's journal, at most ``concurrency`` runs at once. A run that need not
    be driven for ``linger`` milliseconds is given back. ``ready`` is called when the others can see that
    there is a worker.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        concurrency: int = CONCURRENCY,
        linger: int = LINGER,
        observe: CommitObserver | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._journal = engine.journal
        self._concurrency = concurrency
        self._linger = linger
        self._observe = observe
        self._ready = ready
        self._session: Session | None = None
        self._stops = 0
        self._busy = False
        self._reaped = -REAP

    def stop(self) -> None:
        """Stop when what is under way has ended; asked again, at once. Call it on the loop."""
        self._stops += 1
        if self._session is not None:
            self._session.wake()

    def look(self) -> None:
        """Do not wait for the next look at what others have left. Call it on the loop."""
        if self._session is not None:
            self._session.wake()

    async def work(self, *, drain: bool = False) -> None:
        """Work until stopped, or, with ``drain``, until nothing is due. ``StorageError``."""
        while not self._stops and not await self._live(drain=drain):
            log.warning("this worker was declared dead, because it was silent for too long; it begins anew")
            self._journal.begin_anew()

    async def _live(self, *, drain: bool) -> bool:
        """The life of one session; False if it was declared dead."""
        self._journal.enlist()
        self._ready()
        session = self._session = Session(self._engine, self._observe)
        session.runtime.lets_go = 0 if drain else self._linger
        try:
            while not self._stops:
                more = self._look(session)
                if drain and not more and self._is_drained(session):
                    break
                await session.news(0 if more else self._pause(session))
                self._check(session)
            await self._finish(session)
        except Fenced:
            return False
        finally:
            self._session = None
            await session.close()
        return True

    def _look(self, session: Session) -> bool:
        """Take up what is due, and say whether there may be more."""
        session.runtime.say_that_we_live()
        self._busy = not session.runtime.free
        if self._busy:
            return False
        now = asyncio.get_running_loop().time()
        if now >= self._reaped + REAP:
            self._reaped = now
            self._journal.reap()
        room = self._room(session)
        if room <= 0:
            return False
        runs = self._journal.try_claim_due(self._engine.clock(), min(room, BATCH))
        self._busy = runs is None
        for run in runs or ():
            session.take_up(run)
        return bool(runs)

    def _room(self, session: Session) -> int:
        """How many more runs may be driven."""
        return self._concurrency - session.runtime.count

    def _pause(self, session: Session) -> float:
        """For how long to wait for news, in seconds."""
        if self._busy:
            return BUSY
        due = self._journal.next_due() if self._room(session) > 0 else None
        return POLL if due is None else min(POLL, max(due - self._engine.clock(), 1) / 1000)

    def _is_drained(self, session: Session) -> bool:
        due = self._journal.next_due()
        nothing_due = due is None or due > self._engine.clock()
        return nothing_due and session.runtime.count == 0 and not self._busy

    async def _finish(self, session: Session) -> None:
        """Wait for what is under way, with nothing new beginning."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GRACE
        session.runtime.hold_back()
        while self._stops < 2 and not session.runtime.idle and loop.time() < deadline:
            await session.news(POLL)
            self._check(session)

    def _check(self, session: Session) -> None:
        if session.error is not None:
            raise session.error


async def work(
    engine: Engine,
    *,
    concurrency: int | None,
    drain: bool,
    observe: CommitObserver,
    ready: Callable[[], None],
    held: Held | None = None,
) -> None:
    """Be a worker on the present loop, until SIGTERM or Ctrl-C; a second one does not wait. Or until somebody
    says so by what is ``held``: then signals are none of its business.
    """
    worker = Worker(engine, concurrency=concurrency or CONCURRENCY, observe=observe, ready=ready)
    loop = asyncio.get_running_loop()
    if held is not None:
        with held(loop, worker.stop, worker.look):
            await worker.work(drain=drain)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.work(drain=drain)
