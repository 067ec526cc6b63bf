"""A workflow task may take longer than Temporal's SDK thinks right: it reads large documents, and goes
through long runs again. The SDK takes that for a deadlock, and has no option for it.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from flowctl import hookimpl
from flowctl.backends.reins import Reins
from flowctl.backends.temporal.backend import TemporalBackend
from flowctl.embedding.loading import Documents
from flowctl.plugins import load
from tests.temporal.server import Server

SDK_ALLOWS = 2.0
"""Seconds."""

PATIENCE = 60.0

DOCUMENT = "dsl: 1\nname: slow\nsteps: [{sleep: '${{ nap() }}'}]\n"


class Naps:
    """A plugin whose function takes its time."""

    @hookimpl
    def flowctl_register_functions(self, register: Any) -> None:
        """See the hook."""
        register("nap", nap)


def nap() -> str:
    time.sleep(SDK_ALLOWS + 0.5)
    return "0s"


def test_a_workflow_task_that_takes_longer_than_the_sdk_allows_is_no_deadlock(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a worker nor for a replay, which both go through it."""
    monkeypatch.chdir(tmp_path)
    plugins = load(entry_points=False, objects=[Naps()])
    backend = TemporalBackend(server.url(task_queue="slow"), plugins, None)
    try:
        run_id, _ = backend.start(Documents(backend, plugins).request(DOCUMENT, {}, "slow", None))
        reins = Reins()
        patience = threading.Timer(PATIENCE, reins.stop)  # such a task would be tried again for ever
        patience.start()
        assert backend.drive(run_id, wait=10_000, reins=reins)["status"] == "completed"
        patience.cancel()
        history = backend._ask(backend._client.get_workflow_handle(run_id).fetch_history())
    finally:
        backend.close()
    kinds = [event.event_type for event in history.events]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in kinds
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in kinds
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in kinds
