"""Temporal's runner of workflows, and somebody who is there whenever it activates one.

That is outside of the workflow, and of its sandbox: whoever attends sees what Temporal hands over, when a
worker forgets a run too, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

Attend = Callable[[Info, WorkflowActivation], AbstractContextManager[object]]
"""Entered around an activation of the run, in its thread."""


class AttendedRunner(WorkflowRunner):
    """See ``WorkflowRunner``."""

    def __init__(self, runner: WorkflowRunner, attend: Attend) -> None:
        self._runner = runner
        self._attend = attend

    def prepare_workflow(self, defn: Any) -> None:
        """See ``WorkflowRunner``."""
        self._runner.prepare_workflow(defn)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        """See ``WorkflowRunner``."""
        self._runner.set_worker_level_failure_exception_types(types)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See ``WorkflowRunner``."""
        return _Attended(self._runner.create_instance(det), det.info, self._attend)


class _Attended(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance, info: Info, attend: Attend) -> None:
        self._instance = instance
        self._info = info
        self._attend = attend

    def activate(self, act: WorkflowActivation) -> Any:
        with self._attend(self._info, act):
            return self._instance.activate(act)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._instance.get_external_store_context(command_info)
