"""One run being driven: what hosts handle, and what the interpreter asks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from flowctl.errors import Blocked, Failure, safe_text
from flowctl.journal import Change, Entry, Message, Run
from flowctl.machine.branches import all_of, first_of
from flowctl.machine.calls import Calls
from flowctl.machine.core import Core
from flowctl.machine.deadlines import Deadlines
from flowctl.machine.host import Handle, Host
from flowctl.machine.record import Record
from flowctl.machine.waits import Waits, unread
from flowctl.model import Policy
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer, End, Mode, RunInfo, Settled, Thunk
from flowctl.state import ENDED, RunStatus
from flowctl.trampoline import Trampoline

log = logging.getLogger("flowctl.machine")

Interpret = Callable[["Machine"], Awaitable[End]]
"""The interpreter with its document and input, as ``begin`` takes it."""


class Machine:
    """``begin`` it, let it ``receive`` messages, ``take`` what it wants committed and say when it is
    ``committed``, ``drop`` it.

    ``new`` says that the run's row is yet to be created, with the first commit.
    """

    def __init__(self, run: Run, entries: Iterable[Entry], host: Host, *, new: bool = False) -> None:
        self.run = run
        self.seen = 0
        self._host = host
        self._new = new
        self._awake = False
        self._committing = False
        self._row_changed = False
        self._compensating = False
        self._timer: Handle | None = None
        self._info: RunInfo | None = None
        self._released: list[Callable[[], None]] = []
        self._record = Record(entries, host.now, self._wake)
        self._core = Core(run, host, self._record, Trampoline(), self.advance, self._expire, self._wake)
        self._root = self._core.trampoline.root
        self._deadlines = Deadlines(self._core)
        self._waits = Waits(self._core, self._deadlines)
        calls = Calls(self._core, self._deadlines, self._waits)
        self._attempts = calls.attempts
        self.activity, self.sleep, self.wait_signal = calls.call, self._waits.sleep, self._waits.signal

    # --- what the host does with a machine

    def begin(self, interpret: Interpret, messages: Iterable[Message] = ()) -> None:
        """Start the interpreter from the top and let it come as far as the record, and the inbox, reach."""
        if self.run.started_at is None:
            self.run.started_at = self._record.primary(ROOT, "started", {}).at
        self._set_status(RunStatus.COMPENSATING if self.run.status == "compensating" else RunStatus.RUNNING)
        self._restore_cancellation()
        self._accept(messages)
        self._core.trampoline.spawn(self._main(interpret))
        self._timer = self._host.call_at(self.run.deadline, self._run_timed_out)
        self.advance()

    def receive(self, messages: Iterable[Message]) -> None:
        """Take new messages from the inbox, in order, and act on them. ``seen`` is the number of the
        latest.
        """
        self._accept(messages)
        self.advance()

    @property
    def idle(self) -> bool:
        """Whether the run has ended or only waits, durably: nothing of it is running, about to, or to be
        committed.
        """
        return not (self._attempts.flying or self._awake or self._committing)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens in this run by itself."""
        return self.run.status in ENDED

    def advance(self) -> None:
        """Resume what can be resumed, then say where the run stands."""
        if self._core.dropped:
            return
        try:
            self._core.trampoline.run()
        except Blocked as blocked:
            self._stop(blocked)
        except Exception as error:
            log.exception("the interpreter failed in run %s", self.run.id)
            self._stop(Blocked("InternalError", f"flowctl failed: {safe_text(error)}", ROOT))
        else:
            self._settle()

    def take(self) -> Change | None:
        """What to commit now, or None. ``committed`` must follow once it is durable."""
        self._awake, self._committing = False, True
        self._released += self._attempts.effects
        self._attempts.effects = []
        entries = self._record.take_pending()
        if not entries and not self._row_changed and not self._new:
            return None
        change = Change(
            self.run, entries, create=self._new, state_changed=self._row_changed, release=self.ended
        )
        self._row_changed = self._new = False
        return change

    def committed(self) -> None:
        """What was taken is durable: release the effects that depend on it."""
        self._committing = False
        effects, self._released = self._released, []
        for effect in effects:
            effect()

    def drop(self) -> None:
        """Forget the run's tasks and timers. Attempts in flight are told to stop; how they end is not
        recorded.
        """
        if not self._core.dropped:
            self._core.dropped = True
            self._core.trampoline.drop()
            self._attempts.stop()
            if self._timer is not None:
                self._timer.cancel()

    # --- Runtime: what the interpreter asks

    @property
    def info(self) -> RunInfo:
        """See ``Runtime``."""
        if self._info is None:
            self._info = self._describe_run()
        return self._info

    def _describe_run(self) -> RunInfo:
        run = self.run
        assert run.started_at is not None
        return RunInfo(
            id=run.id,
            workflow_id=run.workflow_id,
            workflow=run.workflow,
            version=run.version,
            parent_id=run.parent_id,
            started_at=run.started_at,
            attempt=1,
            task_queue="default",
            namespace="default",
            trace_id=run.trace_id,
            principal=run.principal,
        )

    @property
    def settings(self) -> Policy:
        """See ``Runtime``."""
        return self._host.settings

    def facts(self) -> dict[str, Any]:
        """See ``Runtime``."""
        return {
            "elapsed": (self._host.now() - (self.run.started_at or 0)) / 1000,
            "history_length": self.run.entries + self._record.pending,
            "history_size": self.run.size,
        }

    def declared(self, activity: str) -> Policy | None:
        """See ``Runtime``. One that is not installed has no policy here; the call itself then parks the
        run.
        """
        try:
            return self._host.declared(activity)
        except Blocked:
            return None

    def decide(self, path: Path, kind: str, thunk: Callable[[], dict[str, Any]]) -> Answer:
        """See ``Runtime``."""
        recorded = self._record.take(path, kind)
        if recorded is None:
            recorded = self._record.rider(path, kind, thunk())
        if kind == "compensating" and path == ROOT:
            self._compensate()
        return recorded

    async def all(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None, mode: Mode = "all"
    ) -> list[Settled]:
        """See ``Runtime``."""
        return await all_of(self._core, path, thunks, limit, mode)

    async def first(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None
    ) -> tuple[int, Any]:
        """See ``Runtime``."""
        return await first_of(self._core, path, thunks, limit)

    async def deadline(self, path: Path, timeout: int, thunk: Thunk) -> Any:
        """See ``Runtime``."""
        return await self._deadlines.run(path, timeout, thunk)

    async def shielded(self, thunk: Thunk) -> Any:
        """See ``Runtime``."""
        scope = self._core.trampoline.enter(shield=True)
        try:
            return await thunk()
        finally:
            self._core.trampoline.leave(scope)

    async def hold(self, path: Path, failure: Failure) -> None:
        """See ``Runtime``."""
        self.decide(path, "held", lambda: {"error": failure.to_json()})
        self._core.held[path] = failure
        try:
            await self._core.trampoline.wait(self._core.trampoline.future())
        finally:
            self._core.held.pop(path, None)

    def heed(self) -> None:
        """See ``Runtime``."""
        self._core.trampoline.heed()

    # --- messages and cancellation

    def _accept(self, messages: Iterable[Message]) -> None:
        messages = list(messages)
        self.seen = max([self.seen, *(message.seq for message in messages)])
        for message in unread(messages, self._record.received):
            if message.kind == "cancel":
                self._cancel(message)
            else:
                self._waits.hear(message)

    def _cancel(self, message: Message) -> None:
        if self._compensating or self._root.reason is not None:
            return
        reason = message.data["reason"]
        data = {"reason": reason, "principal": message.principal, "message": message.seq}
        self._record.primary(ROOT, "cancel_requested", data)
        self._root.cancel(Failure("Cancelled", reason))

    def _run_timed_out(self) -> None:
        if not self._core.dropped:
            self._expire()
            self.advance()

    def _expire(self) -> None:
        """The run's life is over, unless it is being undone already: that may take its time."""
        if not self._compensating and self._root.reason is None:
            self._record.primary(ROOT, "timed_out", {})
            self._root.cancel(_run_timeout())

    def _restore_cancellation(self) -> None:
        """A recorded cancellation is in force from the top: what was answered before it is still served."""
        requested = self._record.take(ROOT, "cancel_requested")
        if requested is not None:
            self._root.cancel(Failure("Cancelled", requested.value["reason"]))
        elif self._record.take(ROOT, "timed_out") is not None:
            self._root.cancel(_run_timeout())

    def _compensate(self) -> None:
        self._compensating = True
        if self._timer is not None:
            self._timer.cancel()
        self._set_status(RunStatus.COMPENSATING)

    # --- where the run stands

    async def _main(self, interpret: Interpret) -> None:
        end = await interpret(self)
        error = end.error.to_json() if end.error is not None else None
        data = {"status": end.status, "output": end.output, "error": error, "saga": end.saga}
        self.run.completed_at = self._record.rider(ROOT, "ended", data).at
        self.run.output, self.run.error, self.run.saga = end.output, error, end.saga
        self._set_status(end.status)

    def _settle(self) -> None:
        """Say in the run's row where the run stands, when it will not go on by itself at once."""
        run = self.run
        if self.ended:
            self._row(waiting_for=None, blocked=None, wake_at=None)
            self.drop()
        elif not self._attempts.flying:
            self._rest()
        elif run.waiting_for is not None or run.status not in ("running", "compensating"):
            self._set_status(RunStatus.COMPENSATING if self._compensating else RunStatus.RUNNING)
            self._row(waiting_for=None, blocked=None, wake_at=None)

    def _rest(self) -> None:
        core = self._core
        blocked = next(iter(core.parked.values()), None)
        held = next(iter(core.held.values()), None)
        if blocked is not None:
            self._set_status(RunStatus.BLOCKED)
        elif self._compensating:
            self._set_status(RunStatus.COMPENSATING)
        else:
            self._set_status(RunStatus.PAUSED if held is not None else RunStatus.WAITING)
        until = [waiting.until for waiting in core.waiting.values() if waiting.until is not None]
        until += self._deadlines.moments()
        if not self._compensating:
            until.append(self.run.deadline)
        self._row(
            error=held.to_json() if held is not None else None,
            waiting_for=[waiting.to_json(path) for path, waiting in core.waiting.items()],
            blocked=_blocked_json(blocked) if blocked is not None else None,
            wake_at=min(until, default=None),
        )

    def _stop(self, blocked: Blocked) -> None:
        """The run cannot go on here at all: forget what was not committed, and park it."""
        self._record.take_pending()
        self._attempts.effects = []
        self._set_status(RunStatus.BLOCKED)
        self._row(waiting_for=None, blocked=_blocked_json(blocked), wake_at=None)
        self.drop()

    def _set_status(self, status: RunStatus) -> None:
        self._row(status=status.value)

    def _row(self, **columns: Any) -> None:
        for name, value in columns.items():
            if getattr(self.run, name) != value:
                setattr(self.run, name, value)
                self._row_changed = True
                self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._host.wake(self)


def _run_timeout() -> Failure:
    return Failure("Timeout", "the run took longer than its timeout")


def _blocked_json(blocked: Blocked) -> dict[str, Any]:
    return {"code": blocked.code, "reason": blocked.reason, "path": str(blocked.path)}
