"""What test files say in virtual time, the engine says too: on asyncio, with SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.journal.opening import connect
from flowctl.testing.casefile import load_file
from flowctl.testing.played import run_on_engine
from flowctl.testing.running import Scenario, judge
from tests.case_helpers import WITH_PACKAGES
from tests.mutation.hunt import EXAMPLES

CHANCE = "elapsed"
"""What differs: in virtual time jitter is always the same."""


def scenarios() -> Iterator[Any]:
    """Cases in which nothing goes wrong but what an activity sees."""
    for file in sorted(EXAMPLES.glob("*/*.test.yaml")):
        for scenario in load_file(file, WITH_PACKAGES).scenarios:
            seen = all(fault.kind in ("raise", "time_out") for fault in scenario.faults)
            if seen and scenario.until is None:
                yield pytest.param(scenario, id=f"{file.name}: {scenario.name}")


@pytest.mark.parametrize("scenario", list(scenarios()))
def test_a_case_holds_on_the_engine(scenario: Scenario, tmp_path: Path) -> None:
    journal = connect(str(tmp_path / "case.db"))
    try:
        came = run_on_engine(scenario, journal)
    finally:
        journal.close()
    assert [found.what for found in judge(scenario, came) if found.what != CHANCE] == []
