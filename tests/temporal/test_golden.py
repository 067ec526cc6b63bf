"""Temporal's histories of released versions, kept: Temporal's own Replayer replays them, in its sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from flowctl.runtimes.temporal.workflow import FlowctlRun, sandbox
from tests.golden.make_temporal import HERE

HISTORIES = sorted(HERE.glob("*/*.json"))


def replay(history: dict[str, Any]) -> None:
    """Raises ``NondeterminismError``."""
    replayer = Replayer(workflows=[FlowctlRun], workflow_runner=sandbox())
    found = WorkflowHistory.from_json(history["workflowId"], history)
    asyncio.run(replayer.replay_workflow(found))


def read(file: Path) -> dict[str, Any]:
    history: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return history


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_history_of_a_released_version_is_replayed(file: Path) -> None:
    replay(read(file))


def test_all_kinds_of_runs_are_there() -> None:
    names = {file.name.partition(".")[0] for file in HISTORIES}
    kinds = {"order-completed", "order-approved", "order-undone", "branches", "each-undone", "moved"}
    assert kinds | {"children-undone"} <= names
    assert len([file for file in HISTORIES if file.name.startswith("moved.")]) > 2


def test_a_history_that_another_interpreter_would_have_made_is_found() -> None:
    history = read(HERE / "0.1.0" / "order-completed.1.json")
    scheduled = [event for event in history["events"] if "activityTaskScheduledEventAttributes" in event]
    scheduled[1]["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "another"
    with pytest.raises(workflow.NondeterminismError):
        replay(history)
