"""The activities of a worker: one that makes any attempt, and one that sends signals for runs.

An attempt that fails is a Temporal failure, with our outcome in its details. What has no outcome of its own
(the worker was stopped or died) is lost, and the run has it made again.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from flowctl import values
from flowctl.activities import Activity, Attempt, Outcome
from flowctl.activities.attempt import Handle, MissingSecret
from flowctl.errors import FlowctlError, failure_of
from flowctl.runtimes.temporal.kindred import SEND
from flowctl.runtimes.temporal.wire import attempt_from_json, outcome_to_json, raw
from flowctl.wall_clock import wall_clock

BEAT = 1.0
"""Seconds between two signs of life. With them comes the news that an attempt was called off."""

Send = Callable[[Mapping[str, Any]], Awaitable[Outcome]]
"""Sends a signal: ``{run, signal, payload, dedup_id, principal}``."""


class Performs(Protocol):
    """What carries attempts out (``activities.performer.Performer``)."""

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """Make one attempt and call back once, on the loop, as ``Host`` says. Raises ``MissingSecret``."""


class Attempts:
    """The activities, for ``Worker``. ``sought`` says why there is no secret of a name."""

    def __init__(
        self,
        performer: Performs,
        activities: Mapping[str, Activity],
        send: Send,
        sought: Callable[[str], str],
    ) -> None:
        self._performer = performer
        self._activities = activities
        self._send = send
        self._sought = sought

    @activity.defn(dynamic=True)
    async def attempt(self, args: Sequence[RawValue]) -> RawValue:
        """Make an attempt, whatever the activity's name."""
        [described] = args
        asked = attempt_from_json(activity.payload_converter().from_payload(described.payload, dict))
        outcome = await self._make(_begun_now(asked))
        answer = outcome_to_json(outcome)
        if outcome.failure is None:
            return raw(answer)
        raise failed(outcome, answer)

    @activity.defn(name=SEND)
    async def send(self, about: dict[str, Any]) -> dict[str, Any]:
        """Send a signal to another run. A mistake is an answer: Temporal would try again."""
        try:
            return outcome_to_json(await self._send(about))
        except FlowctlError as error:
            return outcome_to_json(Outcome(failure=failure_of(error)))

    async def _make(self, attempt: Attempt) -> Outcome:
        if attempt.name not in self._activities:
            return _blocked("UnknownActivity", f"no plugin here registers the activity {attempt.name}")
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        details: list[Any] = []
        ours = contextvars.copy_context()  # what is heard comes from the activity's thread, or its runner

        def heard(come: bytes) -> None:
            details[:] = [msgspec.json.decode(come)]
            ours.run(activity.heartbeat, *details)

        try:
            handle = self._performer.perform(attempt, ended.set_result, heard)
        except MissingSecret as missing:
            return _blocked("MissingSecret", self._sought(missing.name))
        while not ended.done():
            try:
                await asyncio.wait([ended], timeout=BEAT)
            except asyncio.CancelledError:
                handle.cancel()
                if activity.is_worker_shutdown():
                    came = values.encode(details[0]) if details else None
                    raise lost("the worker was stopped", came) from None
            if not ended.done():  # one that is short costs no round trip
                activity.heartbeat(*details)
        return ended.result()


def _begun_now(attempt: Attempt) -> Attempt:
    """Its time begins when it is made, not when it was asked for."""
    now = wall_clock()
    return msgspec.structs.replace(attempt, started_at=now, deadline=now + attempt.timeout)


def failed(outcome: Outcome, answer: dict[str, Any]) -> ApplicationError:
    """A failure as Temporal shows it, with our outcome in it. It is no news for a worker's log."""
    assert outcome.failure is not None
    return ApplicationError(
        outcome.failure.message,
        answer,
        type=outcome.failure.type,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def lost(message: str, heartbeat: bytes | None = None) -> ApplicationError:
    """The attempt is lost with its worker, which has time to say so; and how far it came, as JSON."""
    outcome = outcome_to_json(Outcome(lost=True, heartbeat=heartbeat))
    return ApplicationError(message, outcome, type="WorkerLost", category=ApplicationErrorCategory.BENIGN)


def _blocked(code: str, reason: str) -> Outcome:
    return Outcome(blocked={"code": code, "reason": reason})
