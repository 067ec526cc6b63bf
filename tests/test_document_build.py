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
    BlockStep,
    Compensation,
    Policy,
    SleepStep,
    Step,
    SwitchStep,
    WaitStep,
    Workflow,
)
from flowctl.retry import ONCE, RetryPolicy
from tests.document_helpers import accepted

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*/*.yaml"))


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
    body = {"dsl": 1, "name": "t", "steps": [{"parallel": {"a": [{"sleep": "1s"}]}}]}
    with pytest.raises(InvalidDocument, match="'parallel'"):
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
