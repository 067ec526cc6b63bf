"""Migrating a live run: it goes on with the new document wherever it was, or is refused and left alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import moment
from flowctl.backends.export import export
from flowctl.document.closure import Closure
from flowctl.errors import DoesNotFit, RunBusy, RunClosed, UnknownActivity
from flowctl.journal.opening import connect
from tests.versions_helpers import HALF_A_DAY, World, workflow_of

Steps = list[dict[str, Any]]

DAY = 86_400
"""In seconds."""


def act(id: str, value: Any, **more: Any) -> dict[str, Any]:
    """A step that echoes a value."""
    return {"id": id, "activity": "t.e", "with": {"value": value}, **more}


def body(early: Any, late: Any) -> Steps:
    """Steps that are interrupted in the middle."""
    return [act("early", early), {"id": "w", "wait_for_signal": "go"}, act("late", late)]


FAIL = {"fail": {"type": "Boom"}}

CONSTRUCTS: dict[str, tuple[Callable[[Steps], Steps], str, str]] = {
    "a list": (lambda inner: inner, "", "completed"),
    "a block": (lambda inner: [{"id": "x", "steps": inner}], "x", "completed"),
    "a block with a timeout": (
        lambda inner: [{"id": "x", "steps": inner, "timeout": "20h"}],
        "x",
        "completed",
    ),
    "a case": (
        lambda inner: [{"id": "x", "switch": [{"if": "false", "steps": [FAIL]}, {"else": inner}]}],
        "x.else",
        "completed",
    ),
    "a branch": (
        lambda inner: [{"id": "x", "parallel": {"left": [act("other", 0)], "right": inner}}],
        "x.right",
        "completed",
    ),
    "a branch of a race": (
        lambda inner: [
            {"id": "x", "wait": "any", "parallel": {"left": [{"wait_for_signal": "never"}], "right": inner}}
        ],
        "x.right",
        "completed",
    ),
    "a branch whose neighbour has failed": (
        lambda inner: [{"id": "x", "wait": "settled", "parallel": {"left": [FAIL], "right": inner}}],
        "x.right",
        "completed",
    ),
    "an iteration": (
        lambda inner: [{"id": "x", "foreach": "[7]", "steps": inner}],
        "x[0]",
        "completed",
    ),
    "an iteration among others at once": (
        lambda inner: [
            {
                "id": "x",
                "foreach": "range(3)",
                "concurrency": 2,
                "steps": [{"id": "only", "if": "item == 1", "steps": inner}],
            }
        ],
        "x[1].only",
        "completed",
    ),
    "an iteration of while": (
        lambda inner: [{"id": "x", "while": "loop.index < 1", "steps": inner}],
        "x[0]",
        "completed",
    ),
    "an iteration of until": (
        lambda inner: [{"id": "x", "until": "true", "steps": inner}],
        "x[0]",
        "completed",
    ),
    "a try": (lambda inner: [{"id": "x", "try": inner, "finally": [act("f", 0)]}], "x.try", "completed"),
    "a catch": (
        lambda inner: [{"id": "x", "try": [FAIL], "catch": {"steps": inner}}],
        "x.catch_1",
        "completed",
    ),
    "a catch after a rollback": (
        lambda inner: [
            {
                "id": "x",
                "try": [act("u", 0, compensate={"activity": "t.u"}), FAIL],
                "catch": {"rollback": True, "steps": inner},
            }
        ],
        "x.catch_1",
        "completed",
    ),
    "a finally": (
        lambda inner: [{"id": "x", "try": [act("t", 0)], "finally": inner}],
        "x.finally",
        "completed",
    ),
    "a finally after a failure": (
        lambda inner: [{"id": "x", "try": [FAIL], "finally": inner}],
        "x.finally",
        "failed",
    ),
    "a compensation": (
        lambda inner: [act("x", 0, compensate={"steps": inner}), FAIL],
        "x.undo",
        "compensated",
    ),
    "a rollback": (
        lambda inner: [act("x", 0, compensate={"steps": inner}), {"id": "back", "rollback": "all"}],
        "x.undo",
        "completed",
    ),
    "all of these in each other": (
        lambda inner: [
            {
                "id": "x",
                "parallel": {
                    "left": [{"sleep": "1s"}],
                    "right": [
                        {
                            "id": "each",
                            "foreach": "range(2)",
                            "steps": [
                                {
                                    "id": "guard",
                                    "try": [{"if": "item == 1", "fail": {"type": "Boom"}}],
                                    "catch": {"steps": [{"id": "block", "steps": inner}]},
                                }
                            ],
                        }
                    ],
                },
            }
        ],
        "x.right.each[1].guard.catch_1.block",
        "completed",
    ),
}
"""What is around the steps, the path of that, and how the run ends."""

constructs = pytest.mark.parametrize(("around", "path", "status"), CONSTRUCTS.values(), ids=CONSTRUCTS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(World(tmp_path / "flow.db")) as world:
        yield world


@constructs
def test_a_run_interrupted_anywhere_and_migrated_finishes_on_the_new_document(
    around: Callable[[Steps], Steps], path: str, status: str, world: World
) -> None:
    early, late = (f"{path}.{step}".lstrip(".") for step in ("early", "late"))
    assert world.start(workflow_of([act("first", 0), *around(body(1, 2))])).status not in (
        "completed",
        "failed",
    )
    moved = world.migrate(workflow_of([act("first", 0), *around([*body(1, 3), act("more", 4)])], version=2))
    assert (moved.version, moved.session) == (2, None)
    world.signal()
    assert world.resume().status == status
    assert world.asked.count((early, 1)) == 1
    assert [asked for asked in world.asked if asked[0] == late] == [(late, 3)]
    assert world.asked.count((late.removesuffix("late") + "more", 4)) == 1
    assert world.run().version == 2


@constructs
def test_a_document_that_does_not_fit_is_refused_with_the_path_and_the_reason(
    around: Callable[[Steps], Steps], path: str, status: str, world: World
) -> None:
    early, new = (f"{path}.{step}".lstrip(".") for step in ("early", "new"))
    before = workflow_of([act("first", 0), *around(body(1, 2))])
    world.start(before)
    waiting = world.run()
    with pytest.raises(DoesNotFit, match="another call") as refused:
        world.migrate(workflow_of([act("first", 0), *around(body(9, 2))], version=2))
    assert refused.value.details["path"] == early
    with pytest.raises(DoesNotFit, match="is new") as refused:
        world.migrate(workflow_of([act("first", 0), *around([act("new", 0), *body(1, 2)])], version=2))
    assert refused.value.details["path"] == new
    assert refused.value.exit_code == 5
    assert world.run() == waiting
    world.signal()
    assert world.resume().status == status
    assert world.asked.count((f"{path}.late".lstrip("."), 2)) == 1


# --- wherever else a run can be


def test_a_run_that_has_not_begun_takes_any_document(world: World) -> None:
    engine = world.engine()
    engine.start(workflow_of([act("a", 1)]), "", {}, id="r")
    engine.journal.close()
    world.migrate(workflow_of([act("b", 2)]))
    assert (world.resume().status, world.asked) == ("completed", [("b", 2)])


def test_an_attempt_in_flight_is_made_again_and_the_new_document_goes_on(world: World) -> None:
    world.scripted(slow={"after": "2h"})
    slow = {"id": "slow", "activity": "t.slow", "timeout": "5h"}
    engine = world.engine()
    engine.start(workflow_of([slow]), "{}", {}, id="r")

    async def interrupted() -> None:
        driving = asyncio.create_task(engine.drive("r", wait=HALF_A_DAY))
        await asyncio.sleep(60)
        driving.cancel()
        await asyncio.wait([driving])

    world.live(interrupted())
    engine.journal.close()
    world.migrate(workflow_of([slow, act("b", 2)]))
    assert (world.resume().status, world.asked) == ("completed", [("b", 2)])
    assert [asked.attempt for asked in world.script.ledger] == [1, 1]


def test_a_wait_between_attempts_goes_on(world: World) -> None:
    world.scripted(flaky=[{"raise": "Boom"}, {"return": 5}])
    flaky = {"id": "f", "activity": "t.flaky", "retry": {"attempts": 2, "delay": "2d", "max_delay": "2d"}}
    assert world.start(workflow_of([flaky], timeout="9d")).status == "waiting"
    world.migrate(workflow_of([flaky, act("b", "${{ steps.f.output }}")]))
    world.later(2 * DAY)
    assert (world.resume().status, world.asked) == ("completed", [("b", 5)])


def test_a_timer_goes_on_and_the_deadline_stays(world: World) -> None:
    before = world.start(workflow_of([{"id": "s", "sleep": "2d"}], timeout="3d"))
    moved = world.migrate(workflow_of([{"id": "s", "sleep": "1d"}, act("b", 2)], timeout="9d"))
    assert moved.deadline == before.deadline
    world.later(2 * DAY)
    assert (world.resume().status, world.asked) == ("completed", [("b", 2)])


def test_a_held_run_is_mended_and_retried(world: World) -> None:
    world.scripted(bad={"raise": "Boom"})
    held = {"id": "a", "activity": "t.bad", "on_failure": "hold"}
    assert world.start(workflow_of([held])).status == "paused"
    world.migrate(workflow_of([{**held, "optional": False}, act("b", 2)]))
    assert world.run().status == "paused"
    world.scripted(bad={"return": 1})
    engine = world.engine()
    engine.operations.retry("r")
    engine.journal.close()
    assert (world.resume().status, world.asked) == ("completed", [("b", 2)])


def test_a_run_that_is_parked_for_a_missing_activity_goes_on_with_a_document_without_it(world: World) -> None:
    world.scripted(gone={"return": 1})
    steps = [{"id": "w", "wait_for_signal": "go"}, {"id": "g", "activity": "t.gone"}]
    world.start(workflow_of(steps))
    world.scripted()
    world.signal()
    assert world.resume().status == "blocked"
    world.migrate(workflow_of([steps[0], act("g", 2)]))
    assert (world.resume().status, world.asked) == ("completed", [("g", 2)])


def test_a_change_that_the_run_is_bound_to_must_still_be_known(world: World) -> None:
    def steps(least: int) -> Steps:
        return [{"id": "p", "patch": {"id": "c", "min": least, "max": least}}, *body(1, 2)]

    world.start(workflow_of(steps(1)))
    with pytest.raises(DoesNotFit, match="bound to version 1 of the change c") as refused:
        world.migrate(workflow_of(steps(2)))
    assert refused.value.details["path"] == "p"


def test_a_child_and_its_parent_are_migrated_each_by_itself(world: World) -> None:
    def parent(value: int) -> Any:
        return workflow_of([{"id": "c", "workflow": "child"}, act("b", value)])

    def child(value: int) -> Any:
        return workflow_of([{"id": "w", "wait_for_signal": "go"}, act("d", value)], name="child")

    def closure(of: Any) -> Closure:
        pinned = child(1)
        return Closure({pinned.digest: pinned}, {(of.digest, "child"): pinned.digest})

    old, new = parent(1), parent(2)
    assert world.start(old, children=closure(old)).status == "waiting"
    world.migrate(new, children=closure(new))
    world.migrate(child(2), "r/c")
    world.signal("r/c")
    assert world.resume().status == "completed"
    assert world.asked == [("d", 2), ("b", 2)]


def test_children_that_only_the_new_document_has_are_pinned(world: World) -> None:
    child = workflow_of([act("d", 1)], name="child")
    world.start(workflow_of([{"id": "w", "wait_for_signal": "go"}]))
    new = workflow_of([{"id": "w", "wait_for_signal": "go"}, {"id": "c", "workflow": "child"}])
    world.migrate(new, children=Closure({child.digest: child}, {(new.digest, "child"): child.digest}))
    world.signal()
    assert (world.resume().status, world.asked) == ("completed", [("d", 1)])


# --- the command itself


def test_migrating_is_recorded_with_both_documents_and_may_be_repeated(world: World) -> None:
    documents = [workflow_of(body(1, late), version=late) for late in (2, 3, 4)]
    world.start(documents[0])
    for document in documents[1:]:
        world.migrate(document)
    [first, second] = [data for _, kind, data in world.facts() if kind == "migrated"]
    assert [first["from"]["digest"], first["to"]["digest"]] == [each.digest for each in documents[:2]]
    assert [second["from"]["version"], second["to"]["version"]] == [3, 4]
    assert (world.run().version, world.run().digest) == (4, documents[2].digest)
    world.signal()
    world.resume()
    assert world.asked == [("early", 1), ("late", 4)]
    assert world.run().status == "completed"


def test_a_run_that_a_live_process_drives_is_not_migrated(world: World) -> None:
    world.start(workflow_of(body(1, 2)))
    driver = connect(str(world.path))
    assert driver.claim("r") is not None
    with pytest.raises(RunBusy):
        world.migrate(workflow_of(body(1, 3)))
    driver.close()
    assert world.migrate(workflow_of(body(1, 3))).status == "waiting"


def test_a_run_that_has_ended_is_not_migrated(world: World) -> None:
    world.start(workflow_of([act("a", 1)]))
    with pytest.raises(RunClosed):
        world.migrate(workflow_of([act("a", 1), act("b", 2)]))


def test_an_activity_that_nobody_has_is_refused_before_the_run_is_touched(world: World) -> None:
    world.start(workflow_of(body(1, 2)))
    with pytest.raises(UnknownActivity):
        world.migrate(workflow_of([*body(1, 2), {"id": "z", "activity": "t.unknown"}]))
    assert world.run().version == 1


def test_verdicts_are_given_for_every_live_run_of_the_workflow(world: World) -> None:
    engine = world.engine()
    for number in range(3):
        steps = body(1, 2) if number else [act("a", 1)]
        engine.start(workflow_of(steps), "", {}, id=f"r{number}")
    engine.start(workflow_of(body(1, 2), name="another"), "", {}, id="x")
    for run in ("r0", "r1", "r2", "x"):
        world.live(engine.drive(run, wait=0))
    found = [(run.id, misfit) for run, misfit in engine.versions.verdicts(workflow_of(body(1, 9)))]
    assert found == [("r2", None), ("r1", None)]
    assert [
        misfit.path for _, misfit in engine.versions.verdicts(workflow_of([act("other", 1)])) if misfit
    ] == [
        "early",
        "early",
    ]
    engine.journal.close()


def test_a_document_of_another_name_makes_it_a_run_of_that_workflow(world: World) -> None:
    world.start(workflow_of(body(1, 2)))
    assert world.migrate(workflow_of(body(1, 3), name="renamed")).workflow == "renamed"
    engine = world.engine()
    assert [run.id for run in engine.journal.list_runs(workflow="renamed")] == ["r"]
    engine.journal.close()


def test_an_export_has_all_documents_that_the_run_had(world: World) -> None:
    documents = [workflow_of(body(1, late), version=late) for late in (2, 3)]
    world.start(documents[0])
    world.migrate(documents[1])
    engine = world.engine()
    header = next(export(engine.journal, engine.run("r")))
    engine.journal.close()
    assert {each["digest"] for each in header["documents"]} == {each.digest for each in documents}


def test_what_a_run_was_before_it_was_migrated_is_told_with_its_document_of_then(world: World) -> None:
    world.start(workflow_of(body(1, 2), version=2))
    world.migrate(workflow_of(body(1, 3), version=3))
    world.signal()
    world.resume()
    engine = world.engine()
    versions = [
        moment.before(engine.run("r"), engine.journal.entries("r"), path)[0].version for path in ("w", "late")
    ]
    engine.journal.close()
    assert versions == [2, 3]
