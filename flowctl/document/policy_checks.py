"""Limits and retries: none of no time at all, none longer than the run, none without an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.clock import format_duration
from flowctl.document.places import Pointer
from flowctl.document.subject import Subject, duration
from flowctl.retry import RetryPolicy

_COUNTED = 1_000
"""Waits that are added up one by one."""

_LIMITS = ("timeout", "total_timeout", "heartbeat_timeout")


def check_policy(
    subject: Subject, holder: Mapping[str, Any], pointer: Pointer, name: str, *, bounded: bool = True
) -> None:
    """The durations and the retry of a step, an entry or the defaults. ``bounded``: they end with the run."""
    report = subject.report
    for key in _LIMITS:
        limit = duration(holder.get(key))
        if limit == 0 and "wait_for_signal" not in holder:  # which then takes what is there already
            report.error("BadValue", (*pointer, key), f"'{key}' of {name} is no time at all")
        elif bounded:
            check_within_life(subject, limit, (*pointer, key), f"'{key}' of {name}")
    beat, attempt = duration(holder.get("heartbeat_timeout")), duration(holder.get("timeout"))
    if beat is not None and attempt is not None and beat >= attempt:
        message = f"'heartbeat_timeout' of {name} does nothing: its 'timeout' comes first"
        report.warning("NoEffect", (*pointer, "heartbeat_timeout"), message, key=True)
    retry = holder.get("retry")
    if isinstance(retry, dict):
        _check_retry(subject, retry, (*pointer, "retry"), name)
        if bounded:
            _check_patience(subject, retry, (*pointer, "retry"), name)


def _check_patience(subject: Subject, retry: Mapping[str, Any], pointer: Pointer, name: str) -> None:
    """The waits between all attempts together are not longer than the run can be."""
    policy = _readable(retry)
    if policy is None or policy.jitter:
        return  # with jitter, it may wait for no time at all
    counted = min(policy.attempts - 1, _COUNTED)
    waits = sum(policy.wait(attempt, 1.0) for attempt in range(1, counted + 1))
    waits += (policy.attempts - 1 - counted) * policy.wait(_COUNTED, 1.0)  # they never get shorter
    if waits > subject.life:
        message = f"the last attempts of {name} come after the run's timeout"
        hint = f"the waits between {policy.attempts:,} attempts take {format_duration(waits)}"
        subject.report.warning("TooLong", pointer, message, hint=hint, key=True)


def _readable(retry: Mapping[str, Any]) -> RetryPolicy | None:
    """The policy that is written, as far as it says how long to wait; None if it is not one."""
    plain = RetryPolicy()
    delay = duration(retry["delay"]) if "delay" in retry else plain.delay
    most = duration(retry["max_delay"]) if "max_delay" in retry else plain.max_delay
    attempts, factor = retry.get("attempts", plain.attempts), retry.get("factor", plain.factor)
    backoff = retry.get("backoff", plain.backoff)
    if delay is None or most is None or backoff not in ("constant", "linear", "exponential"):
        return None
    if type(attempts) is not int or type(factor) not in (int, float) or attempts < 1 or factor < 1:
        return None
    return RetryPolicy(attempts, delay, backoff, factor, most, retry.get("jitter") is True)


def _check_retry(subject: Subject, retry: Mapping[str, Any], pointer: Pointer, name: str) -> None:
    delay, most = duration(retry.get("delay")), duration(retry.get("max_delay"))
    longest = most if most is not None else RetryPolicy().max_delay
    if delay is not None and delay > longest:
        message = f"{name} waits {format_duration(longest)}, its 'max_delay', and not its longer 'delay'"
        hint = "write 'max_delay' too" if most is None else None
        subject.report.warning("NoEffect", (*pointer, "delay"), message, hint=hint, key=True)
    if "factor" in retry and retry.get("backoff", "exponential") != "exponential":
        message = f"'factor' does nothing in {name}: its 'backoff' is not exponential"
        subject.report.warning("NoEffect", (*pointer, "factor"), message, key=True)


def check_within_life(subject: Subject, limit: int | None, pointer: Pointer, what: str) -> None:
    """A duration that ends with the run is not longer than the run can be."""
    if limit is not None and limit > subject.life:
        life = format_duration(subject.life)
        hint = "" if "timeout" in subject.data else ", the default; set 'timeout' at the top of the document"
        message = f"{what} is longer than the run's timeout"
        subject.report.error("TooLong", pointer, message, hint=f"a run lives {life} at most{hint}")
