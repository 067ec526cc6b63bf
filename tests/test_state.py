"""The table of states."""

from __future__ import annotations

import pytest

from flowctl.state import ENDED, EXIT_CODES, LIVE, RUN_TRANSITIONS, RunStatus, may_follow


def test_every_state_is_live_or_ended_and_has_a_row_and_an_exit_code() -> None:
    assert set(RunStatus) == LIVE | ENDED
    assert not LIVE & ENDED
    assert set(RUN_TRANSITIONS) == set(RunStatus) == set(EXIT_CODES)


@pytest.mark.parametrize("ended", sorted(ENDED))
def test_nothing_follows_an_ended_state(ended: RunStatus) -> None:
    assert not any(may_follow(ended, after) for after in set(RunStatus) - {ended})


def test_a_compensating_run_does_not_go_back_to_running() -> None:
    assert not may_follow(RunStatus.COMPENSATING, RunStatus.RUNNING)
    assert not may_follow(RunStatus.COMPENSATING, RunStatus.COMPLETED)


def test_every_live_state_can_end() -> None:
    for status in LIVE:
        assert RUN_TRANSITIONS[status] & ENDED
