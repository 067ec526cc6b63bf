"""Deadlines of blocks: scopes that are cancelled when their time is up.

A deadline that has passed is recorded before it takes effect, and takes none if something around it was
cancelled earlier, so that a recovered run unwinds in the order in which the first one did.
"""

from __future__ import annotations

from typing import Any

import msgspec

from flowctl.errors import Cancelled, Failure, StepFailed
from flowctl.machine.core import Core
from flowctl.machine.host import Handle
from flowctl.path import ROOT, Path
from flowctl.runtime import Thunk
from flowctl.trampoline import Scope


class Deadlines(msgspec.Struct, eq=False):
    """The deadlines that a run is inside of."""

    _core: Core
    _open: dict[Scope, tuple[Path, int]] = {}

    def far(self) -> bool:
        """Whether nothing was cancelled and no time can be up, which is what most steps find."""
        core = self._core
        return core.trampoline.calm and not self._open and core.host.now() < core.run.deadline

    def moments(self) -> list[int]:
        """When those pass that can still take effect."""
        return [until for scope, (_, until) in self._open.items() if scope.cancelled() is None]

    def must_wait(self, until: int | None = None) -> None:
        """Asked before anything waits or acts. Deadlines that passed (before ``until``) take effect first;
        raises ``Cancelled`` if the scope was cancelled. One that is cancelled already notices nothing new:
        a recovered run comes here at another time than the first one did.
        """
        if self.far():
            return
        self._core.trampoline.heed()
        self._notice(until)
        self._core.trampoline.heed()

    def _notice(self, until: int | None) -> None:
        now = self._core.host.now()
        limit = now if until is None else min(now, until)
        if self._core.run.deadline <= limit:
            self._core.machine.expire()
        if self._open:
            scope: Scope | None = self._core.trampoline.scope
            while scope is not None:
                _, passed = self._open.get(scope, (ROOT, None))
                if passed is not None and passed <= limit:
                    self._expire(scope)
                scope = scope.parent  # also around a shield: what it protects goes on all the same

    async def run(self, path: Path, timeout: int, thunk: Thunk) -> Any:
        """See ``Runtime.deadline``."""
        core = self._core
        recorded = core.record.take(path, "deadline")
        if recorded is None:
            recorded = core.record.rider(path, "deadline", {"until": core.host.now() + timeout})
        scope = core.trampoline.enter()
        handle, result = self._arm(path, scope, recorded.value["until"]), None
        try:
            result = await thunk()
        except (Cancelled, StepFailed) as error:
            if scope.reason is None or (isinstance(error, Cancelled) and error.scope is not scope):
                raise
        finally:
            core.trampoline.leave(scope)
            del self._open[scope]
            if handle is not None:
                handle.cancel()
        if scope.reason is not None:
            raise StepFailed(scope.reason)
        return result

    def _arm(self, path: Path, scope: Scope, until: int) -> Handle | None:
        self._open[scope] = (path, until)
        if self._core.record.take(path, "timed_out") is not None:
            scope.cancel(_timeout(path))
            return None

        def passed() -> None:
            self._expire(scope)
            self._core.machine.advance()

        return self._core.host.call_at(until, passed)

    def _expire(self, scope: Scope) -> None:
        if not self._core.dropped and scope in self._open and scope.cancelled() is None:
            path, _ = self._open[scope]
            self._core.record.primary(path, "timed_out", {})
            scope.cancel(_timeout(path))


def _timeout(path: Path) -> Failure:
    return Failure("Timeout", f"step {path} took longer than its timeout", step=path)
