"""Runs being driven on one loop, together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import TYPE_CHECKING

from flowctl import guard
from flowctl.errors import Blocked, FlowctlError, InternalError, RunBusy, StorageError, safe_text
from flowctl.journal import Fenced, Run
from flowctl.machine import Machine
from flowctl.path import ROOT
from flowctl.runtimes.embedded import EmbeddedRuntime
from flowctl.state import RunStatus

if TYPE_CHECKING:
    from flowctl.engine.engine import CommitObserver, Engine

log = logging.getLogger("flowctl.engine")


class Session:
    """Runs being driven on the present loop, together: one runtime, one performer. ``error`` says why it
    broke, if it did.
    """

    def __init__(self, engine: Engine, observe: CommitObserver | None = None) -> None:
        self._engine = engine
        self._performer = engine.performer(asyncio.get_running_loop())
        self._unprotect = guard.protect(engine.journal.protected_paths)
        self._news = asyncio.Event()
        self.error: BaseException | None = None
        self._observed = engine.observed(observe)
        self.runtime = EmbeddedRuntime(
            engine.journal,
            self._performer,
            engine._activities,
            lacks=engine.lacks,
            settings=engine._settings,
            clock=engine.clock,
            settled=self._news.set,
            committed=self._observed,
            failed=self._broke,
            kin=engine.kin,
        )

    def add(self, run: Run, *, new: bool = False) -> Machine:
        """Drive a run that the journal's session has claimed, or a ``prepare``d one that is ``new``."""
        return self.runtime.add(run, self._engine.interpret(run), new=new)

    def take_up(self, run: Run) -> None:
        """Drive a claimed run among many others: one that cannot be driven at all is parked, and does not
        disturb them.
        """
        try:
            self.add(run)
        except (StorageError, Fenced):
            raise
        except Exception as error:
            if not isinstance(error, FlowctlError) or isinstance(error, InternalError):
                log.exception("run %s cannot be driven", run.id)
            self.runtime.abandon(run.id)
            code = error.code if isinstance(error, FlowctlError) else "InternalError"
            blocked = Blocked(code, f"it cannot be driven: {safe_text(error)}", ROOT)
            change = self._engine.kin.park(run, blocked)
            if self._observed is not None:
                self._observed(change)

    async def news(self, seconds: float) -> None:
        """Return when a run may have ended or only wait, or after so long; at least once everybody else has
        had a turn.
        """
        timer = asyncio.get_running_loop().call_later(seconds, self._news.set)
        await self._news.wait()
        timer.cancel()
        self._news.clear()

    def wake(self) -> None:
        """Let whoever waits for ``news`` look."""
        self._news.set()

    async def rest(self, machine: Machine, until: int) -> None:
        """Return when the run has ended, is stuck, or waits for nothing that is due by ``until``."""
        while not self._resting(machine, until):
            self._news.clear()
            await self._news.wait()

    def _resting(self, machine: Machine, until: int) -> bool:
        if isinstance(self.error, Fenced):
            raise RunBusy(f"another process has taken over run {machine.run.id}") from self.error
        if self.error is not None:
            raise self.error
        if not machine.idle or self.runtime.errands.pending:
            return False
        relatives = [each for each in self.runtime.children() if each is not machine]
        if any(not relative.idle for relative in relatives):
            return False
        run = machine.run
        if machine.ended and not relatives:
            return True
        moments = [each.run.wake_at for each in (machine, *relatives) if each.run.wake_at is not None]
        due = min(moments, default=None)
        stuck = run.status in (RunStatus.BLOCKED, RunStatus.PAUSED)
        return stuck or due is None or due > until

    def _broke(self, error: BaseException) -> None:
        self.error = error
        self._news.set()

    async def close(self) -> None:
        """Stop driving, and give back what has not ended; what is durable stays."""
        left = await self.runtime.close()
        await self._performer.leave()
        self._unprotect()
        if left and self.error is None:
            with contextlib.suppress(Fenced):  # then others have them already
                self._engine.journal.commit(left)


def calm_collector() -> None:
    """Make Python's cycle collector look less often, in a process whose business is to drive runs.

    A thousand runs in flight are many objects that live for a while; at the default thresholds a third of
    all time goes into looking at them again and again.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
