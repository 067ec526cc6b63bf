"""What people ask of a run: effective at once, whoever is there. What it comes to, the conformance cases say
(``operations.yaml``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.errors import InvalidInput, RunClosed, RunNotFound, RunOpen
from flowctl.journal import Message, Run
from flowctl.journal.memory import MemoryJournal
from flowctl.runtimes.operations import Operations
from flowctl.status import history_lines, status_document
from flowctl.testing.conformance import Case
from flowctl.testing.events import Event
from flowctl.testing.world import START
from flowctl.testing.world import World as VirtualWorld
from tests.versions_helpers import World, workflow_of

WAITS = workflow_of(
    [{"id": "a", "activity": "t.a"}, {"wait_for_signal": "go"}, {"id": "b", "activity": "t.b"}]
)
FAILS = workflow_of([{"id": "a", "activity": "t.a"}, {"id": "b", "activity": "t.b"}])
HELD = workflow_of([{"id": "a", "activity": "t.a"}, {"id": "b", "activity": "t.b"}], on_failure="hold")
STUCK = workflow_of(
    [
        {"id": "a", "activity": "t.a", "compensate": {"activity": "t.u", "retry": False}},
        {"id": "b", "activity": "t.b"},
    ]
)

Ask = Callable[..., Run]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "case.db")
    yield world
    world.close()


@pytest.fixture
def ask(world: World) -> Ask:
    """Do something to a run from a process of its own."""

    def do(command: str, run_id: str = "r", **more: Any) -> Run:
        engine = world.engine()
        try:
            run: Run = getattr(engine.operations, command)(run_id, **more)
            return run
        finally:
            engine.journal.close()

    return do


def _document(world: World) -> dict[str, Any]:
    engine = world.engine()
    document = status_document(engine.run("r"), engine.journal.entries("r"))
    engine.journal.close()
    return document


# --- of a run that nobody drives


def test_a_run_that_nobody_drives_is_paused_at_once(world: World, ask: Ask) -> None:
    world.start(WAITS)
    assert ask("pause").status == "paused"
    assert world.run().status == "paused"
    assert [waiting["kind"] for waiting in _document(world)["waiting_for"]] == ["signal"]


def test_an_unpaused_run_stands_as_it_did_before(world: World, ask: Ask) -> None:
    world.start(WAITS)
    ask("pause")
    assert ask("unpause").status == "waiting"


def test_a_run_can_be_paused_before_it_has_begun(world: World, ask: Ask) -> None:
    engine = world.engine()
    engine.start(FAILS, "source", {}, id="r")
    engine.journal.close()
    ask("pause")
    assert world.resume().status == "paused"
    assert world.asked == []
    ask("resume")
    assert world.resume().status == "completed"


def test_resume_lifts_a_pause_and_finds_nothing_to_do_without_one(world: World, ask: Ask) -> None:
    world.start(WAITS)
    before = world.facts()
    assert ask("resume").status == "waiting"
    assert world.facts() == before
    ask("pause")
    assert ask("resume").status == "waiting"


def test_a_signal_that_came_before_a_pause_is_not_lost(world: World, ask: Ask) -> None:
    world.start(WAITS)
    world.signal()
    ask("pause")
    assert world.resume().status == "paused"
    ask("unpause")
    assert world.resume().status == "completed"


def test_a_cancellation_that_nobody_acted_on_is_not_undone_by_a_pause(world: World, ask: Ask) -> None:
    world.start(WAITS)
    engine = world.engine()
    engine.cancel("r", "enough")
    engine.journal.close()
    assert ask("pause").status == "paused"
    ask("unpause")
    assert world.resume().status == "cancelled"


def test_a_run_that_nobody_drives_is_terminated_at_once(world: World, ask: Ask) -> None:
    world.start(WAITS)
    assert ask("terminate").status == "terminated"
    document = _document(world)
    assert (document["status"], document["waiting_for"], document["error"]) == ("terminated", [], None)
    assert document["completed_at"] is not None
    assert world.resume().status == "terminated"


def test_children_that_a_run_waits_for_are_terminated_with_it() -> None:
    world = _family([Event(5_000, "terminate", "terminate", True)])
    world.live_on()
    journal = MemoryJournal(world.store)
    statuses = {run.id: run.status for run in journal.list_runs()}
    assert statuses == {"case": "terminated", "case/kid": "terminated", "case/alone": "completed"}


def test_a_detached_child_that_closes_with_its_parent_is_cancelled_when_that_is_terminated() -> None:
    world = _family([Event(5_000, "terminate", "terminate", True)], alone="cancel")
    world.live_on()
    journal = MemoryJournal(world.store)
    [alone] = [run for run in journal.list_runs() if run.id == "case/alone"]
    assert (alone.status, alone.completed_at) == ("cancelled", START + 5_000)
    assert alone.error["message"] == "its parent case was terminated"


def _family(events: list[Event], *, alone: str = "abandon") -> VirtualWorld:
    case = Case.parse(
        {
            "case": "a family",
            "workflow": {
                "steps": [
                    {"id": "alone", "workflow": "kid", "detached": True, "on_parent_close": alone},
                    {"id": "kid", "workflow": "kid"},
                ]
            },
            "children": {"kid": {"steps": [{"sleep": "1h"}]}},
            "expect": {},
        }
    )
    return VirtualWorld(dataclasses.replace(case, events=tuple(events)), case.script(), run_id="case")


# --- retry


def test_a_retry_is_a_generation_of_its_own(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom", "until": "10s"})
    assert world.start(FAILS).status == "failed"
    world.later(20)
    reopened = ask("retry", principal="ada")
    assert (reopened.status, reopened.generation, reopened.error) == ("running", 1, None)
    assert world.resume().status == "completed"
    document = _document(world)
    assert (document["attempt"], document["error"]) == (2, None)
    assert [(step["path"], step["status"], step["attempt"]) for step in document["steps"]] == [
        ("a", "completed", 1),
        ("b", "completed", 1),
    ]
    assert [path for path, _ in world.asked] == ["a"]


def test_the_history_tells_of_a_retry(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom", "until": "10s"})
    world.start(FAILS)
    world.later(20)
    ask("retry", principal="ada")
    world.resume()
    engine = world.engine()
    lines = [
        (line["path"], line["kind"], line.get("generation", 0))
        for line in history_lines(engine.run("r"), engine.journal.entries("r"))
    ]
    engine.journal.close()
    assert lines[lines.index(("", "ended", 0)) :] == [
        ("", "ended", 0),
        ("", "reopened", 1),
        ("b", "started", 1),
        ("b", "completed", 1),
        ("", "ended", 1),
    ]


def test_a_reopened_run_takes_signals_again_and_is_what_it_was_to_its_journal(world: World, ask: Ask) -> None:
    workflow = workflow_of([{"id": "b", "activity": "t.b"}, {"wait_for_signal": "go"}])
    world.scripted(b={"raise": "Boom", "until": "10s"})
    world.start(workflow)
    world.later(20)
    ask("retry")
    world.signal()
    assert world.resume().status == "completed"
    assert world.run().head  # ``run`` verifies the chain


def test_a_run_that_two_people_retry_is_retried_once(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom"})
    world.start(HELD)
    ask("retry")
    with pytest.raises(RunOpen):
        ask("retry")
    assert world.resume().generation == 1


def test_a_request_to_retry_counts_for_its_generation_alone(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom"})
    world.start(HELD)
    engine = world.engine()
    for _ in range(2):
        engine.journal.deliver(Message("r", "retry", "retry", {"generation": 0}, START))
    engine.journal.close()
    run = world.resume()
    assert (run.status, run.generation) == ("paused", 1)
    assert world.resume().generation == 1


def test_a_retry_waits_until_nothing_is_in_flight() -> None:
    case = Case.parse(
        {
            "case": "one branch is held, another one works",
            "workflow": {
                "steps": [
                    {
                        "id": "both",
                        "parallel": {
                            "left": [{"id": "a", "activity": "t.a", "on_failure": "hold"}],
                            "right": [{"id": "b", "activity": "t.b"}, {"id": "c", "activity": "t.c"}],
                        },
                    }
                ]
            },
            "activities": {"t.a": {"raise": "Boom", "until": "5s"}, "t.b": {"after": "30s"}},
            "events": [{"at": "10s", "retry": True}],
            "expect": {},
        }
    )
    script = case.script()
    world = _Busy(case, script, run_id="case")
    world.live_on()
    assert (world.run().status, world.elapsed) == ("completed", 30_000)
    assert [asked.path for asked in script.ledger] == [
        "both.left.a",
        "both.right.b",
        "both.left.a",
        "both.right.c",
    ]


class _Busy(VirtualWorld):
    """A retry is asked for, although the run was not at rest when somebody looked."""

    def _accept(self, event: Event) -> str:
        journal = MemoryJournal(self.store)
        journal.deliver(Message("case", "retry", "retry", {"generation": 0}, START + event.at))
        return "case"


def test_what_a_person_has_undone_is_skipped(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom"}, u={"raise": "Down"})
    assert world.start(STUCK).status == "compensation_failed"
    assert ask("retry", skip=["a"]).status == "compensating"
    run = world.resume()
    assert (run.status, run.saga["skipped"], run.saga["failed"]) == ("compensated", ["a"], [])


# --- what is refused


def test_only_what_was_not_undone_can_be_skipped(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom"}, u={"raise": "Down"})
    world.start(STUCK)
    with pytest.raises(InvalidInput, match="a"):
        ask("retry", skip=["b"])
    assert world.run().status == "compensation_failed"


def test_a_run_that_goes_on_is_not_retried(world: World, ask: Ask) -> None:
    world.start(WAITS)
    with pytest.raises(RunOpen):
        ask("retry")
    ask("pause")
    with pytest.raises(RunOpen):
        ask("retry")


@pytest.mark.parametrize("command", ["pause", "unpause", "terminate", "retry"])
def test_a_run_that_has_ended_well_is_left_as_it_is(world: World, ask: Ask, command: str) -> None:
    world.start(FAILS)
    before = world.facts()
    with pytest.raises(RunClosed):
        ask(command)
    assert world.facts() == before


@pytest.mark.parametrize("command", ["pause", "unpause", "resume", "terminate", "retry"])
def test_a_run_that_is_not_there_is_not_found(world: World, ask: Ask, command: str) -> None:
    with pytest.raises(RunNotFound):
        ask(command, "r-9")


def test_a_held_run_that_is_unpaused_stays_held(world: World, ask: Ask) -> None:
    world.scripted(b={"raise": "Boom"})
    world.start(HELD)
    assert ask("unpause").status == "paused"
    assert world.resume().status == "paused"
    assert _document(world)["error"]["step"] == "b"


def test_pausing_twice_records_it_once(world: World, ask: Ask) -> None:
    world.start(WAITS)
    ask("pause")
    before = world.facts()
    assert ask("pause").status == "paused"
    assert world.facts() == before


def test_a_run_that_somebody_drives_is_asked_by_message() -> None:
    """Nothing is done behind the back of whoever has the run."""
    world = _family([])
    driver = MemoryJournal(world.store)
    assert driver.claim("case") is not None
    outside = MemoryJournal(world.store)
    Operations(outside, lambda: START).pause("case")
    assert [message.kind for message in outside.inbox("case")] == ["pause"]
    assert outside.entries("case") == []
    run = outside.run("case")
    assert run is not None
    assert run.status == "created"
