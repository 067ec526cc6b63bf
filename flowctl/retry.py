"""Retrying, as arithmetic: who may try again, and how long to wait first. Pure; every runtime applies it.

``attempts`` counts tries, the first included. A worker that was lost is not a try (language.md, section 4).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flowctl.errors import Failure

Backoff = Literal["constant", "linear", "exponential"]

NEVER_RETRIED = frozenset({"InvalidInput", "InvalidOutput", "PayloadTooLarge", "ExpressionError"})
"""Errors that the same call would raise again, so that no policy retries them unless it names them."""

MAX_LOST_WORKERS = 10
"""An attempt that has lost this many workers in a row has probably killed them."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How a step is tried again. ``delay`` and ``max_delay`` are in milliseconds.

    ``retryable`` and ``non_retryable`` are names of error types; ``retryable=None`` is all.
    """

    attempts: int = 3
    delay: int = 1_000
    backoff: Backoff = "exponential"
    factor: float = 2.0
    max_delay: int = 60_000
    jitter: bool = False
    retryable: tuple[str, ...] | None = None
    non_retryable: tuple[str, ...] = ()
    on_worker_lost: Literal["retry", "fail"] = "retry"

    def again(self, attempt: int, failure: Failure) -> bool:
        """Whether another attempt follows ``attempt`` (from 1), which ended in ``failure``."""
        if attempt >= self.attempts or failure.matches(self.non_retryable):
            return False
        if self.retryable is not None:
            return failure.matches(self.retryable)
        return failure.type not in NEVER_RETRIED

    def wait(self, attempt: int, chance: float) -> int:
        """Milliseconds between the end of ``attempt`` (from 1) and the next.

        ``chance`` in [0, 1) is the runtime's random number, used with ``jitter`` (full jitter: from 0 to the
        whole delay). The runtime records the resulting moment, so that chance is asked only once.
        """
        growth = {"constant": 1.0, "linear": float(attempt), "exponential": self._power(attempt - 1)}[
            self.backoff
        ]
        delay = min(self.delay * growth, float(self.max_delay))
        return int(delay * chance) if self.jitter else int(delay)

    def _power(self, exponent: int) -> float:
        try:
            return self.factor**exponent
        except OverflowError:
            return float("inf")  # max_delay bounds it


ONCE = RetryPolicy(attempts=1)
"""``retry: false``, and what a step has when nobody says anything."""

COMPENSATION = RetryPolicy(attempts=10)
"""What a compensation has when nobody says anything: an undo is worth insisting on."""
