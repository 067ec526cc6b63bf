"""Branches: thunks that run at once, each in a scope of its own, and what is made of how they end.

Which branch decided (the first failure of ``all``, the winner of ``first``, one that left the run) is
recorded. A recovered run knows it from the start and calls the others off at once: what they had answered is
served all the same, so they come exactly as far as before. Once all of them were cancelled from outside, none
decides any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowctl.errors import Blocked, Cancelled, Control, Failure, StepFailed
from flowctl.machine.core import Core
from flowctl.path import Path
from flowctl.runtime import Mode, Settled, Thunk
from flowctl.trampoline import Future, Scope, Trampoline


async def all_of(
    core: Core, path: Path, thunks: Sequence[Thunk], limit: int | None, mode: Mode
) -> list[Settled]:
    """See ``Runtime.all``."""
    fails = mode == "all"
    branches = _Branches(
        core, path, thunks, limit, "first_failed", lambda end: fails and end.failure is not None
    )
    results = await branches.run()
    failed = branches.failed.get(branches.decided) if branches.decided is not None else None
    if failed is not None:
        raise failed
    return results


async def first_of(core: Core, path: Path, thunks: Sequence[Thunk], limit: int | None) -> tuple[int, Any]:
    """See ``Runtime.first``."""
    branches = _Branches(core, path, thunks, limit, "winner", lambda end: end.failure is None)
    results = await branches.run()
    if branches.decided is not None:
        return branches.decided, results[branches.decided].value
    errors = [end.failure.to_json() for end in results if end.failure is not None]
    raise StepFailed(
        Failure("BranchesFailed", f"all {len(errors)} branches failed", details=errors, step=path)
    )


class _Branches:
    """``decides`` says of an end whether it decides for all; then ``decided`` is its index, recorded as
    ``kind``. ``failed`` is what branches raised, by index.
    """

    def __init__(
        self,
        core: Core,
        path: Path,
        thunks: Sequence[Thunk],
        limit: int | None,
        kind: str,
        decides: Callable[[Settled], bool],
    ) -> None:
        self._core = core
        self._path = path
        self._kind = kind
        self._decides = decides
        self._thunks = list(thunks)
        self._limit = limit or len(self._thunks)
        trampoline: Trampoline = core.trampoline
        self._around = trampoline.scope
        self._scopes = [Scope(trampoline, self._around) for _ in self._thunks]
        self._results: list[Settled] = [Settled() for _ in self._thunks]
        self._interrupted: list[Control] = []
        self._too_late = False
        self._next = 0
        self._running = 0
        self._over: Future[None] = trampoline.future()
        self.decided: int | None = None
        self.failed: dict[int, StepFailed] = {}

    async def run(self) -> list[Settled]:
        """Run them all to their end. Raises what came from outside (``Cancelled``) or leaves the run
        (``Control``).
        """
        for kind in (self._kind, "left"):
            recorded = self._core.record.take(self._path, kind)
            if recorded is not None:
                self._decide(recorded.value["index"])
        for _ in range(min(self._limit, len(self._thunks))):
            self._spawn()
        if self._running:
            await self._core.trampoline.wait(self._over, patient=lambda: None)
        for interruption in self._interrupted:
            raise interruption
        if self._too_late:
            self._core.trampoline.heed()
        return self._results

    def _decide(self, index: int) -> None:
        self.decided = index
        for other, scope in enumerate(self._scopes):
            if other != index:
                scope.cancel(Failure("Cancelled", "another branch decided"))

    def _spawn(self) -> None:
        index, self._next = self._next, self._next + 1
        self._running += 1
        self._core.trampoline.spawn(self._branch(index), self._scopes[index])

    async def _branch(self, index: int) -> None:
        scope = self._scopes[index]
        try:
            self._end(index, Settled(value=await self._thunks[index]()))
        except StepFailed as failed:
            self.failed[index] = failed
            self._end(index, Settled(failure=failed.failure))
        except Cancelled as cancelled:
            self._results[index] = Settled(failure=scope.reason)
            if cancelled.scope is not scope:
                self._interrupted.append(cancelled)
        except Blocked:
            raise
        except Control as leaving:
            if self.decided in (None, index):  # else it comes too late
                self._interrupted.append(leaving)
                self._conclude("left", index)
        self._running -= 1
        if self._next < len(self._thunks):
            self._spawn()
        elif not self._running:
            self._over.set(None)

    def _end(self, index: int, end: Settled) -> None:
        self._results[index] = end
        if self.decided is not None or not self._decides(end):
            return
        if self._around.cancelled() is not None:
            self._too_late = True
        else:
            self._conclude(self._kind, index)

    def _conclude(self, kind: str, index: int) -> None:
        """This branch decides, unless one has, or it is on record."""
        if self.decided is None:
            self._core.record.rider(self._path, kind, {"index": index})
            self._decide(index)
