"""Calls of activities: attempts, retries, lost workers, and calls that this installation cannot make.

An attempt is recorded as ``started``, and made once that is durable. How it ends is recorded together
with the decision about what follows: another attempt at a fixed moment (``retry_at``), or none. An
attempt that was started and never ended belonged to a worker that is gone; it is made again under the
same number, which is no failure of the step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import decode

from flowctl.activities import Attempt, Outcome
from flowctl.errors import Blocked, Cancelled, Failure
from flowctl.expressions import SecretRef
from flowctl.machine.attempts import Attempts
from flowctl.machine.core import BLOCKED_FOR, Core, Waiting
from flowctl.machine.deadlines import Deadlines
from flowctl.machine.reopening import Made
from flowctl.machine.waits import Waits
from flowctl.path import ROOT, Path
from flowctl.retry import MAX_LOST_WORKERS
from flowctl.runtime import Answer, Call, CallCancelled, CallFailed
from flowctl.trampoline import Future, Scope

_AWAITED = frozenset({"workflow", "undo_child"})
"""Calls that are over when a child is."""

_VERBS = {"detached": "workflow", "undo_child": "workflow", "close_child": "close"}
"""What is shown for a kind of call that has no verb of its own."""

Ended = tuple[str, Answer]
"""How an attempt ended: ``completed`` with its output, ``failed`` or ``cancelled`` with what was recorded."""


class _Progress(msgspec.Struct, gc=False):
    """Where the ``call`` of a step stands: the attempt's ``number`` from 1, when the first one ``begun``, and
    what is carried along: ``heartbeat`` is how far attempts have come, as JSON. A retry of the run begins
    with 1 again, but for children, which must not get the ids of those there were ``before``.
    """

    path: Path
    call: Call
    number: int = 0
    begun: int = 0
    before: int = 0
    attempted: bool = False
    uncertain: bool = False
    heartbeat: bytes | None = None

    def describe(self, core: Core) -> Attempt | Outcome:
        """The attempt, as of now: of a call with a ``total_timeout`` what is left of that is the most it
        may take.
        """
        call, run, now = self.call, core.run, core.host.now()
        timeout = call.timeout
        if call.total_timeout is not None:
            timeout = min(timeout, self.begun + call.total_timeout - now)
            if timeout <= 0:
                return Outcome(failure=_total_timeout(call), uncertain=True)
        return Attempt(  # in the order of its fields: names take six times as long, in every step
            run.id,
            run.workflow,
            run.version,
            self.path,
            self.number,
            call.key,
            call.name,
            decode(call.arguments),
            call.secrets,
            timeout,
            call.heartbeat_timeout,
            run.principal,
            run.trace_id,
            None if self.heartbeat is None else decode(self.heartbeat),
            now,
            now + timeout,
            call.kind,
            call.secret,
            core.record.standing.generation,
        )


class Calls:
    """The calls of one run."""

    __slots__ = ("_core", "_deadlines", "_outwaiting", "_recovering", "_waits", "attempts")

    def __init__(self, core: Core, deadlines: Deadlines, waits: Waits) -> None:
        self._core = core
        self._deadlines = deadlines
        self._waits = waits
        self._outwaiting: list[Future[None]] = []
        self._recovering = False
        self.attempts = Attempts(core)

    def look_again(self) -> None:
        """What was missing where attempts should be made may be there now."""
        for until in self._outwaiting:
            until.set(None)

    async def call(self, path: Path, call: Call) -> Answer:
        """See ``Runtime.activity``. One turn of the loop is one attempt."""
        record, progress = self._core.record, _Progress(path, call)
        if path in record.made:
            _carry_on(progress, record.made[path])
        while True:
            progress.number += 1
            started = record.take(path, "started", progress.number)
            if started is None:
                if not self._is_ready(progress):
                    await self._ready(progress)
                started = self._start(progress)
                progress.begun = progress.begun or started.at
                outcome = await self._make(progress)
                if outcome.lost or outcome.blocked is not None:
                    kind, answer = await self._go_on(progress, outcome)
                else:
                    kind, answer = self._record_end(progress, outcome)
            else:
                progress.begun = progress.begun or started.at
                kind, answer = await self._recorded(progress, started)
            if kind == "completed":
                return answer
            progress.uncertain = progress.uncertain or bool(answer.value.get("uncertain"))
            if "heartbeat" in answer.value:
                progress.heartbeat = msgspec.json.encode(answer.value["heartbeat"])
            if kind == "cancelled":
                raise self._interrupted(self._cancelled_scope(path), progress, answer, attempted=True)
            if "retry_at" not in answer.value:
                failure = Failure.from_json(answer.value["error"])
                raise CallFailed(
                    failure,
                    order=answer.order,
                    at=answer.at,
                    attempted=not answer.served,
                    uncertain=progress.uncertain,
                )
            following = progress.number + 1  # which may have been called off when it was due
            if not (record.has(path, "started", following) or record.has(path, "cancelled", following)):
                await self._back_off(progress, answer.value["retry_at"])

    # --- one attempt

    async def _recorded(self, progress: _Progress, started: Answer) -> Ended:
        """How an attempt ended that was started before; one that did not is made again."""
        record, path = self._core.record, progress.path
        if started.value["digest"] != progress.call.digest and not started.served:
            reason = f"step {path} was recorded as another call than the one it makes now"
            raise Blocked("NonDeterministic", reason, path)
        for kind in ("completed", "failed", "cancelled"):
            recorded = record.take(path, kind, progress.number)
            if recorded is not None:
                return kind, recorded.of("output", progress.number) if kind == "completed" else recorded
        return await self._recover(progress)

    def _is_ready(self, progress: _Progress) -> bool:
        """Whether nothing stands between a call and its being made, which is what most find."""
        return self._deadlines.far() and not self._core.gate.shut and self._hindrance(progress) is None

    async def _ready(self, progress: _Progress) -> None:
        """Return once the call can be made here: at once, or never, for then somebody must install what
        is missing.
        """
        try:
            self._deadlines.must_wait()
            if self._core.gate.shut:
                await self._core.gate.passed()
            blocked = self._hindrance(progress)
            if blocked is not None:
                await self._park(blocked, self._core.trampoline.future())
        except Cancelled as cancelled:
            raise self._cancelled(progress, cancelled) from None

    async def _park(self, blocked: Blocked, until: Future[None]) -> None:
        """Have the run say what it lacks, and wait."""
        self._core.parked[blocked.path] = blocked
        try:
            await self._core.trampoline.wait(until)
        finally:
            self._core.parked.pop(blocked.path, None)

    def _hindrance(self, progress: _Progress) -> Blocked | None:
        path, call = progress.path, progress.call
        if call.kind != "activity":
            return None
        try:
            self._core.host.declared(call.name)
            if call.secrets:
                self._core.host.check_secrets(_secret_names(call), path)
        except Blocked as blocked:
            return Blocked(blocked.code, blocked.reason, path)
        return None

    def _start(self, progress: _Progress) -> Answer:
        call = progress.call
        data: dict[str, Any]
        if progress.number != progress.before + 1:  # later attempts make the same call
            data = {"digest": call.digest}
        else:
            verb = _VERBS.get(call.kind, call.kind)
            data = {"digest": call.digest, "verb": verb, "name": call.name, "input": Raw(call.arguments)}
            if call.secrets:
                data["secrets"] = {
                    where: [_shown(part) for part in parts] for where, parts in call.secrets.items()
                }
            if call.secret:
                data["secret"] = True
            if call.closes:
                data["closes"] = True
        return self._core.record.rider(progress.path, "started", data, progress.number)

    async def _recover(self, progress: _Progress) -> Ended:
        """The worker of this attempt is gone, and with it the answer: make the attempt again, unless that
        is over.
        """
        path, call, number, record = progress.path, progress.call, progress.number, self._core.record
        if call.kind != "activity":  # the engine knows what became of it
            outcome = await self._make(progress)
            return self._record_end(progress, outcome)
        left = self._core.heartbeats.of(path, number)
        if self._core.trampoline.cancelled() is not None:
            self._core.heartbeats.clear(path)
            return "cancelled", record.primary(path, "cancelled", {"uncertain": True}, number)
        progress.uncertain, before = True, progress.uncertain
        await self._ready(progress)
        progress.uncertain = (
            before  # the attempt that is made now answers for the lost one: it has the same key
        )
        if not self._recovering:
            self._recovering = True
            record.primary(ROOT, "recovered", {}, record.recoveries + 1)
        lost = record.losses(path, number) + 1
        if call.retry.on_worker_lost == "fail" or lost >= MAX_LOST_WORKERS:
            failure = Failure("WorkerLost", f"the worker was lost {lost} times in attempt {number}")
            data = {"error": failure.at(path, number).to_json(), "uncertain": True}
            data |= self._came(path, left)
            return "failed", record.primary(path, "failed", data, number)
        record.rider(path, "lost", {"count": lost}, number)
        progress.heartbeat = left or progress.heartbeat
        outcome = await self._make(progress)
        if outcome.lost or outcome.blocked is not None:
            return await self._go_on(progress, outcome)
        if outcome.cancelled and outcome.failure is not None and outcome.failure.type == "Cancelled":
            # It was called off before it began, or without an answer; and the lost one had begun.
            outcome = msgspec.structs.replace(outcome, uncertain=True)
        return self._record_end(progress, outcome)

    async def _go_on(self, progress: _Progress, outcome: Outcome) -> Ended:
        """The attempt has not ended: it was blocked where it should be made, or lost with its worker."""
        while outcome.blocked is not None:
            await self._outwait(progress, Blocked(**outcome.blocked, path=progress.path))
            outcome = await self._make(progress)
        if outcome.lost:
            progress.heartbeat = outcome.heartbeat
            self._recovering = False
            return await self._recover(progress)
        return self._record_end(progress, outcome)

    async def _outwait(self, progress: _Progress, blocked: Blocked) -> None:
        """What is missing may be there in a while."""
        core = self._core
        until: Future[None] = core.trampoline.future()

        def look() -> None:
            until.set(None)
            core.machine.advance()

        handle = core.host.call_at(core.host.now() + BLOCKED_FOR, look)
        self._outwaiting.append(until)
        try:
            await self._park(blocked, until)
        except Cancelled as cancelled:
            raise self._cancelled(progress, cancelled) from None
        finally:
            self._outwaiting.remove(until)
            handle.cancel()

    def _make(self, progress: _Progress) -> Awaitable[Outcome]:
        return self.attempts.make(progress) if progress.call.kind == "activity" else self._ask(progress)

    async def _ask(self, progress: _Progress) -> Outcome:
        """Have the engine do it. A child takes its time, in which the run only waits."""
        path, call = progress.path, progress.call
        rests = call.kind in _AWAITED
        if rests:
            child = path.child_id(self._core.run.id, progress.number)
            name = child if call.kind == "workflow" else call.name
            self._core.waiting[path] = Waiting("child", None, (name,))
        try:
            return await self.attempts.make(progress, rests=rests, always=True)
        finally:
            self._core.waiting.pop(path, None)

    def _record_end(self, progress: _Progress, outcome: Outcome) -> Ended:
        path, call, number, record = progress.path, progress.call, progress.number, self._core.record
        if outcome.failure is None:
            assert outcome.value is not None
            data: dict[str, Any] = {"output": Raw(outcome.value)}
            if call.secret:
                data["secret"] = True
            if outcome.secret:
                data["secret_output"] = True
            answer = record.primary(path, "completed", data, number)
            if self._core.heartbeats.kept:
                self._core.heartbeats.clear(path)
            return "completed", Answer(decode(outcome.value), answer.at, answer.order, number)
        data = {"secret": True} if call.secret else {}
        if outcome.uncertain:
            data["uncertain"] = True
        came = self._came(path, outcome.heartbeat or self._core.heartbeats.of(path, number))
        if self._core.trampoline.cancelled() is not None:
            return "cancelled", record.primary(path, "cancelled", data, number)
        data |= came
        failure = outcome.failure
        if failure.type == "Timeout" and self._total_is_over(progress):
            failure = _total_timeout(call)
        failure, retry_at = self._retry(progress, failure.at(path, number))
        if retry_at is not None:
            data["retry_at"] = retry_at
        return "failed", record.primary(path, "failed", data | {"error": failure.to_json()}, number)

    def _came(self, path: Path, details: bytes | None) -> dict[str, Any]:
        """How far a failed attempt came: on record from now on, and so nowhere else."""
        self._core.heartbeats.clear(path)
        return {} if details is None else {"heartbeat": msgspec.Raw(details)}

    def _retry(self, progress: _Progress, failure: Failure) -> tuple[Failure, int | None]:
        """When the next attempt follows, or None. One that ``total_timeout`` leaves no room for turns the
        failure into that.
        """
        call, number, host = progress.call, progress.number, self._core.host
        tries = number - progress.before
        if not call.retry.again(tries, failure):
            return failure, None
        retry_at = host.now() + call.retry.wait(tries, host.chance())
        if call.total_timeout is None or retry_at < progress.begun + call.total_timeout:
            return failure, retry_at
        return dataclasses.replace(_total_timeout(call).at(progress.path, number), cause=failure), None

    def _total_is_over(self, progress: _Progress) -> bool:
        total = progress.call.total_timeout
        return total is not None and self._core.host.now() >= progress.begun + total

    async def _back_off(self, progress: _Progress, until: int) -> None:
        try:
            await self._waits.wait_until(progress.path, "retry", until)
        except Cancelled as cancelled:
            raise self._cancelled(progress, cancelled, attempted=True) from None

    # --- cancellation

    def _cancelled(
        self, progress: _Progress, cancelled: Cancelled, *, attempted: bool = False
    ) -> CallCancelled:
        """The call was interrupted while no attempt was in flight: before its first, or between two."""
        record, data = self._core.record, {"uncertain": True} if progress.uncertain else {}
        answer = record.take(progress.path, "cancelled", progress.number)
        if answer is None:
            answer = record.primary(progress.path, "cancelled", data, progress.number)
        attempted = attempted or progress.attempted or progress.number > 1 or progress.uncertain
        return self._interrupted(cancelled.scope, progress, answer, attempted=attempted)

    def _interrupted(
        self, scope: object, progress: _Progress, answer: Answer, *, attempted: bool
    ) -> CallCancelled:
        return CallCancelled(
            scope, order=answer.order, at=answer.at, attempted=attempted, uncertain=progress.uncertain
        )

    def _cancelled_scope(self, path: Path) -> Scope:
        scope = self._core.trampoline.cancelled()
        if scope is None:
            reason = f"step {path} was recorded as cancelled, and nothing cancels it now"
            raise Blocked("NonDeterministic", reason, path)
        return scope


def _carry_on(progress: _Progress, made: Made) -> None:
    """The call was made before the run was retried."""
    progress.attempted, progress.uncertain, progress.heartbeat = True, made.uncertain, made.heartbeat
    if progress.call.kind != "activity":
        progress.number = progress.before = made.number


def _secret_names(call: Call) -> list[str]:
    return sorted(
        {part.name for parts in call.secrets.values() for part in parts if isinstance(part, SecretRef)}
    )


def _shown(part: str | SecretRef) -> str:
    """A part of a text with secrets, as people see it: the reference, never the value."""
    return part if isinstance(part, str) else f"${{{{ secrets.{part.name} }}}}"


def _total_timeout(call: Call) -> Failure:
    return Failure("Timeout", f"the attempts of {call.name} took longer than the step's total_timeout")
