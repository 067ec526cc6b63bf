"""One run being driven: what hosts handle, and what the interpreter asks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from flowctl.errors import Blocked, Cancelled, Failure, safe_text
from flowctl.journal import Change, Entry, Heartbeat, Message, Run, is_secret, secrecy
from flowctl.machine.attempts import Flight
from flowctl.machine.branches import all_of, first_of
from flowctl.machine.calls import Calls
from flowctl.machine.core import BLOCKED_FOR, Core
from flowctl.machine.deadlines import Deadlines
from flowctl.machine.heartbeats import Heartbeats
from flowctl.machine.host import Handle, Host
from flowctl.machine.record import Record
from flowctl.machine.requests import Requests
from flowctl.machine.standing import Key
from flowctl.machine.waits import Waits
from flowctl.model import Policy
from flowctl.path import ROOT, Path, chain_number
from flowctl.runtime import Answer, Call, End, Mode, RunInfo, Settled, Thunk
from flowctl.state import ENDED, RunStatus, may_follow
from flowctl.trampoline import Future

log = logging.getLogger("flowctl.machine")

_RUNNING = RunStatus.RUNNING  # to look up a member of an enum takes longer than all else that a step settles

Interpret = Callable[["Machine"], Awaitable[End]]
"""The interpreter with its document and input, as ``begin`` takes it."""


class Machine:
    """``begin`` it, let it ``receive`` messages, ``take`` what it wants committed and say when it is
    ``committed``, ``drop`` it.

    ``new`` says that the run's row is yet to be created, with the first commit. ``heartbeats`` are those
    that the journal has. ``reopened`` tells that the run goes on from another place of its record than the
    machine is at: ``begin_again``, once that is durable. ``info`` and ``settings`` are what the interpreter
    asks (``Runtime``).
    """

    info: RunInfo

    def __init__(
        self,
        run: Run,
        entries: Iterable[Entry],
        host: Host,
        *,
        new: bool = False,
        heartbeats: Iterable[Heartbeat] = (),
    ) -> None:
        self.run = run
        self.seen = 0
        self._host = host
        self.settings: Policy = host.settings
        self._new = new
        self._awake = False
        self._committing = False
        self._held_back = False
        self._row_changed = False
        self._successor: Run | None = None
        self._heartbeats = Heartbeats(heartbeats)
        self._assemble(entries)

    def _assemble(self, entries: Iterable[Entry]) -> None:
        run, host = self.run, self._host
        self.reopened = False
        self._retry: Message | None = None
        self._timer: Handle | None = None
        self._released: list[Flight] = []
        self._record = self._recall(entries)
        self._core = Core(self, run, host, self._record, self._heartbeats)
        self._root = self._core.trampoline.root
        self._holds: dict[str, Future[None]] = {}
        self._deadlines = Deadlines(self._core)
        self._waits = Waits(self._core, self._deadlines)
        self._calls = Calls(self._core, self._deadlines, self._waits)
        self._attempts = self._calls.attempts

    def _recall(self, entries: Iterable[Entry]) -> Record:
        return Record(entries, self._host.now, self.wake)

    # --- what the host does with a machine

    def begin(self, interpret: Interpret, messages: Sequence[Message] = ()) -> None:
        """Start the interpreter from the top and let it come as far as the record, and the inbox, reach."""
        self._interpret = interpret
        if self.run.started_at is None:
            self.run.started_at = self._record.primary(ROOT, "started", {}).at
        self.info = self._describe_run(self.run.started_at)
        self._set_status(RunStatus.COMPENSATING if self._compensating else RunStatus.RUNNING)
        self._restore_cancellation()
        self._accept(messages)
        if self._core.dropped:  # somebody asked for its end
            return
        self._core.trampoline.spawn(self._main(interpret))
        self._timer = self._host.call_at(self.run.deadline, self._run_timed_out)
        self.advance()

    def begin_again(self, entries: Iterable[Entry], messages: Sequence[Message]) -> None:
        """The same after a retry, with what is on record by now."""
        self._assemble(entries)
        self.begin(self._interpret, messages)

    def serve(self, facts: Mapping[Key, dict[str, Any]]) -> None:
        """Answer with what another run recorded, which this one repeats (``repeating``); before the first
        question.
        """
        self._record.serve(facts)

    def receive(self, messages: Sequence[Message]) -> None:
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
        return not (self._attempts.busy or self._awake or self._committing)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens in this run by itself."""
        return self.run.status in ENDED

    @property
    def stopped(self) -> bool:
        """Whether the run cannot go on here at all, and was forgotten."""
        return self._core.dropped and not self.ended and self.run.blocked is not None

    @property
    def rests(self) -> bool:
        """The same as ``idle`` of a run that has not ended, as it is when what was taken is durable: then
        whoever drives it may give it back.
        """
        return not (self.ended or self._attempts.busy or self._awake or self._released)

    @property
    def due_at(self) -> int | None:
        """From when on the run should be driven, if it is given back now; see ``Run``."""
        run = self.run
        if self.ended:
            return None
        if self._attempts.busy or self._awake or (self._held_back and self._core.gate.withholds):
            return self._host.now()
        if run.status == RunStatus.BLOCKED:
            return min(run.wake_at or sys.maxsize, self._host.now() + BLOCKED_FOR)
        return run.wake_at

    def hold_back(self) -> None:
        """Let nothing new begin, because whoever drives the run is about to leave. Unlike a pause that is
        not on record: the next one goes on at once.
        """
        self._held_back = True
        self._core.gate.set(shut=True)

    def let_go(self) -> None:
        """Take that back: whoever drives the run stays after all."""
        self._held_back = False
        self._core.gate.set(shut=self._record.standing.paused or self._retry is not None)
        self.advance()

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
        attempts, heartbeats = self._attempts, self._heartbeats
        if attempts.effects:
            self._released += attempts.effects
            attempts.effects = []
        entries = self._record.take_pending()
        if not (entries or self._row_changed or self._new or heartbeats.news):
            return None
        run = self.run
        change = Change(run, entries, self._new, self._row_changed, run.status in ENDED, self.seen)
        if heartbeats.news:
            change.heartbeats = heartbeats.take()
        if self._successor is not None:
            change.successor, change.received = self._successor, frozenset(self._record.received)
            self._successor = None
        self._row_changed = self._new = False
        return change

    def committed(self) -> bool:
        """What was taken is durable: release the effects that depend on it. Returns whether somebody has to
        see to the run: it is at rest with that, or begins again.
        """
        self._committing = False
        effects, self._released = self._released, []
        for flight in effects:
            flight.take_off()
        return self.reopened or self.idle

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
            self._core.let_go()

    # --- Runtime: what the interpreter asks

    def _describe_run(self, started_at: int) -> RunInfo:
        run = self.run
        return RunInfo(
            run.id,
            run.workflow_id,
            run.workflow,
            run.version,
            run.parent_id,
            started_at,
            attempt=1,
            task_queue=self._host.task_queue,
            namespace=self._host.namespace,
            trace_id=run.trace_id,
            principal=run.principal,
        )

    @property
    def inherited(self) -> Mapping[str, Any]:
        """See ``Runtime``."""
        return self.run.inherited or {}

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

    def remembered(self, path: Path, kind: str) -> Answer | None:
        """See ``Runtime``."""
        recorded = self._record.take(path, kind)
        if recorded is not None and kind in ("completed", "failed"):
            self._record.passed.add(path)
        return recorded

    def was_past(self, root: Path) -> bool:
        """See ``Runtime``."""
        return self._record.was_past(root)

    def describe(self, search: Mapping[str, Any], memo: Mapping[str, Any]) -> None:
        """See ``Runtime``. What is secret is not published."""
        if is_secret(self.run):
            return
        known = self.run.attributes or {"search": {}, "memo": {}}
        merged = {"search": known["search"] | search, "memo": known["memo"] | memo}
        self._row(attributes=merged)

    def decide(self, path: Path, kind: str, thunk: Callable[[], dict[str, Any]]) -> Answer:
        """See ``Runtime``."""
        recorded = self._record.take(path, kind)
        if recorded is None:
            recorded = self._record.rider(path, kind, thunk())
        if kind == "compensating" and path == ROOT:
            self._compensate()
        return recorded

    def activity(self, path: Path, call: Call) -> Awaitable[Answer]:
        """See ``Runtime``."""
        return self._calls.call(path, call)

    def sleep(self, path: Path, until: Callable[[int], int]) -> Awaitable[Answer]:
        """See ``Runtime``."""
        return self._waits.sleep(path, until)

    def wait_signal(self, path: Path, names: Sequence[str], timeout: int | None) -> Awaitable[Answer]:
        """See ``Runtime``."""
        return self._waits.signal(path, names, timeout)

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

    def gated(self) -> bool:
        """See ``Runtime``."""
        return self._record.standing.pauses > 0

    async def may_begin(self, path: Path) -> None:
        """See ``Runtime``. A step that was cancelled while it was withheld does not begin in a recovered run
        either.
        """
        if self._record.take(path, "withheld") is not None:
            self.heed()
            raise Blocked("NonDeterministic", f"step {path} was withheld, and nothing cancels it now", path)
        if self._core.gate.shut and not self._record.has_reached(path):
            try:
                await self._core.gate.passed()
            except Cancelled:
                self._record.primary(path, "withheld", {})
                raise

    @property
    def skipped(self) -> frozenset[str]:
        """See ``Runtime``."""
        return self._record.standing.skipped

    async def hold(self, path: Path, failure: Failure) -> None:
        """See ``Runtime``. A cancellation of the run reaches it behind a shield too: in ``finally`` nothing
        else could make it go on.
        """
        self.decide(path, "held", lambda: {"error": failure.to_json()})
        if self._root.reason is not None:
            raise Cancelled(self._root)
        self._core.held[path] = failure
        self._holds[path] = until = self._core.trampoline.future()
        try:
            await self._core.trampoline.wait(until)
        finally:
            self._core.held.pop(path, None)
            self._holds.pop(path, None)

    def heed(self, *, begins: bool = False) -> None:
        """See ``Runtime``."""
        if begins:
            self._deadlines.must_wait()
        else:
            self._core.trampoline.heed()

    # --- requests and cancellation

    def _accept(self, messages: Sequence[Message]) -> None:
        standing = self._record.standing
        for message in self._unread(messages) if messages else ():
            if message.kind == "signal":
                self._waits.hear(message)
            elif message.kind == "retry":
                self._retry = message
            else:
                self._requests().hear(message)
                if message.kind == "cancel" and standing.cancelled:
                    self._cancel(Failure("Cancelled", message.data["reason"]))
                elif message.kind == "resume":
                    self._calls.look_again()
        if standing.ended:
            self.drop()
        self._core.gate.set(shut=self._held_back or standing.paused or self._retry is not None)

    def _unread(self, messages: Sequence[Message]) -> list[Message]:
        self.seen = max([self.seen, *(message.seq for message in messages)])
        return self._requests().unread(messages)

    def _requests(self) -> Requests:
        return Requests(self.run, self._record, self._row, held=lambda: bool(self._core.held))

    def _try_again(self, retry: Message) -> None:
        """Nothing is in flight any more: go on from the steps that hold the run, if some do."""
        generation, self._retry = self.run.generation, None
        self._requests().hear(retry)
        self.reopened = self.run.generation > generation
        if self.reopened:
            self.drop()
        else:
            self._core.gate.set(shut=self._held_back or self._record.standing.paused)
            self.advance()

    def _run_timed_out(self) -> None:
        if not self._core.dropped:
            self.expire()
            self.advance()

    def expire(self) -> None:
        """The run's life is over, unless it is being undone already: that may take its time."""
        if not self._compensating and self._root.reason is None:
            self._record.primary(ROOT, "timed_out", {})
            self._cancel(_run_timeout())

    def _cancel(self, reason: Failure) -> None:
        self._root.cancel(reason)
        for until in list(self._holds.values()):
            until.fail(Cancelled(self._root))

    def _restore_cancellation(self) -> None:
        """A recorded cancellation is in force from the top: what was answered before it is still served."""
        requested = self._record.take(ROOT, "cancel_requested")
        if requested is not None:
            self._root.cancel(Failure("Cancelled", requested.value["reason"]))
        elif self._record.take(ROOT, "timed_out") is not None:
            self._root.cancel(_run_timeout())

    @property
    def _compensating(self) -> bool:
        return self._record.standing.compensating

    def _compensate(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_status(RunStatus.COMPENSATING)

    # --- where the run stands

    async def _main(self, interpret: Interpret) -> None:
        end = await interpret(self)
        error = end.error.to_json() if end.error is not None else None
        data = {"status": end.status, "output": end.output, "error": error, "saga": end.saga}
        if end.left:
            data["left"] = end.left
        if end.secret:
            data["secret_output"] = True
        self.run.completed_at = self._record.rider(ROOT, "ended", data).at
        if end.status == RunStatus.CONTINUED:
            self._successor = self._continue(end)
        else:
            self.run.output = end.output
        self.run.error, self.run.saga = error, end.saga
        self._set_status(end.status)

    def _continue(self, end: End) -> Run:
        """The run that begins as this one ends: what it takes over, and nothing else."""
        run, now = self.run, self._host.now()
        return Run(
            id=f"{run.workflow_id}~{chain_number(run.id) + 1}",
            workflow_id=run.workflow_id,
            workflow=run.workflow,
            version=run.version,
            digest=run.digest,
            input=end.output,
            created_at=now,
            deadline=now + run.deadline - run.created_at,
            parent_id=run.parent_id,
            principal=run.principal,
            trace_id=run.trace_id,
            attributes=run.attributes,
            pins=run.pins,
            inherited={**(secrecy(run) or {}), "left": dict(end.left)} if end.left else secrecy(run),
        )

    def _settle(self) -> None:
        """Say in the run's row where the run stands, when it will not go on by itself at once."""
        run = self.run
        if run.status in ENDED:
            self._waits_for_nothing()
            self.drop()
        elif not self._attempts.busy:
            if self._retry is None:
                self._rest()
            else:
                self._try_again(self._retry)
        elif run.waiting_for is not None or run.status != self._stands(_RUNNING):
            self._set_status(self._stands(_RUNNING))
            self._waits_for_nothing()

    def _waits_for_nothing(self) -> None:
        run = self.run
        if run.waiting_for is not None or run.blocked is not None or run.wake_at is not None:
            self._row(waiting_for=None, blocked=None, wake_at=None)

    def _stands(self, otherwise: RunStatus) -> RunStatus:
        """The state of a run that is neither paused nor undone is ``otherwise``."""
        standing = self._record.standing
        if standing.paused:
            return RunStatus.PAUSED
        return RunStatus.COMPENSATING if standing.compensating else otherwise

    def _rest(self) -> None:
        core = self._core
        if self._held_back and core.gate.withholds:  # it does not wait, we do not let it go on
            return
        blocked = next(iter(core.parked.values()), None)
        held = next(iter(core.held.values()), None)
        if blocked is not None and not self._record.standing.paused:
            self._set_status(RunStatus.BLOCKED)
        else:
            self._set_status(self._stands(RunStatus.PAUSED if held is not None else RunStatus.WAITING))
        until = [waiting.until for waiting in core.waiting.values() if waiting.until is not None]
        until += self._deadlines.moments()
        if not self._compensating and self._root.reason is None:
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
        self._heartbeats.take()
        self._attempts.effects = []
        self._set_status(RunStatus.PAUSED if self._record.standing.paused else RunStatus.BLOCKED)
        self._row(waiting_for=None, blocked=_blocked_json(blocked), wake_at=None)
        self.drop()

    def _set_status(self, status: RunStatus) -> None:
        assert may_follow(self.run.status, status), f"{status} after {self.run.status}"
        self._row(status=status.value)

    def _row(self, **columns: Any) -> None:
        for name, value in columns.items():
            if getattr(self.run, name) != value:
                setattr(self.run, name, value)
                self._row_changed = True
                self.wake()

    def wake(self) -> None:
        """There is something to commit."""
        if not self._awake:
            self._awake = True
            self._host.wake(self)


def block(run: Run, blocked: Blocked, now: int, seen: int) -> Change:
    """The change that parks a claimed run which cannot even be driven, and gives it back for a while: only a
    message after ``seen``, the ``seq`` of its latest, is a reason to look earlier.
    """
    run.status, run.blocked, run.due_at = RunStatus.BLOCKED.value, _blocked_json(blocked), now + BLOCKED_FOR
    return Change(run, [], state_changed=True, release=True, seen=seen)


def _run_timeout() -> Failure:
    return Failure("Timeout", "the run took longer than its timeout")


def _blocked_json(blocked: Blocked) -> dict[str, Any]:
    return {"code": blocked.code, "reason": blocked.reason, "path": str(blocked.path)}
