"""Limits and retries as a document writes them, as a ``Policy``: durations become milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.model import Policy
from flowctl.retry import ONCE, RetryPolicy


def policy_of(holder: Mapping[str, Any]) -> Policy:
    """What a step, an entry, a compensation or the defaults say about attempts."""
    written = holder.get("retry")
    return Policy(
        timeout=limit_of(holder, "timeout"),
        total_timeout=limit_of(holder, "total_timeout"),
        heartbeat_timeout=limit_of(holder, "heartbeat_timeout"),
        retry=_retry(written) if written is not None else None,
    )


def limit_of(holder: Mapping[str, Any], key: str) -> int | None:
    """The milliseconds of a duration, if it is written."""
    return parse_duration(holder[key]) if key in holder else None


def _retry(written: Mapping[str, Any] | bool) -> RetryPolicy:
    if not isinstance(written, dict):
        return ONCE
    return RetryPolicy(**{key: _RETRY.get(key, _as_is)(value) for key, value in written.items()})


def _as_is(value: Any) -> Any:
    return value


_RETRY: Mapping[str, Callable[[Any], Any]] = {
    "attempts": int,
    "delay": parse_duration,
    "factor": float,
    "max_delay": parse_duration,
    "retryable": tuple,
    "non_retryable": tuple,
}
