"""Backoff is arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl.errors import Failure
from flowctl.retry import RetryPolicy


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({}, [1000, 2000, 4000, 8000]),
        ({"backoff": "linear"}, [1000, 2000, 3000, 4000]),
        ({"backoff": "constant"}, [1000, 1000, 1000, 1000]),
        ({"factor": 10.0, "max_delay": 5000}, [1000, 5000, 5000, 5000]),
        ({"delay": 0}, [0, 0, 0, 0]),
    ],
)
def test_the_delays_of_each_backoff(options: dict[str, Any], waits: list[int]) -> None:
    policy = RetryPolicy(**options)
    assert [policy.wait(attempt, 0.5) for attempt in (1, 2, 3, 4)] == waits


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True), st.floats(1, 1000))
def test_no_delay_is_longer_than_the_longest(attempt: int, chance: float, factor: float) -> None:
    policy = RetryPolicy(factor=factor, max_delay=60_000, jitter=True)
    assert 0 <= policy.wait(attempt, chance) <= 60_000


def test_jitter_is_the_whole_delay_times_chance() -> None:
    assert RetryPolicy(jitter=True).wait(2, 0.25) == 500


def test_attempts_count_tries_the_first_included() -> None:
    policy, failure = RetryPolicy(attempts=3), Failure("X", "")
    assert [policy.again(attempt, failure) for attempt in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("options", "types", "again"),
    [
        ({}, ("X",), True),
        ({"non_retryable": ("Base",)}, ("X", "Base"), False),
        ({"non_retryable": ("*",)}, ("X",), False),
        ({"retryable": ("Flaky",)}, ("X",), False),
        ({"retryable": ("Flaky",)}, ("X", "Flaky"), True),
        ({"retryable": ("Flaky",), "non_retryable": ("X",)}, ("X", "Flaky"), False),
        ({}, ("InvalidInput",), False),
        ({"retryable": ("InvalidInput",)}, ("InvalidInput",), True),
    ],
)
def test_errors_are_matched_by_any_of_their_types(
    options: dict[str, Any], types: tuple[str, ...], again: bool
) -> None:
    assert RetryPolicy(**options).again(1, Failure(types[0], "", types)) is again
