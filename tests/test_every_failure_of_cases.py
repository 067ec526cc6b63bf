"""The conformance cases, each with every failure: whatever goes wrong, their sagas put things right.

The saga check of ``flowctl test`` and the engine are held against each other: a breach is a mistake in one of
the two. ``python -m tests.test_every_failure_of_cases`` takes all cases, which is 12,000 runs in a minute.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.document import load
from flowctl.document.loader import load_yaml
from flowctl.errors import InvalidDocument
from flowctl.testing.casefile import load_text
from flowctl.testing.every import every_failure
from flowctl.testing.running import Scenario, run
from tests import console
from tests.case_helpers import HERE

CASES = console.ROOT / "tests" / "conformance" / "cases"
OTHER = ("missing", "declares", "until")
"""Words of conformance cases that test files do not have."""


def scenario_of(data: dict[str, Any], folder: Path) -> Scenario | None:
    """The same as a case of a test file, if it can be said there."""
    people = any(
        {"pause", "unpause", "terminate", "retry"} & event.keys() for event in data.get("events", ())
    )
    acts = data.get("activities", {})
    if people or any(word in data for word in OTHER) or "until" in json.dumps(acts):
        return None
    written = {"./w.yaml": {"name": "case", **data["workflow"]}}
    for name, child in data.get("children", {}).items():
        file = name if name.endswith(".yaml") else f"./{name.replace('@', '-')}.yaml"
        written[file] = {"name": Path(file).stem.partition("-")[0], **child}
    called: set[str] = set()
    for file, document in written.items():
        text = json.dumps({"dsl": 1, **document})
        (folder / file).write_text(text)
        called |= load(text, file).workflow.activities
    children = {
        name: f"./{name.replace('@', '-')}.yaml"
        for name in data.get("children", {})
        if not name.endswith(".yaml")
    }
    case = {"case": data["case"], "input": data.get("input", {}), "events": data.get("events", [])}
    file = {
        "workflow": "./w.yaml",
        "children": children,
        "secrets": data.get("secrets", {}),
        "mocks": {name: acts.get(name, {}) for name in called},
        "cases": [case],
    }
    return load_text(json.dumps(file), folder / "w.test.yaml", HERE).scenarios[0]


def breaches(data: dict[str, Any]) -> tuple[int, list[str]]:
    """How many failures were tried with a case, and what its saga has left."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            scenario = scenario_of(data, Path(folder))
        except InvalidDocument:  # an input that the workflow would refuse, for example
            scenario = None
        if scenario is None:
            return 0, []
        runs, broken = every_failure(scenario, run(scenario), lambda came: None)
    told = [f"{each.variant}: {found.what}" for each in broken for found in each.mismatches]
    return runs, [what for what in told if ": the saga: " in what]


def cases(names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name in names:
        yield from load_yaml((CASES / f"{name}.yaml").read_bytes(), name)


CHOSEN = [pytest.param(data, id=data["case"]) for data in cases(("saga", "pivot"))]


@pytest.mark.parametrize("data", CHOSEN)
def test_a_saga_puts_things_right_whatever_goes_wrong(data: dict[str, Any]) -> None:
    assert breaches(data)[1] == []


def test_the_failures_of_the_cases_are_really_tried() -> None:
    [undone] = [data for data in cases(("saga",)) if "undone in reverse order" in data["case"]]
    assert breaches(undone)[0] > 50


if __name__ == "__main__":
    tried = 0
    for data in cases(tuple(sorted(file.stem for file in CASES.glob("*.yaml")))):
        runs, found = breaches(data)
        tried += runs
        for what in found:
            print(f"{data['case']}: {what}")
    print(f"{tried:,} failures tried")
