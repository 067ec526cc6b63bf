"""The machine: one run being driven. Answers the interpreter from the record, and the record from the world.

It implements ``Runtime`` once for every runtime that keeps a journal. What it cannot do by itself, time,
chance, calling activities and committing, it asks of a small ``Host``: asyncio with SQLite, or a virtual
clock in memory.

The rules:

1. Facts are made in the order in which things happen and never reordered. *Primary* facts (what the world
   answered) open an entry; *riders* (decisions, starts) join the entry that is open, so one step is one
   row.
2. Effects (attempts to start) are collected while tasks run, and released by ``committed``, after the
   facts they depend on.
3. Nothing here knows whether it is replaying: a verb looks at the record first, and acts only where the
   record ends.
4. Whatever goes wrong inside flowctl parks this run as ``blocked`` and harms no other.

The kinds of facts, and the keys of their ``data``:

=================  =========================================================================================
started            an attempt, or a wait: ``verb name input digest secrets`` or ``verb names until``
completed          ``output``; of a signal ``message`` too, the inbox number of what was received
failed             ``error``, ``uncertain``, ``retry_at`` if another attempt follows, ``heartbeat``
cancelled          ``uncertain`` for an attempt
lost               ``count``: the worker of this attempt was lost this many times, and it runs again
timed_out          a wait or a block ran out of time; at the root: the run
condition, case, … what the interpreter decided there (``decide``)
recovered          at the root, attempt N: the N-th time that another worker found work interrupted
cancel_requested   at the root: ``reason principal message``
ended              at the root: ``status output error saga``
=================  =========================================================================================
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from flowctl.activities import Attempt, Outcome
from flowctl.clock import format_timestamp
from flowctl.errors import Blocked, Cancelled, Control, Failure, StepFailed, safe_text
from flowctl.journal import Change, Entry, Fact, Message, Run
from flowctl.model import Policy
from flowctl.path import ROOT, Path
from flowctl.retry import MAX_LOST_WORKERS
from flowctl.runtime import Answer, Call, CallCancelled, CallFailed, End, Mode, RunInfo, Settled, Thunk
from flowctl.state import RunStatus
from flowctl.trampoline import Future, Scope, Trampoline

log = logging.getLogger("flowctl.machine")


class Handle(Protocol):
    """Something under way that can be called off: a timer, or an attempt (which then still ends by
    itself).
    """

    def cancel(self) -> None:
        """Call it off. Harmless when it is over."""


class Host(Protocol):
    """What a machine asks of the process it lives in. Callbacks come on the host's one thread, never from
    inside these calls.
    """

    @property
    def settings(self) -> Policy:
        """The defaults of this installation."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def chance(self) -> float:
        """A random number in [0, 1)."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """Call back at ``when`` or later, never earlier."""

    def perform(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Handle:
        """Make one attempt of an activity, and call back once."""

    def declared(self, activity: str) -> Policy | None:
        """The activity's own policy. Raises ``Blocked`` if it is not installed."""

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """Raise ``Blocked`` if one of these secrets is nowhere to be had."""

    def wake(self, machine: Machine) -> None:
        """``machine`` has something to commit: ``take`` it soon, and call ``committed`` when it is
        durable.
        """


@dataclasses.dataclass(slots=True)
class Waiting:
    """Something the run waits for that comes by itself or from outside."""

    kind: str
    until: int | None
    names: tuple[str, ...] = ()

    def to_json(self, path: str) -> dict[str, Any]:
        """As in ``status``; ``until`` still in milliseconds."""
        return {"path": path, "kind": self.kind, "names": list(self.names), "until": self.until}


@dataclasses.dataclass(slots=True)
class _Listener:
    names: tuple[str, ...]
    until: int | None
    heard: Future[Message | None]


Interpret = Callable[["Machine"], Awaitable[End]]
"""The interpreter with its document and input, as ``begin`` takes it."""


class Machine:
    """One run being driven. ``begin`` it, feed it, ``take`` what it wants committed, ``drop`` it."""

    def __init__(self, run: Run, entries: Iterable[Entry], host: Host, *, new: bool = False) -> None:
        self.run = run
        self._host = host
        self._new = new
        self._trampoline = Trampoline()
        self._record: dict[tuple[str, str, int], Answer] = {}
        self._losses: dict[tuple[str, int], int] = {}
        self._order = 0
        self._recoveries = 0
        self._recovering = False
        self._received: set[int] = set()
        self._inbox: list[Message] = []
        self._seen = 0
        self._listeners: list[_Listener] = []
        self._waiting: dict[str, Waiting] = {}
        self._parked: dict[str, Blocked] = {}
        self._held: dict[str, Failure] = {}
        self._deadlines: dict[Scope, tuple[Path, int]] = {}
        self._handles: dict[int, Handle] = {}
        self._in_flight = 0
        self._pending: list[Entry] = []
        self._effects: list[Callable[[], None]] = []
        self._released: list[Callable[[], None]] = []
        self._awake = False
        self._row_changed = False
        self._compensating = False
        self._timer: Handle | None = None
        self.dropped = False
        for entry in entries:
            for fact in entry.facts():
                self._remember(fact)

    # --- what the host does with a machine

    def begin(self, interpret: Interpret, messages: Iterable[Message] = ()) -> None:
        """Start the interpreter from the top and let it come as far as the record, and the inbox, reach."""
        if self.run.started_at is None:
            self.run.started_at = self._fact(ROOT, "started", {}, primary=True).at
        self._set_status(RunStatus.RUNNING if self.run.status != "compensating" else RunStatus.COMPENSATING)
        self._restore_cancellation()
        self._accept(messages)
        self._trampoline.spawn(self._main(interpret))
        self._timer = self._host.call_at(self.run.deadline, self._run_timed_out)
        self.advance()

    def receive(self, messages: Iterable[Message]) -> None:
        """Take new messages from the inbox, in order, and act on them."""
        self._accept(messages)
        self.advance()

    @property
    def seen(self) -> int:
        """The inbox number of the latest message received."""
        return self._seen

    @property
    def idle(self) -> bool:
        """Whether the run has ended or only waits: nothing of it is running or about to."""
        return self.dropped or not (self._in_flight or self._effects or self._pending)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens in this run by itself."""
        return RunStatus(self.run.status).ended

    @property
    def in_flight(self) -> int:
        """Attempts that are running or about to."""
        return self._in_flight

    def advance(self) -> None:
        """Resume what can be resumed, then say where the run stands."""
        if self.dropped:
            return
        try:
            self._trampoline.run()
        except Blocked as blocked:
            self._stop(blocked)
        except Exception as error:
            log.exception("the interpreter failed in run %s", self.run.id)
            self._stop(Blocked("InternalError", f"flowctl failed: {safe_text(error)}", ROOT))
        else:
            self._settle()

    def take(self) -> Change | None:
        """What to commit now, or None; ``committed`` must follow once it is durable."""
        self._awake = False
        self._released, self._effects = self._released + self._effects, []
        if not self._pending and not self._row_changed and not self._new:
            return None
        change = Change(
            run=self.run,
            entries=self._pending,
            create=self._new,
            state_changed=self._row_changed,
            release=self.ended,
        )
        self._pending, self._row_changed, self._new = [], False, False
        return change

    def committed(self) -> None:
        """What was taken is durable: release the effects that depend on it."""
        effects, self._released = self._released, []
        for effect in effects:
            effect()

    def drop(self) -> None:
        """Forget the run's tasks and timers. Attempts in flight are told to stop, and their answers are
        not recorded.
        """
        if not self.dropped:
            self.dropped = True
            self._trampoline.drop()
            if self._timer is not None:
                self._timer.cancel()
            for handle in self._handles.values():
                handle.cancel()
            self._handles.clear()

    # --- Runtime: what the interpreter asks

    @property
    def info(self) -> RunInfo:
        """See ``Runtime``."""
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
        elapsed = (self._host.now() - (self.run.started_at or 0)) / 1000
        length = self.run.entries + len(self._pending)
        return {"elapsed": elapsed, "history_length": length, "history_size": self.run.size}

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
        recorded = self._record.pop((path, kind, 0), None)
        if recorded is None:
            recorded = self._fact(path, kind, thunk(), primary=False)
        if kind == "compensating" and path == ROOT:
            self._compensate()
        return recorded

    async def activity(self, path: Path, call: Call) -> Answer:
        """See ``Runtime``. One turn of the loop is one attempt."""
        number, begun, uncertain, heartbeat = 0, 0, False, None
        while True:
            number += 1
            started = self._record.pop((path, "started", number), None)
            if started is None:
                self._heed_call(path, number > 1, uncertain)
                await self._installed(path, call, uncertain=uncertain, attempted=number > 1)
                started = self._start(path, call, number)
                begun = begun or started.at
                ended = await self._perform(path, call, number, begun, heartbeat)
            else:
                begun = begun or started.at
                self._same_call(path, call, started)
                ended = self._ended(path, number) or await self._recover(path, call, number, begun, heartbeat)
            kind, answer = ended
            if kind == "completed":
                return answer.of("output")
            uncertain = uncertain or bool(answer.value.get("uncertain"))
            heartbeat = answer.value.get("heartbeat")
            if kind == "cancelled":
                raise CallCancelled(
                    self._cancelled_scope(path),
                    order=answer.order,
                    at=answer.at,
                    attempted=True,
                    uncertain=uncertain,
                )
            if "retry_at" not in answer.value:
                raise CallFailed(
                    Failure.from_json(answer.value["error"]),
                    order=answer.order,
                    at=answer.at,
                    attempted=True,
                    uncertain=uncertain,
                )
            if (path, "started", number + 1) not in self._record:
                await self._back_off(path, answer, uncertain)

    async def sleep(self, path: Path, until: Callable[[int], int]) -> Answer:
        """See ``Runtime``."""
        started = self.decide(
            path, "started", lambda: self._heeded({"verb": "sleep", "until": until(self._host.now())})
        )
        completed = self._record.pop((path, "completed", 0), None)
        if completed is None:
            await self._wait_until(path, Waiting("timer", started.value["until"]))
            completed = self._fact(path, "completed", {"output": None}, primary=True)
        return completed.of("output")

    async def wait_signal(self, path: Path, names: Sequence[str], timeout: int | None) -> Answer:
        """See ``Runtime``. A signal accepted before the time was up counts, however late somebody looks."""

        def start() -> dict[str, Any]:
            until = None if timeout is None else self._host.now() + timeout
            return self._heeded({"verb": "wait_for_signal", "names": list(names), "until": until})

        started = self.decide(path, "started", start)
        timed_out = self._record.pop((path, "timed_out", 0), None)
        if timed_out is not None:
            return Answer(None, timed_out.at, timed_out.order)
        completed = self._record.pop((path, "completed", 0), None)
        if completed is None:
            message = await self._listen(path, tuple(names), started.value["until"])
            if message is None:
                timed_out = self._fact(path, "timed_out", {}, primary=True)
                return Answer(None, timed_out.at, timed_out.order)
            completed = self._fact(path, "completed", _signal_data(message), primary=True)
        return completed.of("output")

    async def all(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None, mode: Mode = "all"
    ) -> list[Settled]:
        """See ``Runtime``. Which failure was first is recorded; a recovered run calls the others off at
        once.
        """
        branches = _Branches(self._trampoline, thunks, limit)

        def failed(index: int, settled: Settled) -> None:
            if mode == "all" and settled.failure is not None and branches.decided is None:
                branches.decide(self.decide(path, "first_failed", lambda: {"index": index}).value["index"])

        recorded = self._record.get((path, "first_failed", 0))
        if recorded is not None:
            branches.decide(recorded.value["index"])
        results = await branches.run(failed)
        if branches.decided is not None and mode == "all":
            failure = results[branches.decided].failure
            assert failure is not None
            raise StepFailed(failure)
        return results

    async def first(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None
    ) -> tuple[int, Any]:
        """See ``Runtime``. The winner is recorded."""
        branches = _Branches(self._trampoline, thunks, limit)

        def won(index: int, settled: Settled) -> None:
            if settled.failure is None and branches.decided is None:
                branches.decide(self.decide(path, "winner", lambda: {"index": index}).value["index"])

        recorded = self._record.get((path, "winner", 0))
        if recorded is not None:
            branches.decide(recorded.value["index"])
        results = await branches.run(won)
        if branches.decided is not None:
            return branches.decided, results[branches.decided].value
        errors = [settled.failure.to_json() for settled in results if settled.failure is not None]
        raise StepFailed(
            Failure("BranchesFailed", f"all {len(errors)} branches failed", details=errors, step=path)
        )

    async def deadline(self, path: Path, timeout: int, thunk: Thunk) -> Any:
        """See ``Runtime``."""
        armed = self.decide(path, "deadline", lambda: {"until": self._host.now() + timeout})
        until: int = armed.value["until"]
        scope = self._trampoline.enter()
        self._deadlines[scope] = (path, until)
        handle: Handle | None = None
        if self._record.pop((path, "timed_out", 0), None) is not None:
            scope.cancel(_timeout(path))
        else:

            def passed() -> None:
                self._expire(scope)
                self.advance()

            handle = self._host.call_at(until, passed)
        try:
            result = await thunk()
        except (Cancelled, StepFailed) as error:
            if scope.reason is None or (isinstance(error, Cancelled) and error.scope is not scope):
                raise
        finally:
            self._trampoline.leave(scope)
            del self._deadlines[scope]
            if handle is not None:
                handle.cancel()
        if scope.reason is not None:
            raise StepFailed(scope.reason)
        return result

    async def shielded(self, thunk: Thunk) -> Any:
        """See ``Runtime``."""
        scope = self._trampoline.enter(shield=True)
        try:
            return await thunk()
        finally:
            self._trampoline.leave(scope)

    async def hold(self, path: Path, failure: Failure) -> None:
        """See ``Runtime``."""
        self.decide(path, "held", lambda: {"error": failure.to_json()})
        self._held[path] = failure
        try:
            await self._trampoline.wait(self._trampoline.future())
        finally:
            self._held.pop(path, None)

    def heed(self) -> None:
        """See ``Runtime``."""
        self._trampoline.heed()

    # --- attempts

    def _heeded(self, data: dict[str, Any]) -> dict[str, Any]:
        """``data`` of a wait that is about to begin, unless its scope was cancelled."""
        self._must_wait()
        return data

    def _heed_call(self, path: Path, attempted: bool, uncertain: bool) -> None:
        try:
            self._must_wait()
        except Cancelled as cancelled:
            raise self._interrupted(cancelled, attempted, uncertain) from None

    def _interrupted(self, cancelled: Cancelled, attempted: bool, uncertain: bool) -> CallCancelled:
        return CallCancelled(
            cancelled.scope, order=self._order, at=self._host.now(), attempted=attempted, uncertain=uncertain
        )

    async def _installed(self, path: Path, call: Call, *, uncertain: bool, attempted: bool) -> None:
        """Return once this installation can make the call: at once, or never, for then somebody must
        install what is missing.
        """
        names = {part.name for parts in call.secrets.values() for part in parts if not isinstance(part, str)}
        try:
            self._host.declared(call.name)
            self._host.check_secrets(sorted(names), path)
        except Blocked as blocked:
            self._parked[path] = Blocked(blocked.code, blocked.reason, path)
            try:
                await self._trampoline.wait(self._trampoline.future())
            except Cancelled as cancelled:
                raise self._interrupted(cancelled, attempted, uncertain) from None
            finally:
                self._parked.pop(path, None)

    def _start(self, path: Path, call: Call, number: int) -> Answer:
        data: dict[str, Any] = {"digest": call.digest}
        if number == 1:  # later attempts make the same call
            data |= {"verb": "activity", "name": call.name, "input": msgspec.Raw(call.arguments)}
            if call.secrets:
                data["secrets"] = {
                    where: [str(part) for part in parts] for where, parts in call.secrets.items()
                }
            if call.secret:
                data["secret"] = True
        return self._fact(path, "started", data, number, primary=False)

    def _same_call(self, path: Path, call: Call, started: Answer) -> None:
        if started.value["digest"] != call.digest:
            raise Blocked(
                "NonDeterministic",
                f"step {path} was recorded as another call of {started.value.get('name', call.name)} than it is now",
                path,
            )

    def _ended(self, path: Path, number: int) -> tuple[str, Answer] | None:
        for kind in ("completed", "failed", "cancelled"):
            recorded = self._record.pop((path, kind, number), None)
            if recorded is not None:
                return kind, recorded
        return None

    async def _recover(
        self, path: Path, call: Call, number: int, begun: int, heartbeat: Any
    ) -> tuple[str, Answer]:
        """An attempt that was started and never answered: its worker is gone. Run it again under the same
        number.
        """
        if self._trampoline.scope.cancelled() is not None:
            return "cancelled", self._fact(path, "cancelled", {"uncertain": True}, number, primary=True)
        await self._installed(path, call, uncertain=True, attempted=True)
        if not self._recovering:
            self._recovering = True
            self._fact(ROOT, "recovered", {}, self._recoveries + 1, primary=True)
        count = self._losses.get((path, number), 0) + 1
        if call.retry.on_worker_lost == "fail" or count >= MAX_LOST_WORKERS:
            failure = Failure(
                "WorkerLost", f"the worker was lost {count} times in attempt {number}", step=path
            )
            data = {"error": failure.at(path, number).to_json(), "uncertain": True}
            return "failed", self._fact(path, "failed", data, number, primary=True)
        self._fact(path, "lost", {"count": count}, number, primary=False)
        return await self._perform(path, call, number, begun, heartbeat)

    async def _perform(
        self, path: Path, call: Call, number: int, begun: int, heartbeat: Any
    ) -> tuple[str, Answer]:
        """Make one attempt, once what is recorded so far is durable, and record how it ended."""
        future: Future[Outcome] = self._trampoline.future()
        told = False

        def done(outcome: Outcome) -> None:
            if not self.dropped:
                self._handles.pop(id(future), None)
                self._in_flight -= 1
                future.set(outcome)
                self.advance()

        def effect() -> None:
            if told:
                done(Outcome(failure=Failure("Cancelled", "cancelled before it began"), cancelled=True))
            elif not self.dropped:
                attempt = self._attempt(path, call, number, begun, heartbeat)
                if attempt.timeout <= 0:
                    done(Outcome(failure=_total_timeout(call)))
                else:
                    self._handles[id(future)] = self._host.perform(attempt, done)

        def tell() -> None:
            nonlocal told
            told = True
            handle = self._handles.get(id(future))
            if handle is not None:
                handle.cancel()

        self._in_flight += 1
        self._effects.append(effect)
        self._wake()
        outcome = await self._trampoline.wait(future, patient=tell)
        return self._record_outcome(path, call, number, begun, outcome)

    def _attempt(self, path: Path, call: Call, number: int, begun: int, heartbeat: Any) -> Attempt:
        now = self._host.now()
        timeout = call.timeout
        if call.total_timeout is not None:
            timeout = min(timeout, begun + call.total_timeout - now)
        return Attempt(
            run_id=self.run.id,
            workflow=self.run.workflow,
            version=self.run.version,
            path=path,
            attempt=number,
            idempotency_key=call.key,
            name=call.name,
            args=msgspec.json.decode(call.arguments),
            secrets=call.secrets,
            timeout=timeout,
            heartbeat_timeout=call.heartbeat_timeout,
            principal=self.run.principal,
            trace_id=self.run.trace_id,
            last_heartbeat=heartbeat,
            started_at=now,
            deadline=now + timeout,
        )

    def _record_outcome(
        self, path: Path, call: Call, number: int, begun: int, outcome: Outcome
    ) -> tuple[str, Answer]:
        if outcome.failure is None:
            assert outcome.value is not None
            answer = self._fact(
                path, "completed", {"output": msgspec.Raw(outcome.value)}, number, primary=True
            )
            return "completed", Answer(
                {"output": msgspec.json.decode(outcome.value)}, answer.at, answer.order
            )
        data: dict[str, Any] = {"uncertain": True} if outcome.uncertain else {}
        if self._trampoline.scope.cancelled() is not None:
            return "cancelled", self._fact(path, "cancelled", data, number, primary=True)
        failure = outcome.failure.at(path, number)
        if outcome.heartbeat is not None:
            data["heartbeat"] = outcome.heartbeat
        if call.retry.again(number, failure):
            retry_at = self._host.now() + call.retry.wait(number, self._host.chance())
            if call.total_timeout is None or retry_at < begun + call.total_timeout:
                data["retry_at"] = retry_at
            else:
                failure = dataclasses.replace(_total_timeout(call).at(path, number), cause=failure)
        return "failed", self._fact(path, "failed", data | {"error": failure.to_json()}, number, primary=True)

    async def _back_off(self, path: Path, failed: Answer, uncertain: bool) -> None:
        try:
            await self._wait_until(path, Waiting("retry", failed.value["retry_at"]))
        except Cancelled as cancelled:
            raise self._interrupted(cancelled, True, uncertain) from None

    # --- waits

    def _must_wait(self, until: int | None = None) -> None:
        """Called before anything that waits or acts: deadlines that have passed (before ``until``) take
        effect first.
        """
        now = self._host.now()
        limit = now if until is None else min(now, until)
        scope: Scope | None = self._trampoline.scope
        while scope is not None:
            _, passed = self._deadlines.get(scope, (ROOT, None))
            if passed is not None and passed <= limit:
                self._expire(scope)
            scope = None if scope.shield else scope.parent
        self._trampoline.heed()

    async def _wait_until(self, path: Path, waiting: Waiting) -> None:
        assert waiting.until is not None
        self._must_wait(waiting.until)
        if waiting.until <= self._host.now():
            return
        future = self._trampoline.future()

        def fire() -> None:
            future.set(None)
            self.advance()

        handle = self._host.call_at(waiting.until, fire)
        self._waiting[path] = waiting
        try:
            await self._trampoline.wait(future)
        finally:
            handle.cancel()
            self._waiting.pop(path, None)

    async def _listen(self, path: Path, names: tuple[str, ...], until: int | None) -> Message | None:
        for index, message in enumerate(self._inbox):
            if message.name in names and (until is None or message.at <= until):
                return self._inbox.pop(index)
        self._must_wait(until)
        if until is not None and until <= self._host.now():
            return None
        listener = _Listener(names, until, self._trampoline.future())
        handle: Handle | None = None
        if until is not None:

            def expire() -> None:
                listener.heard.set(None)
                self.advance()

            handle = self._host.call_at(until, expire)
        self._listeners.append(listener)
        self._waiting[path] = Waiting("signal", until, names)
        try:
            return await self._trampoline.wait(listener.heard)
        finally:
            self._listeners.remove(listener)
            self._waiting.pop(path, None)
            if handle is not None:
                handle.cancel()

    def _accept(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._seen = max(self._seen, message.seq)
            if message.seq in self._received:
                continue
            if message.kind == "cancel":
                self._cancel(message)
            else:
                self._hear(message)

    def _hear(self, message: Message) -> None:
        """Give a signal to the first who waits for it, in order of waiting, else keep it."""
        for listener in self._listeners:
            in_time = listener.until is None or message.at <= listener.until
            if message.name in listener.names and in_time and not listener.heard.done:
                listener.heard.set(message)
                return
        self._inbox.append(message)

    # --- cancellation and deadlines

    def _restore_cancellation(self) -> None:
        """A recorded cancellation is in force from the top: what was answered before it is still served."""
        requested = self._record.pop(("", "cancel_requested", 0), None)
        timed_out = self._record.pop(("", "timed_out", 0), None)
        if requested is not None:
            self._trampoline.root.cancel(Failure("Cancelled", requested.value["reason"]))
        elif timed_out is not None:
            self._trampoline.root.cancel(_run_timeout())

    def _cancel(self, message: Message) -> None:
        if self._compensating or self._trampoline.root.reason is not None:
            return
        reason = message.data["reason"]
        data = {"reason": reason, "principal": message.principal, "message": message.seq}
        self._fact(ROOT, "cancel_requested", data, primary=True)
        self._trampoline.root.cancel(Failure("Cancelled", reason))

    def _run_timed_out(self) -> None:
        if not self.dropped and not self._compensating and self._trampoline.root.reason is None:
            self._fact(ROOT, "timed_out", {}, primary=True)
            self._trampoline.root.cancel(_run_timeout())
            self.advance()

    def _expire(self, scope: Scope) -> None:
        """A deadline has passed. It takes effect unless something around it was cancelled before."""
        if not self.dropped and scope.cancelled() is None and scope in self._deadlines:
            path, _ = self._deadlines[scope]
            self._fact(path, "timed_out", {}, primary=True)
            scope.cancel(_timeout(path))

    def _cancelled_scope(self, path: Path) -> Scope:
        scope = self._trampoline.scope.cancelled()
        if scope is None:
            raise Blocked(
                "NonDeterministic", f"step {path} was recorded as cancelled, and nothing cancels it now", path
            )
        return scope

    def _compensate(self) -> None:
        self._compensating = True
        if self._timer is not None:
            self._timer.cancel()
        self._set_status(RunStatus.COMPENSATING)

    # --- the record

    def _remember(self, fact: Fact) -> None:
        self._order += 1
        data = fact.data
        if fact.kind == "lost":
            self._losses[fact.path, fact.attempt] = data["count"]
        elif fact.kind == "recovered":
            self._recoveries = fact.attempt
        else:
            self._record[fact.path, fact.kind, fact.attempt] = Answer(data, fact.at, self._order)
        if "message" in data:
            self._received.add(data["message"])

    def _fact(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0, *, primary: bool) -> Answer:
        at = self._host.now()
        fact = Fact(path, kind, at, attempt, self.run.generation, data)
        if primary or not self._pending:
            self._pending.append(Entry(fact, []))
        else:
            self._pending[-1].riders.append(fact)
        self._order += 1
        self._wake()
        return Answer(data, at, self._order)

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._host.wake(self)

    # --- the run as a whole

    async def _main(self, interpret: Interpret) -> None:
        end = await interpret(self)
        error = end.error.to_json() if end.error is not None else None
        data = {"status": end.status, "output": end.output, "error": error, "saga": end.saga}
        self.run.completed_at = self._fact(ROOT, "ended", data, primary=False).at
        self.run.output, self.run.error, self.run.saga = end.output, error, end.saga
        self._set_status(end.status)

    def _settle(self) -> None:
        """Say in the run's row where the run stands, when it will not go on by itself at once."""
        run = self.run
        if self.ended:
            self._row(waiting_for=None, blocked=None, wake_at=None)
            self.drop()
        elif self._in_flight:
            if run.waiting_for is not None or run.status not in ("running", "compensating"):
                self._set_status(RunStatus.COMPENSATING if self._compensating else RunStatus.RUNNING)
                self._row(waiting_for=None, blocked=None, wake_at=None)
        else:
            self._rest()

    def _rest(self) -> None:
        blocked = next(iter(self._parked.values()), None)
        held = next(iter(self._held.values()), None)
        if held is not None:
            self.run.error = held.to_json()
        if self._compensating:
            self._set_status(RunStatus.BLOCKED if blocked else RunStatus.COMPENSATING)
        elif blocked is not None:
            self._set_status(RunStatus.BLOCKED)
        else:
            self._set_status(RunStatus.PAUSED if held is not None else RunStatus.WAITING)
        until = [waiting.until for waiting in self._waiting.values() if waiting.until is not None]
        until += [passed for _, passed in self._deadlines.values()]
        if not self._compensating:
            until.append(self.run.deadline)
        self._row(
            waiting_for=[waiting.to_json(path) for path, waiting in self._waiting.items()],
            blocked=_blocked_json(blocked) if blocked is not None else None,
            wake_at=min(until, default=None),
        )

    def _stop(self, blocked: Blocked) -> None:
        """The run cannot go on here at all: forget what was not committed, and park it."""
        self._pending, self._effects = [], []
        self._set_status(RunStatus.BLOCKED)
        self._row(waiting_for=None, blocked=_blocked_json(blocked), wake_at=None)
        self.drop()

    def _set_status(self, status: RunStatus) -> None:
        if self.run.status != status:
            self.run.status = status
            self._row_changed = True
            self._wake()

    def _row(self, **columns: Any) -> None:
        for name, value in columns.items():
            if getattr(self.run, name) != value:
                setattr(self.run, name, value)
                self._row_changed = True
                self._wake()


class _Branches:
    """Thunks run at once, each in a scope of its own. ``decide(index)`` calls all but that one off."""

    def __init__(self, trampoline: Trampoline, thunks: Sequence[Thunk], limit: int | None) -> None:
        self._trampoline = trampoline
        self._thunks = list(thunks)
        self._limit = limit or len(self._thunks)
        self._scopes = [Scope(trampoline, trampoline.scope) for _ in self._thunks]
        self._results: list[Settled] = [Settled() for _ in self._thunks]
        self._interrupted: list[Control] = []
        self._next = 0
        self._running = 0
        self._over: Future[None] = trampoline.future()
        self.decided: int | None = None

    def decide(self, index: int) -> None:
        """The outcome hangs on branch ``index`` alone: cancel the others."""
        self.decided = index
        for other, scope in enumerate(self._scopes):
            if other != index:
                scope.cancel(Failure("Cancelled", "another branch decided"))

    async def run(self, ended: Callable[[int, Settled], None]) -> list[Settled]:
        """Run them all to their end; raises what came from outside (``Cancelled``), or leaves the run
        (``Control``).
        """
        for _ in range(min(self._limit, len(self._thunks))):
            self._spawn(ended)
        if self._running:
            await self._trampoline.wait(self._over, patient=lambda: None)
        for interruption in self._interrupted:
            raise interruption
        return self._results

    def _spawn(self, ended: Callable[[int, Settled], None]) -> None:
        index, self._next = self._next, self._next + 1
        self._running += 1
        self._trampoline.spawn(self._branch(index, ended), self._scopes[index])

    async def _branch(self, index: int, ended: Callable[[int, Settled], None]) -> None:
        try:
            self._results[index] = Settled(value=await self._thunks[index]())
            ended(index, self._results[index])
        except StepFailed as failed:
            self._results[index] = Settled(failure=failed.failure)
            ended(index, self._results[index])
        except Cancelled as cancelled:
            self._results[index] = Settled(failure=self._scopes[index].reason)
            if cancelled.scope is not self._scopes[index]:
                self._interrupted.append(cancelled)
        except Blocked:
            raise
        except Control as leaving:
            self._interrupted.append(leaving)
            self.decide(index)
        self._running -= 1
        if self._next < len(self._thunks):
            self._spawn(ended)
        elif not self._running:
            self._over.set(None)


def _signal_data(message: Message) -> dict[str, Any]:
    output = {
        "signal": message.name,
        "payload": message.data,
        "received_at": format_timestamp(message.at),
        "principal": message.principal,
    }
    return {"output": output, "message": message.seq}


def _timeout(path: Path) -> Failure:
    return Failure("Timeout", f"step {path} took longer than its timeout", step=path)


def _run_timeout() -> Failure:
    return Failure("Timeout", "the run took longer than its timeout")


def _total_timeout(call: Call) -> Failure:
    return Failure("Timeout", f"the attempts of {call.name} took longer than the step's total_timeout")


def _blocked_json(blocked: Blocked) -> dict[str, Any]:
    return {"code": blocked.code, "reason": blocked.reason, "path": str(blocked.path)}
