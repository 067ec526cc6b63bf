"""Every case on a Temporal server, with the same results as everywhere else, or those it gives for there.

All that were selected are run at once, in a few namespaces beside each other, before the first is judged.
Some are run again by workers that remember nothing, so that every workflow task takes the run up anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from flowctl.document.loader import load_yaml
from flowctl.testing.conformance import Case, Observed, differences
from flowctl.testing.temporal import Lane
from tests.temporal.conftest import EVERYTHING, LANES
from tests.temporal.server import Server

PATIENCE = 120
"""Seconds for one case."""

FOLDER = Path(__file__).parents[1] / "conformance" / "cases"


def _cases() -> list[Any]:
    return [
        pytest.param(data, id=f"{file.stem}: {data['case']}")
        for file in sorted(FOLDER.glob("*.yaml"))
        for data in load_yaml(file.read_bytes(), str(file))
    ]


EVERY = 1 if EVERYTHING else 10
"""One in so many cases is run by workers without a memory."""

Results = Mapping[str, Observed | Exception]


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, server: Server) -> Results:
    """By the names of the selected tests."""
    return asyncio.run(_run_all(server, _wanted(request, test_a_case_holds_on_temporal)))


@pytest.fixture(scope="session")
def results_without_memory(request: pytest.FixtureRequest, server: Server) -> Results:
    """The same, of workers that keep no run."""
    wanted = _wanted(request, test_a_case_holds_where_every_task_begins_at_the_top)
    return asyncio.run(_run_all(server, wanted, cached=0))


def _wanted(request: pytest.FixtureRequest, test: Any) -> dict[str, Any]:
    return {
        item.name: item.callspec.params["data"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test.__name__
    }


async def _run_all(server: Server, wanted: Mapping[str, Any], *, cached: int = 1000) -> Results:
    left = list(wanted.items())
    found: dict[str, Observed | Exception] = {}

    async def lane(namespace: str) -> None:
        lane = Lane(await Client.connect(server.target, namespace=namespace))
        async with lane.working(cached=cached):
            while left:
                name, data = left.pop(0)
                try:
                    found[name] = await asyncio.wait_for(lane.run(Case.parse(data)), PATIENCE)
                except Exception as error:  # that test fails with it, and the others go on
                    found[name] = error

    await asyncio.gather(*map(lane, LANES))
    return found


@pytest.mark.parametrize("data", _cases())
def test_a_case_holds_on_temporal(
    data: dict[str, Any], results: Results, request: pytest.FixtureRequest
) -> None:
    judge(data, results[request.node.name])


@pytest.mark.parametrize("data", _cases()[::EVERY])
def test_a_case_holds_where_every_task_begins_at_the_top(
    data: dict[str, Any], results_without_memory: Results, request: pytest.FixtureRequest
) -> None:
    judge(data, results_without_memory[request.node.name])


def judge(data: dict[str, Any], observed: Observed | Exception) -> None:
    """As on SQLite, or as the case says of Temporal."""
    if isinstance(observed, Exception):
        raise observed
    case = Case.parse(data)
    there = dataclasses.replace(case, expect={**case.expect, **case.on_temporal})
    assert differences(there, observed) == []
