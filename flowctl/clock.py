"""Durations and instants as text: the one place that reads and writes them.

Inside flowctl both are whole milliseconds (``int``): a duration, or the time since 1970-01-01T00:00:00Z.
Outside they are text. A duration is ``250ms``, ``30s``, ``5m``, ``1h30m``, ``7d`` or ISO 8601 (``PT1H30M``);
a bare number is refused, because nobody knows its unit. Years and months are refused too: their length
depends on when they start. An instant is an RFC 3339 timestamp; flowctl writes it in UTC with milliseconds.

This module reads no clock: what the time *is* comes from a runtime, so that it can be recorded and simulated.
Its errors are ``ValueError`` with a sentence for people; the caller knows which document or option was meant.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

UNITS: dict[str, int] = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Milliseconds in each unit, longest first: the order in which they must be written."""

MAX_DURATION = 36_525 * UNITS["d"]
"""A hundred years. Longer is a slip of the pen, and would leave the calendar when added to an instant."""

_NUMBER = r"(\d{1,18}(?:\.\d{1,9})?)"
_SHORT = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in UNITS), re.ASCII)
_ISO = re.compile(
    rf"P(?:{_NUMBER}W|(?:{_NUMBER}D)?(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?)", re.ASCII
)
_ISO_UNITS = (7 * UNITS["d"], UNITS["d"], UNITS["h"], UNITS["m"], UNITS["s"])
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)


def parse_duration(text: str) -> int:
    """Milliseconds of ``1h30m`` or ``PT1H30M``. ValueError says what is wrong with the text."""
    text = text.strip()
    for pattern, units in ((_SHORT, tuple(UNITS.values())), (_ISO, _ISO_UNITS)):
        match = pattern.fullmatch(text)
        if match and match.lastindex:
            total = sum(
                _scaled(number, unit) for number, unit in zip(match.groups(), units, strict=True) if number
            )
            if total > MAX_DURATION:
                raise ValueError(f"the duration {text!r} is longer than a hundred years")
            return total
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(
            f"the duration {text!r} has no unit; write {text}s for seconds or {text}ms for milliseconds"
        )
    shown = text if len(text) <= 40 else text[:39] + "…"
    raise ValueError(f"{shown!r} is not a duration; write for example 250ms, 30s, 5m, 1h30m, 7d or PT1H")


def _scaled(number: str, unit: int) -> int:
    """``number`` units in milliseconds, exactly: no float, so that ``0.1s`` is 100 on every machine."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    parts, rest = divmod(int(fraction or "0") * unit, scale)
    if rest:
        raise ValueError(f"a duration of {number} is finer than a millisecond")
    return int(whole) * unit + parts


def format_duration(milliseconds: int) -> str:
    """The shortest text that ``parse_duration`` reads back: ``1h30m``, ``1s500ms``, ``0s``."""
    if milliseconds < 0:
        raise ValueError("a duration is never negative")
    text = ""
    for unit, size in UNITS.items():
        count, milliseconds = divmod(milliseconds, size)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def parse_timestamp(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 timestamp with its offset; ValueError otherwise.

    A fraction finer than a millisecond is rounded up, because a timer may be late but never early.
    """
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        shown = text if len(text) <= 40 else text[:39] + "…"
        raise ValueError(f"{shown!r} is not a timestamp; write for example 2030-01-31T08:00:00Z")
    *fields, fraction, sign, hours, minutes = match.groups()
    try:
        instant = datetime(*(int(field) for field in fields))  # type: ignore[arg-type]  # six fields
    except ValueError as error:
        raise ValueError(f"{text!r} is not a timestamp: {error}") from None
    milliseconds = (instant - _EPOCH) // _MILLISECOND + -(-int((fraction or "0").ljust(9, "0")) // 1_000_000)
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise ValueError(f"{text!r} is not a timestamp: its offset is not a time of day")
        offset = (int(hours) * 60 + int(minutes)) * UNITS["m"]
        milliseconds += -offset if sign == "+" else offset
    return milliseconds


def format_timestamp(milliseconds: int) -> str:
    """RFC 3339 in UTC: ``2026-11-21T07:08:25.123Z``. ValueError outside the years 1 to 9999."""
    return f"{instant(milliseconds).isoformat(timespec='milliseconds')}Z"


def instant(milliseconds: int) -> datetime:
    """The calendar fields of an instant in UTC, as a ``datetime`` without zone; errors as before."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"{milliseconds} milliseconds since 1970 is outside the years 1 to 9999") from None
