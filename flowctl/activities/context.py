"""``ActivityContext``: what a call may know about itself, and say while it goes on.

An activity gets one by annotating a parameter with it, whatever the parameter's name. It can be made by hand
with only what a unit test cares about: ``charge(10, key="k", ctx=ActivityContext(attempt=2))``.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import traceback
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from flowctl.activities.attempt import Attempt
from flowctl.activities.masking import NOTHING, Mask
from flowctl.clock import instant
from flowctl.trace import attempt_span, traceparent
from flowctl.values import sized


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class ActivityContext:
    """One call, seen from inside. Safe to use from any thread.

    ``attempt`` counts from 1; ``idempotency_key`` is the same for every attempt of the step, and what a
    service should be given to recognise a repeated call. ``deadline`` is when the attempt times out.
    ``last_heartbeat`` are the details of the latest ``heartbeat``, at first an earlier attempt's: where to go
    on from. ``secret_arguments`` are JSON pointers to the arguments, or parts of them, that have a secret in
    them, such as ``/headers/Authorization``.
    """

    run_id: str = "run"
    workflow: str = "workflow"
    version: int = 1
    path: str = "step"
    attempt: int = 1
    idempotency_key: str = "run/step"
    deadline: datetime | None = None
    principal: str | None = None
    trace_id: str | None = None
    last_heartbeat: Any = None
    activity: str = "activity"
    generation: int = 0
    secret_arguments: frozenset[str] = frozenset()
    _mask: Mask = NOTHING
    _beat: Callable[[bytes | None], None] = lambda details: None
    _told: Callable[[], bool] = lambda: False

    @classmethod
    def of(
        cls, attempt: Attempt, mask: Mask, beat: Callable[[bytes | None], None], told: Callable[[], bool]
    ) -> ActivityContext:
        """The context of an attempt; ``beat`` hears of heartbeats, ``told`` says whether to stop."""
        return cls(
            run_id=attempt.run_id,
            workflow=attempt.workflow,
            version=attempt.version,
            path=attempt.path,
            attempt=attempt.attempt,
            idempotency_key=attempt.idempotency_key,
            deadline=instant(attempt.deadline).replace(tzinfo=UTC),
            principal=attempt.principal,
            trace_id=attempt.trace_id,
            last_heartbeat=attempt.last_heartbeat,
            activity=attempt.name,
            generation=attempt.generation,
            secret_arguments=frozenset(attempt.secrets),
            _mask=mask,
            _beat=beat,
            _told=told,
        )

    @property
    def traceparent(self) -> str | None:
        """The header that makes whatever is called a part of this attempt's span (W3C Trace Context)."""
        if self.trace_id is None:
            return None
        span = attempt_span(self.run_id, self.path, self.attempt, self.generation)
        return traceparent(self.trace_id, span)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was told to stop. Threads have to look; others are interrupted as well."""
        return self._told()

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that says which step speaks, and never a secret of this call."""
        return _Logger(logging.getLogger(f"flowctl.activity.{self.activity}"), self)

    def heartbeat(self, details: Any = None) -> None:
        """Say that the attempt is alive, and how far it came: ``details`` are JSON, taken down as they are
        now. The next attempt gets the latest, also if this process is killed; without any, those before
        them stay. Raises ``InvalidInput`` or ``PayloadTooLarge``."""
        if details is None:
            self._beat(None)
            return
        data = sized(details, "the heartbeat's details")
        self.last_heartbeat = details
        self._beat(data)


class _Logger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, context: ActivityContext) -> None:
        super().__init__(logger, {})
        self._context = context

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            # put together here already: a secret may be among the arguments, and in what was raised
            text, mask = str(msg) % args if args else str(msg), self._context._mask
            if mask:
                text = mask.text(text + _traceback(kwargs.pop("exc_info", None)))
            super().log(level, "%s", text, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        context = self._context
        kwargs["extra"] = {
            **context._mask.data(dict(kwargs.get("extra") or {})),
            "run_id": context.run_id,
            "path": context.path,
            "attempt": context.attempt,
        }
        return msg, kwargs


def _traceback(given: Any) -> str:
    """What ``exc_info=`` asks to be logged, below the text."""
    error = given[1] if isinstance(given, tuple) else given
    if error and not isinstance(error, BaseException):
        error = sys.exception()
    return "\n" + "".join(traceback.format_exception(error)).rstrip() if error else ""
