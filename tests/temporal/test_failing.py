"""Workflow tasks that fail: what is seen of them, what is said, and who waits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.client import WorkflowHistory

from flowctl.backends.temporal.backend import TemporalBackend
from flowctl.embedding.loading import Documents
from flowctl.errors import InternalError
from flowctl.plugins import load
from flowctl.runtimes.temporal import failing, host
from tests.temporal.server import Server

BY_THE_RUN = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
BY_TEMPORAL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND

STARTED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
SCHEDULED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED

DONE = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
GIVEN = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)


def failed(cause: Any) -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    about = event.workflow_task_failed_event_attributes
    about.cause = cause
    about.failure.message = "unknown function 'f'"
    about.failure.application_failure_info.type = "ExpressionError"
    return event


@pytest.mark.parametrize(
    ("events", "blocked"),
    [
        ([GIVEN], False),
        ([GIVEN, DONE], False),
        ([GIVEN, failed(BY_THE_RUN)], True),
        ([GIVEN, failed(BY_THE_RUN), GIVEN], True),
        ([GIVEN, DONE, GIVEN, failed(BY_THE_RUN), GIVEN], True),
        ([GIVEN, failed(BY_THE_RUN), GIVEN, DONE, GIVEN], False),
        ([GIVEN, failed(BY_TEMPORAL), GIVEN], False),
    ],
)
def test_a_run_is_blocked_if_its_last_workflow_task_failed_by_itself(
    events: list[HistoryEvent], blocked: bool
) -> None:
    found = failing.why(WorkflowHistory("one", events))
    assert (found is not None) is blocked
    if found is not None:
        assert (found.code, found.reason) == (
            "ExpressionError",
            "it cannot be driven: unknown function 'f'",
        )


@pytest.mark.parametrize(
    ("attempt", "state", "expected"), [(3, STARTED, False), (4, STARTED, True), (9, SCHEDULED, False)]
)
def test_nobody_waits_for_a_task_that_fails_again_and_again_unless_a_worker_may_have_it_at_once(
    attempt: int, state: Any, expected: bool
) -> None:
    assert failing.is_failing(PendingWorkflowTaskInfo(state=state, attempt=attempt)) is expected


def test_whoever_drives_a_run_hears_that_flowctl_fails(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*about: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "decided", fails)
    plugins = load(entry_points=False)
    backend = TemporalBackend(server.url(task_queue="failing"), plugins, None)
    try:
        document = "dsl: 1\nname: naps\nsteps: [{sleep: 1s}]\n"
        run_id, _ = backend.start(Documents(backend, plugins).request(document, {}, None, None))
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(InternalError, match="flowctl failed: a mistake"),
        ):
            backend.drive(run_id, wait=0)
        assert backend.status(run_id)["status"] == "blocked"
    finally:
        backend.close()
    assert "RuntimeError: a mistake" in caplog.text
    assert "Failing workflow task" not in caplog.text
