"""The table of states."""

from __future__ import annotations

import pytest

from flowctl.state import (
    CLOSED,
    COMMANDS,
    DO,
    ENDED,
    EXIT_CODES,
    LIVE,
    NO_OP,
    OPEN,
    REOPENED,
    RUN_TRANSITIONS,
    RunStatus,
    acts_on,
    may_follow,
)
from tests import command_table


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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_word_for_every_state(command: str) -> None:
    assert set(COMMANDS[command]) == set(RunStatus)
    assert set(COMMANDS[command].values()) <= {DO, NO_OP, CLOSED, OPEN}


def test_an_ended_run_is_left_as_it_ended_but_by_retry() -> None:
    changing = {command for command in COMMANDS for ended in ENDED if COMMANDS[command][ended] == DO} - {
        "replay"
    }  # makes a run of its own
    assert changing == {"retry"}
    assert acts_on("retry") & ENDED == {RunStatus.FAILED, RunStatus.COMPENSATION_FAILED}


def test_what_retry_reopens_is_what_it_may_be_used_on() -> None:
    assert set(REOPENED) == acts_on("retry") & ENDED
    assert all(statuses <= LIVE for statuses in REOPENED.values())


def test_what_refuses_says_what_is_true_of_the_run() -> None:
    for reactions in COMMANDS.values():
        for status, reaction in reactions.items():
            assert reaction != CLOSED or status in ENDED
            assert reaction != OPEN or status in LIVE


def test_the_table_of_commands_in_the_documentation_is_current() -> None:
    assert command_table.written(command_table.PAGE.read_text(encoding="utf-8")) == command_table.table()
