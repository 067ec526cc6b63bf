"""Replaying a run from a step on: what came before is served, once and durably, the rest is executed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.closure import Closure
from flowctl.document.loader import load_yaml
from flowctl.errors import Blocked, InvalidInput, NotServed, UsageError
from flowctl.journal import Run
from flowctl.journal.memory import MemoryJournal
from flowctl.machine.repeating import Repetition
from flowctl.path import Path as StepPath
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.status import status_document
from flowctl.testing.conformance import Case
from flowctl.testing.world import START
from tests.versions_helpers import World, workflow_of

CASES = Path(__file__).parent / "conformance" / "cases"

Steps = list[dict[str, Any]]

FAIL = {"fail": {"type": "Boom"}}


def a(id: str, value: Any = 0, **more: Any) -> dict[str, Any]:
    """A step that echoes a value."""
    return {"id": id, "activity": "t.e", "with": {"value": value}, **more}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(World(tmp_path / "flow.db")) as world:
        yield world


def replayed(world: World, start: str, **more: Any) -> list[str]:
    """The steps that a replay of ``r`` executes."""
    world.asked.clear()
    world.replay(start, **more)
    return [path for path, _ in world.asked]


# --- what is served

ABC = [a("a"), a("b", "${{ steps.a.output }}"), a("c", "${{ [steps.a.output, steps.b.output] }}")]
BRANCHES = [
    a("first"),
    {"id": "x", "parallel": {"l": [a("a"), a("b")], "r": [a("c"), a("d")]}},
    a("last"),
]
LOOP = [{"id": "x", "foreach": "range(3)", "steps": [a("a", "${{ item }}"), a("b", "${{ item }}")]}]
GUARD = [
    {"id": "x", "try": [a("a"), FAIL], "catch": {"steps": [a("b")]}, "finally": [a("c")]},
    a("last"),
]

EXECUTED: dict[str, tuple[Steps, str, list[str]]] = {
    "the first step": (ABC, "a", ["a", "b", "c"]),
    "a step in the middle": (ABC, "b", ["b", "c"]),
    "the last step": (ABC, "c", ["c"]),
    "a branch, whose neighbour is served": (BRANCHES, "x.l.b", ["x.l.b", "last"]),
    "a branch as a whole": (BRANCHES, "x.r", ["x.r.c", "x.r.d", "last"]),
    "all branches": (BRANCHES, "x", ["x.l.a", "x.r.c", "x.l.b", "x.r.d", "last"]),
    "what comes after branches": (BRANCHES, "last", ["last"]),
    "an iteration": (LOOP, "x[1]", ["x[1].a", "x[1].b", "x[2].a", "x[2].b"]),
    "a step of an iteration": (LOOP, "x[1].b", ["x[1].b", "x[2].a", "x[2].b"]),
    "a step of an iteration of while": (
        [{"id": "x", "while": "loop.index < 3", "steps": [a("a"), a("b")]}],
        "x[1].b",
        ["x[1].b", "x[2].a", "x[2].b"],
    ),
    "a step of an iteration of until": (
        [{"id": "x", "until": "loop.index == 2", "steps": [a("a"), a("b")]}],
        "x[1].b",
        ["x[1].b", "x[2].a", "x[2].b"],
    ),
    "a step of a try": (GUARD, "x.try.a", ["x.try.a", "x.catch_1.b", "x.finally.c", "last"]),
    "a step of a catch": (GUARD, "x.catch_1.b", ["x.catch_1.b", "x.finally.c", "last"]),
    "a step of a finally": (GUARD, "x.finally.c", ["x.finally.c", "last"]),
    "what comes after a failure that was caught": (GUARD, "last", ["last"]),
    "a step of a case": (
        [{"id": "x", "switch": [{"if": "false", "steps": [FAIL]}, {"else": [a("a"), a("b")]}]}],
        "x.else.b",
        ["x.else.b"],
    ),
    "a step that commits": ([a("a"), a("b", commit=True), a("c")], "c", ["b", "c"]),
    "a step that commits in an iteration": (
        [{"id": "x", "foreach": "range(2)", "steps": [a("a"), a("b", commit=True)]}, a("c")],
        "c",
        ["x[0].b", "x[1].b", "c"],
    ),
    "a step that was skipped": ([a("a"), {**a("b"), "if": "false"}, a("c")], "c", ["c"]),
    "a skipped step itself": ([a("a"), {**a("b"), "if": "false"}, a("c")], "b", ["c"]),
    "a failure that was optional": ([{"id": "f", **FAIL, "optional": True}, a("c")], "c", ["c"]),
    "a race": (
        [
            {
                "id": "x",
                "wait": "any",
                "parallel": {"l": [a("a", compensate={"activity": "t.u"}), {"sleep": "9h"}], "r": [a("b")]},
            },
            a("c"),
        ],
        "c",
        ["c"],
    ),
}


@pytest.mark.parametrize(("steps", "start", "executed"), EXECUTED.values(), ids=EXECUTED)
def test_what_is_before_the_step_is_served_and_the_rest_executed(
    steps: Steps, start: str, executed: list[str], world: World
) -> None:
    before = world.start(workflow_of(steps))
    assert before.status == "completed"
    assert replayed(world, start) == executed
    again = world.engine()
    last = again.journal.last_started()
    again.journal.close()
    assert last is not None
    assert (last.status, last.output) == ("completed", before.output)


def test_served_results_are_facts_of_the_new_run_and_say_so(world: World) -> None:
    world.start(workflow_of(ABC))
    run = world.replay("c")
    served = [(path, kind) for path, kind, data in world.facts(run.id) if data.get("served")]
    assert served == [("a", "started"), ("a", "completed"), ("b", "started"), ("b", "completed")]
    assert world.run(run.id).origin["run"] == "r"


def test_keys_are_the_new_runs(world: World) -> None:
    world.start(workflow_of([a("a", "${{ step.idempotency_key }}"), a("b", "${{ step.idempotency_key }}")]))
    world.asked.clear()
    run = world.replay("b")
    assert world.asked == [("b", f"{run.id}/b")]


def test_waits_are_served_without_waiting_and_timeouts_run_anew(world: World) -> None:
    wait = {"id": "w", "wait_for_signal": "go"}
    steps = [{"id": "x", "timeout": "20h", "steps": [{"id": "s", "sleep": "9h"}, wait, a("a")]}]
    world.start(workflow_of(steps, timeout="9d"))
    world.signal()
    assert world.resume().status == "completed"
    world.later(86_400)
    before = world.loop.milliseconds()
    assert world.replay("x.a").status == "completed"
    assert world.loop.milliseconds() == before


def test_the_version_of_a_change_is_the_one_that_was_bound(world: World) -> None:
    patch = {"id": "p", "patch": {"id": "c", "min": 1, "max": 2}}
    steps = [{"id": "w", "wait_for_signal": "go"}, a("b")]
    world.start(workflow_of(steps))
    world.migrate(workflow_of([patch, *steps, a("c", "${{ steps.p.output }}")]))
    world.signal()
    assert world.resume().status == "completed"
    assert world.asked[-1] == ("c", 1)
    world.replay("c")
    assert world.asked[-1] == ("c", 1)
    anew = world.replay("p")
    world.signal(anew.id)
    world.resume(anew.id)
    assert world.asked[-1] == ("c", 2)


def test_attributes_that_were_set_before_the_step_are_the_new_runs_too(world: World) -> None:
    steps = [
        {"attributes": {"search": {"k": 1}, "memo": {"m": 2}}},
        a("a"),
        {"attributes": {"search": {"l": 3}}},
    ]
    world.start(workflow_of(steps))
    assert world.replay("a").attributes == {"search": {"k": 1, "l": 3}, "memo": {"m": 2}}


def test_a_child_is_served_like_any_step_and_started_anew_after_it(world: World) -> None:
    child = workflow_of([a("d")], name="child")
    parent = workflow_of([{"id": "c", "workflow": "child"}, a("b")])
    world.start(parent, children=Closure({child.digest: child}, {(parent.digest, "child"): child.digest}))
    assert replayed(world, "b") == ["b"]
    assert replayed(world, "c") == ["d", "b"]


# --- any step of any document

OWN = ("now", "elapsed", "history_", "uuid", "run.id", "return")
"""What is another for another run; and who returns first is a race."""


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_replay_from_any_step_comes_to_the_same(file: Path) -> None:
    for data in load_yaml(file.read_bytes(), str(file)):
        case = Case.parse(data)
        if not case.events and not any(word in case.source for word in OWN):
            for start, run, again in _repeated(case):
                assert (again.status, again.output) == (run.status, run.output), (case.name, start)


def _repeated(case: Case) -> Iterator[tuple[str, Run, Run]]:
    """A run of the case, if it completes, repeated from every step that it can be repeated from."""
    journal = MemoryJournal()
    run = _run(case, journal, "first", START)
    entries = journal.entries(run.id)
    steps = status_document(run, entries)["steps"]
    for number, step in enumerate(steps[:: 1 + len(steps) // 50]):
        start = StepPath(step["path"])
        repetition = Repetition(case.workflow, entries, start)
        if run.status == "completed" and repetition.misplaced() is None and repetition.earliest() == start:
            origin = {"run": run.id, "digest": run.digest, "from": step["path"], "until": entries[-1].seq}
            yield start, run, _run(case, journal, f"again-{number}", run.deadline, origin=origin)


def _run(case: Case, journal: MemoryJournal, id: str, now: int, **more: Any) -> Run:
    """A run of a case, undisturbed, from a moment on."""
    runtime: VirtualRuntime
    kin = Kin(journal, case.pinned, lambda: runtime.now())
    runtime = VirtualRuntime(journal, case.script(), start=now, kin=kin)
    workflow = case.workflow
    document = (workflow.name, workflow.version, workflow.digest)
    given = workflow.prepare_input(dict(case.input))
    journal.create(Run(id, id, *document, given, now, now + workflow.timeout, pins=case.pins or None, **more))
    runtime.errands.drive(id)
    runtime.run_until_idle()
    run = journal.run(id)
    assert run is not None
    return run


# --- undoing


def test_served_steps_register_no_compensation(world: World) -> None:
    undone = {"activity": "t.u", "with": {"value": "${{ step.id }}"}}
    steps = [a("a", compensate=undone), a("b", compensate=undone), {**FAIL, "if": "input.fail"}]
    world.start(workflow_of(steps), {"fail": False})
    assert replayed(world, "b", input={"fail": True}) == ["b", "b.undo"]


def test_an_iteration_that_is_served_whole_registers_none_either(world: World) -> None:
    steps = [
        {"id": "x", "foreach": "range(2)", "steps": [a("a", compensate={"activity": "t.u"})]},
        {**FAIL, "if": "input.fail"},
    ]
    world.start(workflow_of(steps), {"fail": False})
    assert replayed(world, "x[1]", input={"fail": True}) == ["x[1].a", "x[1].a.undo"]


REFUSED: dict[str, tuple[Steps, str, str]] = {
    "a result that was undone": (
        [a("a", compensate={"activity": "t.u"}), a("b"), FAIL],
        "b",
        "a",
    ),
    "several, of which the first counts": (
        [a("z"), a("a", compensate={"activity": "t.u"}), a("b", compensate={"activity": "t.u"}), FAIL],
        "_fail1",
        "a",
    ),
    "the failure that ended the run": ([a("a"), {"id": "f", **FAIL}, a("b")], "b", "f"),
    "a branch whose neighbour was undone": (
        [{"id": "x", "parallel": {"l": [a("a", compensate={"activity": "t.u"})], "r": [a("b")]}}, FAIL],
        "x.r.b",
        "x",
    ),
    "what was rolled back on the way": (
        [
            {"id": "x", "try": [a("a", compensate={"activity": "t.u"}), FAIL], "catch": {"rollback": True}},
            a("b"),
        ],
        "b",
        "x.try.a",
    ),
    "an iteration that was undone": (
        [{"id": "x", "foreach": "range(2)", "steps": [a("a", compensate={"activity": "t.u"})]}, FAIL],
        "_fail1",
        "x[0].a",
    ),
    "the inside of a block that was undone": (
        [{"id": "x", "steps": [a("a"), a("b")], "compensate": {"activity": "t.u"}}, FAIL],
        "x.b",
        "x",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "start", "earliest"), REFUSED.values(), ids=REFUSED)
def test_what_was_undone_is_never_served_and_the_step_to_begin_at_is_named(
    steps: Steps, start: str, earliest: str, world: World
) -> None:
    assert world.start(workflow_of(steps)).status in ("compensated", "failed", "completed")
    with pytest.raises(NotServed, match="failed or was undone") as refused:
        world.replay(start)
    assert refused.value.details == {"earliest": earliest}
    assert refused.value.exit_code == 5
    world.replay(earliest)


def test_what_is_about_to_be_undone_is_not_served_either(world: World) -> None:
    steps = [
        a("a", compensate={"activity": "t.u"}),
        a("b", compensate={"steps": [{"wait_for_signal": "go"}]}),
        FAIL,
    ]
    assert world.start(workflow_of(steps)).status == "compensating"
    with pytest.raises(NotServed) as refused:
        world.replay("b")
    assert refused.value.details == {"earliest": "a"}


def test_a_failed_branch_is_executed_anew_beside_the_one_that_is_repeated(world: World) -> None:
    world.scripted(bad=[{"raise": "Boom"}])
    branches = {"l": [a("a"), {"id": "f", "activity": "t.bad"}], "r": [a("b"), a("c")]}
    assert world.start(workflow_of([{"id": "x", "parallel": branches}])).status == "failed"
    world.scripted(bad={"return": 1})
    assert replayed(world, "x.r.c") == ["x.r.c"]
    assert len(world.script.ledger) == 1


# --- the run that is repeated


def test_a_live_run_is_repeated_as_far_as_it_has_come(world: World) -> None:
    world.start(workflow_of([a("a"), {"id": "w", "wait_for_signal": "go"}, a("b")]))
    run = world.replay("b")
    assert run.status == "waiting"
    assert world.asked == [("a", 0)]
    world.signal(run.id)
    assert world.resume(run.id).status == "completed"
    assert world.run("r").status == "waiting"


def test_what_the_run_does_after_it_was_repeated_is_not_served(world: World) -> None:
    world.start(workflow_of([a("k", commit=True), {"id": "w", "wait_for_signal": "go"}, a("b")]))
    engine = world.engine()
    accepted = engine.replay("r", "b")
    engine.journal.close()
    world.signal()
    assert world.resume().status == "completed"
    assert world.resume(accepted.id).status == "waiting"


def test_a_replay_can_be_replayed(world: World) -> None:
    world.start(workflow_of([a("a"), *LOOP, a("z")]))
    first = world.replay("x[1].a")
    world.asked.clear()
    world.replay("x[2].b", first.id)
    assert [path for path, _ in world.asked] == ["x[2].b", "z"]


def test_a_replay_that_is_interrupted_recovers_what_it_was_served(world: World) -> None:
    waits = [{"id": name, "wait_for_signal": "go"} for name in ("w", "v")]
    steps = [a("a"), waits[0], a("b"), a("k", commit=True), a("c"), waits[1]]
    world.start(workflow_of(steps))
    world.signal()
    world.signal()
    assert world.resume().status == "completed"
    world.asked.clear()
    run = world.replay("v")
    assert (run.status, [path for path, _ in world.asked]) == ("waiting", ["k"])
    world.signal(run.id)
    assert world.resume(run.id).status == "completed"
    assert [path for path, _ in world.asked] == ["k"]
    assert world.run(run.id).status == "completed"


def test_a_replay_is_migrated_like_any_run(world: World) -> None:
    steps = [a("a", "${{ step.idempotency_key }}"), {"id": "w", "wait_for_signal": "go"}]
    world.start(workflow_of([*steps, a("b")]))
    run = world.replay("w")
    world.migrate(workflow_of([*steps, a("z")]), run.id)
    world.signal(run.id)
    assert world.resume(run.id).status == "completed"
    assert world.asked[-1] == ("z", 0)


def test_another_input_is_seen_by_what_is_executed(world: World) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    steps = [a("a", "${{ input.n }}"), {**a("s"), "if": "input.n == 1"}, a("b", "${{ input.n }}")]
    world.start(workflow_of(steps, input=schema), {"n": 1})
    world.asked.clear()
    run = world.replay("b", input={"n": 2})
    assert (world.asked, run.input) == ([("b", 2)], {"n": 2})
    with pytest.raises(InvalidInput):
        world.replay("b", input={"n": "two"})


@pytest.mark.parametrize(
    ("start", "problem"),
    {
        "q": "no step q",
        "A step": "no step A step",
        "x.a": "which iteration of x",
        "k[0].a": "no loop",
        "u.undo.v": "no step",
    }.items(),
)
def test_a_step_that_is_not_there_is_refused(start: str, problem: str, world: World) -> None:
    world.start(workflow_of([*LOOP, {"id": "k", "steps": [a("a")]}, a("u", compensate={"steps": [a("v")]})]))
    with pytest.raises(UsageError, match=problem):
        world.replay(start)


def test_a_replay_of_a_run_that_is_gone_is_parked(world: World) -> None:
    engine = world.engine()
    with pytest.raises(Blocked, match="is gone"):
        engine.kin.repetition({"run": "gone", "digest": "sha256:0", "from": "a", "until": 1})
    engine.journal.close()
