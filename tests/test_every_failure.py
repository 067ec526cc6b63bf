"""Every failure: what is tried, what is checked, and the case that shows a breach alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.loader import load_yaml
from flowctl.testing.every import Variant, every_failure
from flowctl.testing.reproducer import flow
from flowctl.testing.running import Came, run
from tests.case_helpers import CHAIN, ORDER, loaded, one, results, written

EFFECTS = {
    "reservation": {
        "done_by": "shop.reserve",
        "undone_by": "shop.release",
        "done_as": "result.id",
        "undone_as": "args.id",
    },
    "charge": {
        "done_by": "shop.charge",
        "undone_by": "shop.refund",
        "done_as": "args.key",
        "undone_as": "args.key",
    },
    "shipment": {"done_by": "shop.ship", "lasting": True},
}


def tried(folder: Path, workflow: str = ORDER, case: dict[str, Any] | None = None) -> list[tuple[str, Came]]:
    """The failures that are tried, and what each came to."""
    file = loaded(written(case or {}), folder, workflow)
    [scenario] = file.scenarios
    seen: list[Came] = []
    runs, _ = every_failure(scenario, run(scenario), seen.append)
    assert runs == len(seen)
    return [("", came) for came in seen]


def broken(folder: Path, workflow: str = ORDER, **more: Any) -> dict[str, list[str]]:
    """What breaks, by the failure that breaks it."""
    result = one(folder, {"every_failure": True}, workflow, **more)
    return {
        each["failure"]: [mismatch["what"] for mismatch in each["mismatches"]]
        for each in result["every_failure"]["broken"]
    }


def test_a_saga_that_is_right_breaks_nothing(tmp_path: Path) -> None:
    invariants = {"nothing is charged for nothing": "left.charge <= left.shipment or 'charge' in saga.failed"}
    result = one(tmp_path, {"every_failure": True}, effects=EFFECTS, invariants=invariants)
    assert (result["status"], result["every_failure"]["broken"]) == ("passed", [])
    assert result["every_failure"]["runs"] > 50


SAYS = {
    "reserve fails with Injected (1 time)": "completed",
    "reserve fails with Injected (2 times)": "completed",
    "reserve fails with Injected (3 times)": "failed",
    "reserve times out before its effect (1 time)": "completed",
    "reserve times out after its effect (every time)": "compensation_failed",
    "reserve loses its worker before its effect": "completed",
    "reserve loses its worker after its effect": "completed",
    "charge is cancelled before its effect": "compensated",
    "charge is cancelled after its effect, without an answer": "compensated",
    "charge is cancelled and completes all the same": "compensated",
    "ship fails with Injected (1 time)": "compensated",
}


def test_every_failure_is_tried_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, str] = {}

    def noted(scenario: Any, **how: Any) -> Came:
        came = run(scenario, **how)
        made[str(Variant(tuple(how["faults"])))] = came.status["status"]
        return came

    monkeypatch.setattr("flowctl.testing.every.run", noted)
    tried(tmp_path)
    assert SAYS.items() <= made.items()
    assert len({told.split()[0] for told in made}) == 3, (
        "every variant begins with a step that calls something"
    )
    undoing = [told for told in made if "undo" in told]
    assert any("charge.undo fails with Injected (10 times)" in told for told in undoing)
    assert any("reserve.undo loses its worker after its effect" in told for told in undoing)


def test_a_mistake_of_the_document_is_no_failure_that_happens(tmp_path: Path) -> None:
    """Activities declare that it is not worth a retry; that is no reason to make it up."""
    policy = "retry: {attempts: 2, non_retryable: [InvalidInput, Busy]}"
    workflow = ORDER.replace("retry: {attempts: 3, delay: 1s}", policy)
    errors = [came.status["error"] for _, came in tried(tmp_path, workflow)]
    types = {error["type"] for error in errors if error}
    assert "Busy" in types
    assert "InvalidInput" not in types


def test_waits_are_cancelled_and_signals_stay_away(tmp_path: Path) -> None:
    case = {
        "input": {"amount": 500, "express": False},
        "events": [{"at": "1h", "signal": "approve", "payload": {"by": "Ada"}}],
    }
    ends = [(came.status["error"] or {}) for _, came in tried(tmp_path, case=case)]
    assert any(error.get("type") == "Timeout" and error.get("step") == "approval" for error in ends)
    assert sum(error.get("message") == "the test cancels here" for error in ends) >= 3 * 3 + 1


def test_of_iterations_the_first_and_the_last_are_taken(tmp_path: Path) -> None:
    loop = """\
dsl: 1
name: loop
steps:
  - id: each
    foreach: range(50)
    steps: [{id: ship, activity: shop.ship}]
"""
    (tmp_path / "loop.yaml").write_text(loop)
    file = {
        "workflow": "./loop.yaml",
        "mocks": {"shop.ship": {}},
        "cases": [{"case": "one", "every_failure": True}],
    }
    [result] = results(file, tmp_path)
    assert 10 < result["every_failure"]["runs"] < 30


# --- what is found

LEAKS = ORDER.replace('    compensate: {activity: shop.release, with: {id: "${{ result.id }}"}}\n', "")
WRONG = ORDER.replace('{id: "${{ result.id }}"}', '{id: "${{ result.id + 1 }}"}')
SILENT = ORDER.replace(", after: attempted", "")
FORGETS = ORDER.replace('with: {key: "${{ step.idempotency_key }}"}, after', "with: {kye: 1}, after")


def test_what_no_compensation_undoes_is_found(tmp_path: Path) -> None:
    file = written({"every_failure": True}, effects=EFFECTS)
    del file["mocks"]["shop.release"]
    file["effects"]["reservation"] = {"done_by": "shop.reserve", "done_as": "result.id"}
    [result] = results(file, tmp_path, LEAKS)
    told = {each["failure"]: each["mismatches"] for each in result["every_failure"]["broken"]}
    assert [mismatch["what"] for mismatch in told["charge fails with Injected (1 time)"]] == [
        "the saga: reservation 7 of reserve is left: the run ended compensated and does not say so"
    ]


def test_what_is_undone_under_another_name_is_left(tmp_path: Path) -> None:
    found = broken(tmp_path, WRONG, effects=EFFECTS)
    assert any("reservation 7 of reserve is left" in what[0] for what in found.values())


def test_what_a_run_owns_up_to_is_no_breach(tmp_path: Path) -> None:
    assert broken(tmp_path, SILENT, effects=EFFECTS) == {}


def test_an_invariant_is_broken_where_the_run_is_in_doubt(tmp_path: Path) -> None:
    found = broken(tmp_path, SILENT, effects=EFFECTS, invariants={"no doubt": "saga.in_doubt == []"})
    assert "charge times out after its effect (1 time)" in found


def test_a_compensation_that_is_a_mistake_is_found(tmp_path: Path) -> None:
    mistaken = ORDER.replace('with: {id: "${{ result.id }}"}', 'with: {id: "${{ result.nothing }}"}')
    found = broken(tmp_path, mistaken)
    told = found["charge fails with Injected (1 time)"]
    assert any("reserve.undo fails by a mistake of the document: ExpressionError" in what for what in told)


def test_what_stays_by_a_pivot_is_no_breach(tmp_path: Path) -> None:
    pivot = ORDER.replace("after: attempted}\n", "after: attempted}\n    pivot: true\n")
    assert broken(tmp_path, pivot, effects=EFFECTS) == {}


def test_effects_that_nobody_declares_are_taken_from_the_document(tmp_path: Path) -> None:
    invariants = {
        "nothing is left": "left['shop.charge'] == 0 or status == 'completed' or len(saga.failed) > 0"
    }
    assert broken(tmp_path, invariants=invariants) == {}


# --- the case that shows it alone


def test_a_reproducer_fails_alike_when_it_is_pasted(tmp_path: Path) -> None:
    case = {
        "input": {"amount": 500},
        "mocks": {"shop.ship": {"return": "T-1"}},
        "events": [{"at": "1h", "signal": "approve", "payload": {"by": "Ada"}}],
        "every_failure": True,
    }
    file = written(case, invariants={"no doubt": "saga.in_doubt == []"})
    [result] = results(file, tmp_path, SILENT)
    listed = result["every_failure"]["broken"]
    assert listed
    for each in listed:
        [pasted] = load_yaml(each["reproducer"], "pasted")
        [again] = results({**file, "cases": [pasted]}, tmp_path, SILENT)
        assert [mismatch["what"] for mismatch in again["mismatches"]] == [
            mismatch["what"] for mismatch in each["mismatches"]
        ]


PARENT = """\
dsl: 1
name: parent
steps:
  - {id: kid, workflow: ./chain.yaml}
  - {id: gate, activity: t.gate}
"""


def test_a_reproducer_fails_alike_also_where_a_childs_successor_or_what_undoes_it_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "chain.yaml").write_text(CHAIN)
    (tmp_path / "parent.yaml").write_text(PARENT)
    file = {
        "workflow": "./parent.yaml",
        "mocks": {"t.take": {}, "t.give": {}, "t.gate": {"raise": "X"}},
        "invariants": {"all is undone": "status == 'compensated'"},
    }
    case = {"case": "one", "every_failure": True, "expect": {"status": "compensated"}}
    [result] = results({**file, "cases": [case]}, tmp_path)
    listed = result["every_failure"]["broken"]
    told = " ".join(each["failure"] for each in listed)
    assert "kid~2/take times out" in told
    assert "kid~2~undo/take.undo fails" in told
    for each in listed:
        [pasted] = load_yaml(each["reproducer"], "pasted")
        [again] = results({**file, "cases": [pasted]}, tmp_path)
        assert [mismatch["what"] for mismatch in again["mismatches"]] == [
            mismatch["what"] for mismatch in each["mismatches"]
        ]


def test_a_reproducer_has_no_events_that_it_does_not_need(tmp_path: Path) -> None:
    case = {
        "input": {"amount": 500},
        "events": [{"at": "1h", "signal": "approve", "payload": {"by": "Ada"}}],
        "every_failure": True,
    }
    file = written(case, invariants={"all is well": "status == 'completed'"})
    [result] = results(file, tmp_path)
    texts = {each["failure"]: each["reproducer"] for each in result["every_failure"]["broken"]}
    assert "events:" not in texts["reserve fails with Injected (3 times)"]
    assert "events:" in texts["ship fails with Injected (1 time)"]
    assert "events:" not in texts["the signal approve stays away"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        12,
        1.5,
        "plain",
        "two words",
        "true",
        "12",
        "1e3",
        "5s",
        "a: b",
        "",
        "~",
        "ü",
        [1, "a"],
        {"a b": {"c": []}},
    ],
)
def test_values_are_written_as_yaml_that_means_them(value: Any) -> None:
    assert load_yaml(f"a: {flow(value)}", "x")["a"] == value
    assert "\n" not in flow(value)
    json.dumps(value)
