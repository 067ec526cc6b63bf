"""Every case on every runtime, and every case again after its world ended at every commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowctl import values
from flowctl.document.loader import load_yaml
from flowctl.engine import worker
from flowctl.journal import Journal
from flowctl.journal.opening import connect
from flowctl.testing.conformance import Case, Observed, differences, unlike
from flowctl.testing.embedded import run_by_worker, run_embedded
from flowctl.testing.virtual import When, die_everywhere, run_virtual

HEARS_WITHIN = 100
"""Milliseconds within which a driven run acts on a message."""

FOLDER = Path(__file__).parent / "cases"


def _cases() -> list[Any]:
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        for data in load_yaml(file.read_bytes(), str(file)):
            found.append(pytest.param(data, id=f"{file.stem}: {data['case']}"))
    return found


every_case = pytest.mark.parametrize("data", _cases())


@every_case
def test_a_case_holds_in_virtual_time(data: dict[str, Any]) -> None:
    case = Case.parse(data)
    observed, _ = run_virtual(case)
    assert differences(case, observed) == []


@every_case
def test_a_case_holds_on_asyncio_with_sqlite(data: dict[str, Any], tmp_path: Path) -> None:
    case = Case.parse(data)
    observed = run_embedded(case, _opener(tmp_path / "case.db"))
    assert differences(case, observed, slack=HEARS_WITHIN) == []


@every_case
def test_a_case_holds_for_a_worker_that_forgets_what_waits(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case.parse(data)
    if not case.events:  # nobody leaves anything: it is only timers that have to be noticed
        monkeypatch.setattr(worker, "POLL", 3600.0)
    observed = run_by_worker(case, _opener(tmp_path / "case.db"))
    assert differences(case, observed, slack=HEARS_WITHIN) == []


@every_case
def test_a_case_comes_to_the_same_when_its_world_ends_at_any_commit(data: dict[str, Any]) -> None:
    case = Case.parse(data)
    undisturbed, _ = run_virtual(case)

    def check(observed: Observed, commit: int, when: When) -> None:
        if any(not unlike(expect, observed) for expect in case.if_it_dies):
            return
        for what in ("status", "output", "error", "saga", "attributes", "memo"):
            assert values.equal(observed.status[what], undisturbed.status[what]), (what, commit, when)
        assert observed.calls == undisturbed.calls, (commit, when)
        assert _made(observed) <= _made(undisturbed), (commit, when)

    assert die_everywhere(case, check) > 0


def _made(observed: Observed) -> set[bytes]:
    """The calls with all that they were made with."""
    return {values.encode([asked.path, asked.key, asked.args]) for asked in observed.asked}


def _opener(path: Path) -> Callable[[], Journal]:
    return lambda: connect(str(path))
