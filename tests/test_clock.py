from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl.clock import MAX_DURATION, format_duration, format_timestamp, parse_duration, parse_timestamp

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("30s", 30 * SECOND),
        ("5m", 300 * SECOND),
        ("1h30m", HOUR + HOUR // 2),
        ("7d", 7 * DAY),
        ("1.5h", HOUR + HOUR // 2),
        ("0.1s", 100),
        ("0s", 0),
        (" 5s ", 5 * SECOND),
        ("PT1H", HOUR),
        ("P1DT2H", DAY + 2 * HOUR),
        ("P2W", 14 * DAY),
        ("PT0.5S", 500),
    ],
)
def test_a_duration_is_read(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5", "no unit"),
        ("1.5", "no unit"),
        ("", "not a duration"),
        ("P", "not a duration"),
        ("PT", "not a duration"),
        ("P1DT", "not a duration"),
        ("P1Y", "not a duration"),
        ("-1s", "not a duration"),
        ("30m1h", "not a duration"),
        ("1h30", "not a duration"),
        ("٣s", "not a duration"),
        ("0.0001s", "finer than a millisecond"),
        ("40000d", "longer than a hundred years"),
        ("9" * 10_000, "not a duration|no unit"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_duration(text)


@given(st.integers(0, MAX_DURATION))
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_a_negative_duration_is_not_written() -> None:
    with pytest.raises(ValueError, match="never negative"):
        format_duration(-1)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-11-21T07:08:25.123Z", "2026-11-21T07:08:25.123Z"),
        ("2026-11-21T07:08:25Z", "2026-11-21T07:08:25.000Z"),
        ("2026-11-21t07:08:25z", "2026-11-21T07:08:25.000Z"),
        ("2026-11-21 07:08:25+02:00", "2026-11-21T05:08:25.000Z"),
        ("2026-11-21T07:08:25-00:30", "2026-11-21T07:38:25.000Z"),
        ("2026-11-21T07:08:25.1Z", "2026-11-21T07:08:25.100Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_timestamp_is_read(text: str, canonical: str) -> None:
    assert format_timestamp(parse_timestamp(text)) == canonical


def test_a_fraction_finer_than_a_millisecond_is_rounded_up_because_timers_are_never_early() -> None:
    assert parse_timestamp("1970-01-01T00:00:00.0000001Z") == 1


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21T07:08:25", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "x" * 10_000],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a timestamp"):
        parse_timestamp(text)


@given(st.datetimes())
def test_a_written_timestamp_reads_back(moment: object) -> None:
    milliseconds = parse_timestamp(f"{moment!s:.19}Z")
    assert parse_timestamp(format_timestamp(milliseconds)) == milliseconds


@pytest.mark.parametrize("milliseconds", [10**18, -(10**18)])
def test_an_instant_outside_the_calendar_is_refused(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        format_timestamp(milliseconds)
