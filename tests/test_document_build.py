"""Data to model: what a document means, and that a stored one means the same."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowctl import values
from flowctl.document import build, digest_of, load, read, stored
from flowctl.errors import InvalidDocument, UsageError
from flowctl.model import (
    ActivityStep,
    AttributesStep,
    BlockStep,
    ChildReference,
    Compensation,
    ContinueStep,
    ForeachStep,
    ParallelStep,
    PatchStep,
    Policy,
    RollbackStep,
    SendSignalStep,
    SleepStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WaitStep,
    WhileStep,
    Workflow,
    WorkflowStep,
)
from flowctl.retry import ONCE, RetryPolicy
from tests.document_helpers import accepted

EXAMPLES = sorted(
    file
    for file in (Path(__file__).parent.parent / "examples").glob("*/*.yaml")
    if not file.name.endswith(".test.yaml")
)


def workflow(body: str) -> Workflow:
    return accepted(body).workflow


def first(body: str) -> Step:
    return workflow(body).steps[0]


def compensation(body: str) -> Compensation:
    found = first(body).compensation
    assert found is not None
    return found


def test_the_head_of_a_document() -> None:
    made = workflow(
        "version: 3\ntimeout: 1h30m\ndeprecated: use u\non_failure: hold\nsecrets: [A]\n"
        "defaults: {timeout: 30s, retry: {attempts: 2}}\nsignals: {go: {description: d, payload: {type: string}}}\n"
        "steps:\n  - {id: a, wait_for_signal: go}\n"
    )
    assert (made.name, made.version, made.timeout, made.deprecated, made.on_failure) == (
        "t",
        3,
        5_400_000,
        "use u",
        "hold",
    )
    assert (set(made.secrets), made.ids) == ({"A"}, ("a",))
    assert made.defaults == Policy(timeout=30_000, retry=RetryPolicy(attempts=2))
    assert made.signals["go"].check("x") is None
    assert made.signals["go"].check(1) == "payload must be a text, not 1"


def test_what_is_left_out_has_its_default() -> None:
    made = workflow("steps:\n  - sleep: 1s\n")
    assert (made.version, made.timeout, made.on_failure, made.deprecated) == (
        1,
        86_400_000,
        "compensate",
        None,
    )
    assert (made.output, made.input_schema, made.defaults) == (None, None, Policy())


def test_a_deprecated_version_always_has_a_message() -> None:
    assert workflow("deprecated: true\nsteps:\n  - sleep: 1s\n").deprecated == "no reason given"
    assert workflow("deprecated: false\nsteps:\n  - sleep: 1s\n").deprecated is None


def test_a_step_without_an_id_is_counted_per_verb_in_its_list() -> None:
    made = workflow(
        "steps:\n  - sleep: 1s\n  - set: {a: 1}\n  - sleep: 1s\n  - id: x\n    sleep: 1s\n  - sleep: 1s\n"
        "  - steps: [{sleep: 1s}]\n"
    )
    assert [step.segment for step in made.steps] == ["_sleep1", "_set1", "_sleep2", "x", "_sleep4", "_steps1"]
    block = made.steps[-1]
    assert isinstance(block, BlockStep)
    assert [step.segment for step in block.steps] == ["_sleep1"]


def test_the_cases_of_a_switch_are_numbered() -> None:
    step = first(
        "steps:\n  - switch:\n      - {if: true, steps: [{id: a, sleep: 1s}]}\n      - else: [{sleep: 1s}]\n"
    )
    assert isinstance(step, SwitchStep)
    assert [case.segment for case in step.cases] == ["case_1", "else"]
    assert [case.condition is None for case in step.cases] == [False, True]


def test_ids_of_blocks_and_cases_belong_to_the_scope_around_them() -> None:
    made = workflow(
        "steps:\n  - id: a\n    steps: [{id: b, sleep: 1s}]\n"
        "  - {id: c, activity: x, compensate: {steps: [{id: u, sleep: 1s}]}}\n"
        "  - switch: [{else: [{id: d, sleep: 1s}]}]\n"
    )
    assert set(made.ids) == {"a", "b", "c", "d"}


def test_an_activity_entry_gives_name_and_policy_each_attribute_whole() -> None:
    step = first(
        "activities:\n  a: {uses: x.a, timeout: 5s, retry: {attempts: 5, delay: 2s}}\n"
        "steps:\n  - {id: a, activity: a, retry: {attempts: 2}}\n"
    )
    assert isinstance(step, ActivityStep)
    assert (step.name, step.timeout) == ("x.a", None)
    assert step.policy == Policy(timeout=5_000, retry=RetryPolicy(attempts=2))


def test_retry_false_is_one_attempt() -> None:
    step = first("steps:\n  - {id: a, activity: x, retry: false}\n")
    assert isinstance(step, ActivityStep)
    assert step.policy.retry is ONCE


def test_every_attribute_of_retry_is_taken() -> None:
    step = first(
        "steps:\n  - id: a\n    activity: x\n    retry: {attempts: 9, delay: 1m, backoff: linear, max_delay: 2m, "
        "jitter: true, retryable: [A], non_retryable: [B], on_worker_lost: fail}\n"
    )
    assert isinstance(step, ActivityStep)
    assert step.policy.retry == RetryPolicy(9, 60_000, "linear", 2.0, 120_000, True, ("A",), ("B",), "fail")


def test_a_compensation_may_name_an_entry_and_lays_its_policy_over_it() -> None:
    made = compensation(
        "activities:\n  undo: {uses: x.undo, timeout: 5s, retry: {attempts: 7}, compensate: {activity: x.never}}\n"
        "steps:\n  - {id: a, activity: x.a, compensate: {activity: undo, timeout: 1s, after: attempted, on_failure: stop}}\n"
    )
    assert (made.activity, made.after, made.on_failure) == ("x.undo", "attempted", "stop")
    assert made.policy == Policy(timeout=1_000, retry=RetryPolicy(attempts=7))


def test_the_compensation_of_an_entry_is_the_steps_unless_it_has_its_own() -> None:
    head = "activities: {a: {uses: x.a, compensate: {activity: x.b}}}\nsteps:\n"
    assert compensation(head + "  - {id: a, activity: a}\n").activity == "x.b"
    assert compensation(head + "  - {id: a, activity: a, compensate: {activity: x.c}}\n").activity == "x.c"
    assert first(head + "  - {id: a, activity: a, compensate: none}\n").compensation is None


def test_a_compensation_captures_what_it_refers_to_outside_of_it() -> None:
    made = compensation(
        "steps:\n  - set: {v: 1}\n".replace("  - set: {v: 1}\n", "")
        + "  - id: a\n    activity: x.a\n    compensate:\n      steps:\n"
        "        - {id: u, activity: x.u, with: {a: '${{ result.x }}', b: '${{ input.y }}', c: '${{ step.path }}'}}\n"
        "        - {if: steps.u.status == error.type, set: {v: '${{ run.elapsed }}'}}\n"
    )
    assert made.captures == {("input", "y"), ("run", "elapsed")}
    assert made.ids == ("u",)


def test_the_facts_that_a_step_reads_are_known() -> None:
    made = workflow(
        "steps:\n"
        "  - {id: a, activity: x, with: {t: '${{ run.elapsed }}'}, if: run.history_length < 5}\n"
        "  - {id: b, activity: x, compensate: {activity: y, with: {t: '${{ run.history_size }}'}}}\n"
        "  - {id: c, steps: [{id: d, activity: x, with: {r: '${{ run }}'}}]}\n"
        "  - switch: [{if: run.elapsed > 5, steps: [{sleep: 1s}]}]\n"
        "output: ${{ run.elapsed }}\n"
    )
    reads = [set(step.reads) for step in made.steps]
    assert reads == [{"elapsed", "history_length"}, {"history_size"}, set(), {"elapsed"}]
    block = made.steps[2]
    assert isinstance(block, BlockStep)
    assert block.steps[0].reads == {"elapsed", "history_length", "history_size"}
    assert made.reads == {"elapsed"}


def test_the_activities_of_a_document_are_the_registered_ones_it_calls() -> None:
    made = workflow(
        "activities: {a: {uses: x.a, compensate: {activity: x.b}}, unused: {uses: x.u}}\n"
        "steps:\n  - {id: a, activity: a}\n  - {id: b, activity: x.c, compensate: {steps: [{id: u, activity: x.d}]}}\n"
    )
    assert made.activities == {"x.a", "x.b", "x.c", "x.d"}


def test_other_verbs_are_built() -> None:
    made = workflow(
        "signals: {go: , stop: }\nsteps:\n"
        "  - {wait_for_signal: [go, stop], timeout: 1h, on_timeout: continue, irreversible: true, secret: true}\n"
        "  - {sleep: {until: '2030-01-31T08:00:00Z'}, irreversible: gone, optional: true}\n"
    )
    wait, sleep = made.steps
    assert isinstance(wait, WaitStep)
    assert isinstance(sleep, SleepStep)
    assert (wait.signals, wait.timeout, wait.on_timeout, wait.irreversible) == (
        ("go", "stop"),
        3_600_000,
        "continue",
        "",
    )
    assert (wait.secret, sleep.optional, sleep.irreversible, sleep.duration) == (True, True, "gone", None)
    assert sleep.until is not None


# --- steps made of steps


def test_a_branch_is_a_scope_with_a_name_and_perhaps_an_output() -> None:
    made = workflow(
        "steps:\n  - id: p\n    parallel:\n      left: [{id: a, sleep: 1s}]\n"
        "      right: {steps: [{id: b, sleep: 1s}, {id: c, steps: [{id: d, sleep: 1s}]}], output: '${{ steps.b.status }}'}\n"
        "    wait: any\n    concurrency: 1\n  - {id: z, sleep: 1s}\n"
    )
    step = made.steps[0]
    assert isinstance(step, ParallelStep)
    left, right = step.branches
    assert (left.name, left.ids, left.output) == ("left", ("a",), None)
    assert (right.name, right.ids) == ("right", ("b", "c", "d"))
    assert right.output is not None
    assert right.output.references == {("steps", "b", "status")}
    assert (step.wait, step.concurrency, made.ids) == ("any", 1, ("p", "z"))


def test_branches_that_say_nothing_run_at_once_and_all_must_succeed() -> None:
    step = first("steps:\n  - parallel: {a: [{sleep: 1s}], b: [{sleep: 1s}]}\n")
    assert isinstance(step, ParallelStep)
    assert (step.segment, step.wait, step.concurrency) == ("_parallel1", "all", None)


def test_an_element_has_a_name_and_its_steps_a_scope() -> None:
    made = workflow(
        "steps:\n  - {id: each, foreach: input.xs, as: x, steps: [{id: a, sleep: '${{ x }}'}], concurrency: 5, wait: settled}\n"
        "  - {foreach: input.xs, steps: [{id: a, sleep: 1s}]}\n"
    )
    one, other = made.steps
    assert isinstance(one, ForeachStep)
    assert isinstance(other, ForeachStep)
    assert one.items.source == "input.xs"
    assert (one.variable, one.ids, one.concurrency, one.wait) == ("x", ("a",), 5, "settled")
    assert (other.segment, other.variable, other.concurrency, other.wait) == ("_foreach2", "item", 1, "all")
    assert made.ids == ("each",)


def test_a_loop_has_a_test_and_its_steps_a_scope() -> None:
    made = workflow(
        "steps:\n  - {while: loop.index < 3, steps: [{id: a, sleep: 1s}]}\n"
        "  - {until: 'true', steps: [{id: a, sleep: 1s}], max_iterations: 7}\n  - {while: true, steps: [{sleep: 1s}]}\n"
    )
    one, other, endless = made.steps
    assert isinstance(one, WhileStep)
    assert isinstance(other, UntilStep)
    assert isinstance(endless, WhileStep)
    assert (one.segment, one.test.source, one.ids, one.max_iterations) == (
        "_while1",
        "loop.index < 3",
        ("a",),
        1000,
    )
    assert (other.segment, other.max_iterations, endless.test.source) == ("_until1", 7, "true")
    assert made.ids == ()


def test_what_the_test_of_a_loop_reads_is_not_what_its_step_reads() -> None:
    step = first("steps:\n  - {if: run.elapsed < 5, while: run.history_length < 9, steps: [{sleep: 1s}]}\n")
    assert isinstance(step, WhileStep)
    assert (set(step.reads), set(step.test_reads)) == ({"elapsed"}, {"history_length"})


def test_the_clauses_of_a_try() -> None:
    made = workflow(
        "steps:\n  - id: guard\n    try: [{id: a, sleep: 1s}]\n    catch:\n"
        "      - {errors: [A, B], if: e.attempt > 1, as: e, rollback: true, steps: [{id: b, sleep: 1s}]}\n"
        "      - {}\n    finally: [{id: c, sleep: 1s}]\n"
        "  - {try: [{sleep: 1s}], catch: {steps: [{sleep: 1s}]}}\n"
    )
    step, single = made.steps
    assert isinstance(step, TryStep)
    assert isinstance(single, TryStep)
    one, rest = step.catches
    assert (one.segment, one.errors, one.variable, one.rollback, len(one.steps)) == (
        "catch_1",
        ("A", "B"),
        "e",
        True,
        1,
    )
    assert one.condition is not None
    assert (rest.segment, rest.errors, rest.condition, rest.variable, rest.rollback, rest.steps) == (
        "catch_2",
        None,
        None,
        "error",
        False,
        (),
    )
    assert [inner.id for inner in step.cleanup] == ["c"]
    assert (single.segment, [catch.segment for catch in single.catches], single.cleanup) == (
        "_try2",
        ["catch_1"],
        (),
    )
    assert made.ids == ("guard", "a", "b", "c")


# --- children


def test_a_child_and_its_policy() -> None:
    step = first(
        "steps:\n  - {id: c, workflow: pay@2, with: {a: 1}, timeout: 5m, total_timeout: 1h, retry: {attempts: 2}}\n"
    )
    assert isinstance(step, WorkflowStep)
    assert (step.child, step.detached, step.on_parent_close) == (ChildReference("pay@2"), False, "cancel")
    assert step.timeout == 300_000
    assert step.policy == Policy(retry=RetryPolicy(attempts=2))


def test_a_detached_child_outlives_its_parent_unless_told_otherwise() -> None:
    made = workflow(
        "steps:\n  - {id: c, workflow: pay, detached: true}\n"
        "  - {id: d, workflow: pay, detached: true, on_parent_close: cancel}\n"
    )
    assert [step.on_parent_close for step in made.steps if isinstance(step, WorkflowStep)] == [
        "abandon",
        "cancel",
    ]


def test_a_child_that_is_awaited_is_rolled_back_unless_told_otherwise() -> None:
    made = workflow(
        "steps:\n  - {id: a, workflow: pay}\n  - {id: b, workflow: pay, compensate: none}\n"
        "  - {id: c, workflow: pay, irreversible: true}\n  - {id: d, workflow: pay, detached: true}\n"
        "  - {id: e, workflow: pay, compensate: rollback}\n"
        "  - {id: f, workflow: pay, compensate: {workflow: refund@3, with: {r: '${{ result }}'}, timeout: 1m}}\n"
    )
    undo = [step.compensation for step in made.steps]
    assert [one is not None and one.rollback for one in undo] == [True, False, False, False, True, False]
    assert undo[1] is undo[2] is undo[3] is None
    child = undo[5]
    assert child is not None
    assert (child.child, child.activity, child.policy.timeout) == (ChildReference("refund@3"), None, 60_000)


def test_the_children_of_a_document_are_named_once_in_its_order() -> None:
    made = workflow(
        "steps:\n  - {id: a, activity: x, compensate: {workflow: undo}}\n"
        "  - parallel: {l: [{id: b, workflow: ./b.yaml}], r: [{id: c, workflow: undo}, {id: d, workflow: d@1}]}\n"
        "  - {id: e, activity: x, compensate: {steps: [{id: u, workflow: e}]}}\n"
    )
    assert [child.text for child in made.children] == ["undo", "./b.yaml", "d@1", "e"]


# --- paths of compensations


def test_a_compensation_is_found_by_the_path_of_its_step_without_iterations() -> None:
    made = workflow(
        "activities: {e: {uses: x, compensate: {activity: u}}}\nsteps:\n"
        "  - {id: plain, activity: e}\n"
        "  - {id: block, steps: [{id: a, activity: e}], compensate: {activity: u}}\n"
        "  - {id: sw, switch: [{if: 1 == 1, steps: [{id: b, activity: e}]}, {else: [{id: c, activity: e}]}]}\n"
        "  - {try: [{id: d, activity: e}], catch: [{errors: [A]}, {steps: [{id: f, activity: e}]}], finally: [{id: g, activity: e}]}\n"
        "  - {parallel: {left: [{id: h, activity: e}], right: [{id: h, workflow: w}]}}\n"
        "  - {id: each, foreach: input.xs, steps: [{while: 1 == 2, steps: [{steps: [{id: i, activity: e}]}]}]}\n"
        "  - {id: j, activity: x, compensate: {steps: [{id: u, activity: e}, {id: v, workflow: w}]}}\n"
        "  - {id: none, activity: x}\n"
    )
    assert sorted(made.undo) == [
        "_parallel1.left.h",
        "_parallel1.right.h",
        "_try1.catch_2.f",
        "_try1.finally.g",
        "_try1.try.d",
        "block",
        "block.a",
        "each._while1._steps1.i",
        "j",
        "plain",
        "sw.case_1.b",
        "sw.else.c",
    ]
    assert made.undo["plain"] is made.steps[0].compensation
    assert made.undo["_parallel1.right.h"].rollback


def test_what_undoes_is_not_undone() -> None:
    made = compensation(
        "activities: {e: {uses: x, compensate: {activity: u}}}\nsteps:\n"
        "  - {id: j, activity: x, compensate: {steps: [{id: u, activity: e}, {id: v, workflow: w}]}}\n"
    )
    assert [step.compensation for step in made.steps] == [None, None]


def test_a_compensation_captures_the_names_of_the_loop_it_is_in_and_not_of_its_own() -> None:
    step = first(
        "steps:\n  - foreach: input.xs\n    as: x\n    steps:\n      - id: a\n        activity: x.a\n"
        "        compensate:\n          steps:\n"
        "            - {id: u, activity: x.u, with: {v: '${{ [x.id, loop.index] }}'}}\n"
        "            - foreach: x.parts\n              as: part\n              steps:\n"
        "                - {id: v, activity: x.v, with: {v: '${{ [part.id, steps.u.output] }}'}}\n"
        "                - {id: w, activity: x.w, with: {v: '${{ [loop.first, steps.v.output] }}'}}\n"
        "            - while: loop.index < input.n\n              steps: [{sleep: 1s}]\n"
        "            - try: [{sleep: 1s}]\n              catch: {as: e, if: e.type == now}\n"
        "      - {id: b, activity: x.b, compensate: {activity: x.u, with: {v: '${{ steps.a.output }}'}}}\n"
    )
    assert isinstance(step, ForeachStep)
    one, other = (inner.compensation for inner in step.steps)
    assert one is not None
    assert other is not None
    assert one.captures == {
        ("x", "id"),
        ("loop", "index"),
        ("x", "parts"),
        ("input", "n"),
        ("now",),
    }
    assert one.ids == ("u",)
    assert other.captures == {("steps", "a", "output")}


def test_a_compensation_in_a_catch_captures_the_error_by_its_name() -> None:
    step = first(
        "steps:\n  - try: [{sleep: 1s}]\n    catch:\n      as: e\n      steps:\n"
        "        - {id: a, activity: x, compensate: {activity: y, with: {v: '${{ [e.type, error.type] }}'}}}\n"
    )
    assert isinstance(step, TryStep)
    inner = step.catches[0].steps[0].compensation
    assert inner is not None
    assert inner.captures == {("e", "type")}


# --- the other verbs


def test_the_verbs_about_the_run_itself() -> None:
    made = workflow(
        "steps:\n"
        "  - {id: s, send_signal: {run: '${{ input.r }}', signal: go, payload: {a: 1}}, commit: true}\n"
        "  - {patch: {id: tax, min: 2, max: 4}}\n  - {patch: {id: other}}\n"
        "  - {attributes: {search: {a: '${{ input.a }}'}, memo: {b: [1]}}}\n"
        "  - {rollback: all}\n  - {rollback: {to: s}}\n  - {id: p, activity: x, pivot: true}\n"
        "  - {continue_as_new: {input: {n: '${{ input.n }}'}}}\n"
    )
    send, patch, other, attributes, everything, back, pivot, again = made.steps
    assert isinstance(send, SendSignalStep)
    assert send.message.references == {("input", "r")}
    assert (send.commit, send.pivot, pivot.commit, pivot.pivot) == (True, False, False, True)
    assert isinstance(patch, PatchStep)
    assert isinstance(other, PatchStep)
    assert (patch.segment, patch.change, patch.min, patch.max) == ("_patch1", "tax", 2, 4)
    assert (other.segment, other.change, other.min, other.max) == ("_patch2", "other", 1, 2)
    assert isinstance(attributes, AttributesStep)
    assert attributes.values.references == {("input", "a")}
    assert isinstance(everything, RollbackStep)
    assert isinstance(back, RollbackStep)
    assert (everything.to, back.to) == (None, "s")
    assert isinstance(again, ContinueStep)
    assert again.input.references == {("input", "n")}


# --- stored documents


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_stored_document_means_what_it_meant(path: Path) -> None:
    loaded = load(read(path), path.name)
    body = values.encode(loaded.workflow.body)
    again = stored(body, loaded.workflow.digest)
    assert digest_of(again.body) == again.digest == loaded.workflow.digest
    assert [step.segment for step in again.steps] == [step.segment for step in loaded.workflow.steps]
    assert again.activities == loaded.workflow.activities
    assert loaded.warnings == []


def test_the_digest_is_of_the_meaning_and_not_of_the_text() -> None:
    one = accepted("version: 1\nsteps:\n  - sleep: 1s\n").workflow.digest
    assert one == accepted('steps: [{"sleep": "1s"}]   # the same\nversion: 1\n').workflow.digest
    assert one != accepted("version: 2\nsteps:\n  - sleep: 1s\n").workflow.digest
    assert one.startswith("sha256:")


def test_a_stored_document_with_a_verb_of_the_future_is_refused_by_name() -> None:
    body = {"dsl": 1, "name": "t", "steps": [{"id": "a", "teleport": "home"}]}
    with pytest.raises(InvalidDocument, match="id, teleport"):
        build(body, "sha256:0")


def test_a_stored_document_needs_neither_yaml_nor_json_schema() -> None:
    code = (
        "import sys; from flowctl.document import stored\n"
        'made = stored(b\'{"dsl":1,"name":"t","input":{"type":"object"},"steps":[{"sleep":"1s"}]}\', \'d\')\n'
        "assert made.steps\n"
        "heavy = sorted({'yaml', 'jsonschema', 're2', 'click', 'rich'} & set(sys.modules))\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- files


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be opened"):
        read(tmp_path / "n\0ne.yaml")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "fifo", "a pipe"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(UsageError, match=kind):
            read(path)


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(UsageError, match="over the limit"):
        read(path)


def test_a_file_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: caf\xc3\xa9\n")
    assert read(path) == "a: café\n"
    path.write_bytes(b"a: caf\xe9\n")
    with pytest.raises(InvalidDocument):
        read(path)
