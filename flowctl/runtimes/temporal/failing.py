"""Workflow tasks that fail. Temporal has them made again, after longer and longer pauses, until a worker can.

A run fails its tasks where the worker lacks a function of its document, where its history does not fit what
it does, or where flowctl itself is wrong. What such a worker does must not become part of the history, so
the run cannot park itself, and Temporal has no state for that. Whoever looks sees it as ``blocked``, as on
SQLite.
"""

from __future__ import annotations

import logging
from typing import Any

from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState, WorkflowTaskFailedCause
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.client import WorkflowHistory

from flowctl.errors import Blocked, FlowctlError, InternalError, safe_text
from flowctl.path import ROOT

STARTED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
"""A worker has it. The SDK keeps one that fails again until its time is up, ten seconds."""

FAILURES = 3
"""After so many in a row nobody counts on the next attempt: ``--drain`` does not wait for it."""

REPLAYS = "replay-"
"""What the queues of replayers begin with."""

LOGGER = "temporalio.worker._workflow_instance"

_DECIDED = {EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED}

_BY_THE_RUN = {
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
}
"""Other causes are Temporal's own: a signal came in between, a worker was stopped."""


def why(history: WorkflowHistory) -> Blocked | None:
    """Why the run cannot be driven, by its last workflow task; None if it can. Of failures in a row Temporal
    keeps the first.
    """
    last = next((event for event in reversed(history.events) if event.event_type in _DECIDED), None)
    failed = last.workflow_task_failed_event_attributes if last is not None else None
    if failed is None or failed.cause not in _BY_THE_RUN:
        return None
    code = failed.failure.application_failure_info.type or "InternalError"
    return Blocked(code, f"it cannot be driven: {failed.failure.message}", ROOT)


def is_failing(task: PendingWorkflowTaskInfo) -> bool:
    """Whether it has failed so often that nobody knows when it will succeed: not while it waits for a worker,
    who may be the one that can.
    """
    return task.attempt > FAILURES and task.state == STARTED


class OneLine(logging.Filter):
    """Of ``LOGGER``: says in one line that a run cannot be driven. The traceback stays if flowctl is wrong;
    a replay that fails is told by whoever asked for it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is news."""
        about: Any = getattr(record, "temporal_workflow", None)
        error = record.exc_info[1] if record.exc_info else None
        if about is None or error is None:
            return True
        record.msg, record.args = "run %s cannot be driven: %s", (about["workflow_id"], safe_text(error))
        if isinstance(error, FlowctlError) and not isinstance(error, InternalError):
            record.exc_info = None
        return not about["task_queue"].startswith(REPLAYS)


class SaidInPython(logging.Filter):
    """Of what the core of the SDK says: drops that a task fails which failed in Python, where it was said."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is news."""
        said = record.getMessage()
        return not ("Failing workflow task" in said and 'stack_trace: "  File' in said)
