"""Branches that run at once: who decides, who is called off, and the same again after the world ended."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowctl.errors import StepFailed
from flowctl.journal import Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.machine import Machine
from flowctl.model import Workflow
from flowctl.path import ROOT, Path
from flowctl.retry import ONCE
from flowctl.runtime import Call, End, Runtime, Thunk
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.state import RunStatus
from flowctl.testing.script import ScriptedActivities

Body = Callable[[Runtime], Awaitable[Any]]

QUICK, SLOW, FAILS, FAILS_LATE = "t.quick", "t.slow", "t.fails", "t.fails_late"
SCRIPT = {
    QUICK: {"after": "1s", "return": "quick"},
    SLOW: {"after": "5s", "return": "slow"},
    FAILS: {"after": "2s", "raise": "Boom"},
    FAILS_LATE: {"after": "3s", "raise": "Late"},
}


class WorldEnds(Exception):
    """The process dies."""


def branch(rt: Runtime, name: str, path: str) -> Thunk:
    """A thunk that calls one activity."""

    async def call() -> Any:
        made = Call(name, b"{}", {}, f"k/{path}", "digest", 60_000, None, None, ONCE)
        return (await rt.activity(Path(path), made)).value

    return call


def thunks(rt: Runtime, *names: str) -> list[Thunk]:
    """One branch for each name, at the paths b0, b1, …"""
    return [branch(rt, name, f"b{index}") for index, name in enumerate(names)]


def play(body: Body, die_after: int | None = None) -> tuple[Any, list[str], int]:
    """What ``body`` returned or failed with, the calls that were made, and the milliseconds it took.

    With ``die_after`` the world ends after that many commits, once, and another worker takes over.
    """
    store, script, commits = MemoryStore(), ScriptedActivities(SCRIPT), itertools.count(1)
    MemoryJournal(store).create(Run("r", "r", "w", 1, "sha256:x", {}, 0, 10**9))

    async def interpret(machine: Machine) -> End:
        try:
            output = await body(machine)
        except StepFailed as failed:
            output = failed.failure.to_json()
        return End(RunStatus.COMPLETED, output, None, {})

    def after_commit(_: object) -> None:
        if next(commits) == die_after:
            raise WorldEnds

    now = 0
    while True:
        journal = MemoryJournal(store)
        kin = Kin(journal, _no_document, clock=lambda: 0)
        runtime = VirtualRuntime(journal, script, start=now, kin=kin, after_commit=after_commit)
        run = journal.claim("r")
        assert run is not None
        try:
            if run.status != "completed":
                runtime.add(run, interpret)
                runtime.run_until_idle()
        except WorldEnds:
            journal.kill()
            now = runtime.now()
            continue
        assert run.status == "completed"
        calls = list(dict.fromkeys(asked.path for asked in script.ledger))
        return run.output, calls, (run.completed_at or 0)


def _no_document(digest: str) -> Workflow:
    raise AssertionError("these runs have no children")


async def _all(rt: Runtime) -> Any:
    return [end.value for end in await rt.all(ROOT, thunks(rt, SLOW, QUICK))]


async def _all_fails(rt: Runtime) -> Any:
    return await rt.all(ROOT, thunks(rt, SLOW, FAILS_LATE, FAILS))


async def _settled(rt: Runtime) -> Any:
    ends = await rt.all(ROOT, thunks(rt, QUICK, FAILS, SLOW), mode="settled")
    return [end.value if end.failure is None else end.failure.type for end in ends]


async def _limited(rt: Runtime) -> Any:
    return [end.value for end in await rt.all(ROOT, thunks(rt, SLOW, QUICK, QUICK), limit=1)]


async def _first(rt: Runtime) -> Any:
    return list(await rt.first(ROOT, thunks(rt, SLOW, FAILS, QUICK)))


async def _none_wins(rt: Runtime) -> Any:
    return await rt.first(ROOT, thunks(rt, FAILS_LATE, FAILS))


def test_results_come_in_the_order_of_the_branches_whoever_was_first() -> None:
    assert play(_all) == (["slow", "quick"], ["b0", "b1"], 5_000)


def test_the_first_failure_calls_the_others_off_and_is_raised() -> None:
    output, calls, took = play(_all_fails)
    assert (output["type"], output["step"], calls, took) == ("Boom", "b2", ["b0", "b1", "b2"], 2_000)


def test_settled_waits_for_all_and_fails_for_none() -> None:
    assert play(_settled) == (["quick", "Boom", "slow"], ["b0", "b1", "b2"], 5_000)


def test_no_more_branches_run_together_than_the_limit_says() -> None:
    assert play(_limited) == (["slow", "quick", "quick"], ["b0", "b1", "b2"], 7_000)


def test_the_first_success_wins_and_the_others_are_called_off() -> None:
    assert play(_first) == ([2, "quick"], ["b0", "b1", "b2"], 1_000)


def test_if_all_branches_fail_their_errors_are_listed_in_order() -> None:
    output, _, took = play(_none_wins)
    assert (output["type"], [error["type"] for error in output["details"]], took) == (
        "BranchesFailed",
        ["Late", "Boom"],
        3_000,
    )


@pytest.mark.parametrize("body", [_all, _all_fails, _settled, _limited, _first, _none_wins])
@pytest.mark.parametrize("commit", range(1, 6))
def test_a_decision_stands_after_the_world_ended(body: Body, commit: int) -> None:
    undisturbed, calls, _ = play(body)
    output, made, _ = play(body, die_after=commit)
    assert (output, made) == (undisturbed, calls)
