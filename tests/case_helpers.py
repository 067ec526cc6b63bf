"""What the tests of ``flowctl test`` share: an order, a chain, and a way to run test files about them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.diagnostics import Diagnostic
from flowctl.errors import InvalidDocument
from flowctl.model import NO_POLICY
from flowctl.plugins import load
from flowctl.testing.casefile import CaseFile, Surroundings, load_text
from flowctl.testing.suite import Suite
from tests.mutation.hunt import PACKAGES

ORDER = """\
dsl: 1
name: order
input:
  type: object
  required: [item]
  properties:
    item: {type: string}
    express: {type: boolean, default: true}
    amount: {type: integer, default: 5}
signals:
  approve: {payload: {type: object, required: [by], properties: {by: {type: string}}}}
secrets: [TOKEN]
steps:
  - id: reserve
    activity: shop.reserve
    with: {item: "${{ input.item }}"}
    retry: {attempts: 3, delay: 1s}
    compensate: {activity: shop.release, with: {id: "${{ result.id }}"}}
  - id: cooling_off
    if: not input.express
    sleep: 30d
  - id: approval
    if: input.amount > 100
    wait_for_signal: approve
    timeout: 2h
  - id: charge
    activity: shop.charge
    with: {amount: "${{ input.amount }}", key: "${{ step.idempotency_key }}"}
    compensate: {activity: shop.refund, with: {key: "${{ step.idempotency_key }}"}, after: attempted}
  - id: ship
    activity: shop.ship
    with: {reservation: "${{ steps.reserve.output.id }}", token: "${{ secrets.TOKEN }}"}
output: {tracking: "${{ steps.ship.output }}"}
""".replace("name: order\n", "name: order\ntimeout: 40d\n")

CHAIN = """\
dsl: 1
name: chain
input: {type: object, properties: {n: {type: integer, default: 1}}}
steps:
  - id: take
    activity: t.take
    with: {n: "${{ input.n }}"}
    compensate: {activity: t.give, retry: {attempts: 2}}
  - id: again
    if: input.n < 2
    continue_as_new: {input: {n: "${{ input.n + 1 }}"}}
"""
"""Two runs, the second of which succeeds the first."""

MOCKS: dict[str, Any] = {
    "shop.reserve": {"return": {"id": 7}},
    "shop.release": {},
    "shop.charge": {"return": {"id": 1}},
    "shop.refund": {},
    "shop.ship": {"return": "T-${{ args.reservation }}"},
}

HERE = Surroundings(lambda folders: load(folders, entry_points=False), NO_POLICY)
WITH_PACKAGES = Surroundings(lambda folders: load([*folders, *PACKAGES], entry_points=False), NO_POLICY)
"""For the examples: some are built on the packages under ``plugins/``."""


def written(*cases: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A test file about the order, as data."""
    named = [{"case": f"case {number}", **case} for number, case in enumerate(cases, 1)]
    about = {"workflow": "./order.yaml", "input": {"item": "lamp"}, "mocks": MOCKS}
    return copy.deepcopy({**about, **more, "cases": named})


def loaded(data: Any, folder: Path, workflow: str = ORDER, around: Surroundings = HERE) -> CaseFile:
    """A test file, given as data or as text, beside that workflow."""
    (folder / "order.yaml").write_text(workflow)
    text = data if isinstance(data, str) else json.dumps(data)
    return load_text(text, folder / "order.test.yaml", around)


def results(
    data: Any, folder: Path, workflow: str = ORDER, around: Surroundings = HERE
) -> list[dict[str, Any]]:
    """What comes of its cases."""
    return list(Suite(around).cases(loaded(data, folder, workflow, around)))


def one(folder: Path, case: dict[str, Any], workflow: str = ORDER, **more: Any) -> dict[str, Any]:
    """What comes of one case."""
    [result] = results(written(case, **more), folder, workflow)
    return result


def wrong(result: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    return [mismatch["what"] for mismatch in result["mismatches"]]


def mistakes(data: Any, folder: Path) -> list[Diagnostic]:
    """The mistakes of a test file."""
    with pytest.raises(InvalidDocument) as caught:
        loaded(data, folder)
    return list(caught.value.diagnostics)
