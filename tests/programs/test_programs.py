"""Random programs, the short form; ``run_programs`` is the long one. And the reference, held against the
conformance cases, which were written down by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.clock import parse_duration
from flowctl.document.loader import load_yaml
from tests.programs.generate import VERBS, program
from tests.programs.reference import predict
from tests.programs.run_programs import Diverged, Program, Trial, by_chance, by_hypothesis, cut, plain
from tests.programs.shrink import cut_down

CASES = Path(__file__).resolve().parents[1] / "conformance" / "cases"

BEYOND = frozenset(
    {"detached", "secrets", "secret", "output_schema", "default", "run"}
    | {"recorded", "InvalidOutput", "PayloadTooLarge"}
)
"""What a case may cover that the reference knows nothing of."""

OTHER_CASES = frozenset({"until", "missing", "secrets"})
"""Keys of cases that it knows nothing of."""


EVENTS = frozenset({"at", "signal", "payload", "principal", "dedup_id", "cancel", "lose_worker"})


def test_random_programs_do_on_both_runtimes_what_the_reference_says(tmp_path: Path) -> None:
    trial = Trial(tmp_path, kills=True)
    _hold(trial, lambda: by_chance(2026, 100, trial))
    assert trial.counts["held virtual"] > 90
    assert trial.counts["held embedded"] > 80
    assert trial.counts["worlds ended"] > 80


def test_programs_that_hypothesis_draws_do_what_the_reference_says(tmp_path: Path) -> None:
    trial = Trial(tmp_path, kills=False)
    _hold(trial, lambda: by_hypothesis(2026, 50, trial))
    assert trial.counts["held embedded"] > 30


def _hold(trial: Trial, search: Callable[[], None]) -> None:
    try:
        search()
    except Diverged as diverged:
        pytest.fail(cut(diverged, trial).report(), pytrace=False)


def test_programs_come_to_every_end_and_use_every_verb() -> None:
    """A generator that always made the same would prove little."""
    ends, words = set(), set()
    for number in range(200):
        made = program(f"ends/{number}", VERBS)
        ends.add(predict(made).expect["status"])
        words |= set(_words(made["workflow"]))
    assert ends == {"completed", "failed", "cancelled", "compensated", "compensation_failed"}
    assert words >= VERBS


def _words(value: Any) -> Iterator[str]:
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield key
        yield from _words(inner)
    for inner in value if isinstance(value, list) else ():
        yield from _words(inner)


def test_an_engine_that_did_something_else_would_be_found_out(tmp_path: Path) -> None:
    """By its script the activity fails; an engine for which it succeeded has another script."""
    made: Program = {
        "case": "a step fails",
        "covers": [],
        "workflow": {
            "steps": [{"sleep": "1s"}, {"id": "a", "activity": "t.a"}, {"id": "b", "activity": "t.b"}]
        },
        "input": {},
        "activities": {"t.a": {"raise": "Boom"}},
        "declares": {},
        "events": [],
    }
    prediction = predict(made)
    trial = Trial(tmp_path, kills=False)
    with pytest.raises(Diverged) as found:
        trial.virtual(made | {"activities": {}}, prediction)
    assert {"status", "error", "steps", "calls"} <= {*found.value.kind}
    assert "- case: a step fails" in found.value.report()


def test_a_program_is_cut_down_to_what_shows_the_same() -> None:
    made = program("large", VERBS)
    made["workflow"]["steps"].append({"id": "guilty", "steps": [{"fail": {"type": "Guilty"}}]})
    small = cut_down(made, lambda other: "Guilty" in str(other))
    assert small["workflow"]["steps"] == [{"fail": {"type": "Guilty"}}]
    assert small["activities"] == {}


def _cases() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*.yaml")):
        for data in load_yaml(file.read_bytes(), str(file)):
            events = {key for event in data.get("events", ()) for key in event}
            beyond = "default" in str(data["workflow"].get("input"))
            beyond |= "children" in data and "InvalidInput" in data["covers"]
            beyond |= "send_signal" in data["covers"] and "parallel" in str(data["workflow"])
            if not (beyond or BEYOND & {*data["covers"]} or OTHER_CASES & data.keys() or events - EVENTS):
                found.append(pytest.param(data, id=f"{file.stem}: {data['case']}"))
    return found


@pytest.mark.parametrize("data", _cases())
def test_the_reference_says_what_a_case_expects(data: dict[str, Any]) -> None:
    prediction = predict(data)
    predicted = prediction.expect
    if prediction.open or prediction.closest == 0:
        pytest.skip("a case may say what the reference does not know: who comes first of two at one time")
    predicted |= {name: _by_path(predicted[name]) for name in ("args", "keys")}
    predicted["calls"] = list(dict.fromkeys(map(_of_run, predicted["calls"])))
    for name, expected in data["expect"].items():
        if name == "elapsed":
            assert parse_duration(predicted[name]) == parse_duration(expected)
        elif name == "error":
            assert _part(predicted[name], _without_words(expected)) == _without_words(expected)
        elif name in ("saga", "steps", "args", "keys"):
            assert _part(predicted[name], expected) == expected
        elif name == "calls" and prediction.closest_calls == 0:
            assert sorted(predicted[name]) == sorted(expected)
        elif name in ("status", "output", "outputs", "calls"):
            assert plain(_part(predicted[name], expected)) == plain(expected)


def _of_run(label: str) -> str:
    """A call without the run that made it: a case speaks of its path alone."""
    return label.rpartition("/")[2]


def _by_path(calls: dict[str, Any]) -> dict[str, Any]:
    return {_of_run(label): told for label, told in reversed(calls.items())}


def _part(value: Any, like: Any) -> Any:
    """The part of a value that is spoken of."""
    if not isinstance(value, dict) or not isinstance(like, dict):
        return value
    return {key: _part(value.get(key), inner) for key, inner in like.items()}


def _without_words(error: dict[str, Any]) -> dict[str, Any]:
    """What is said about an error but for what is said to people."""
    return {key: value for key, value in error.items() if key not in ("message", "details")}
