"""Verbs that reach other runs: ``workflow``, ``send_signal`` and ``continue_as_new``."""

from __future__ import annotations

from typing import Any

import msgspec

from flowctl.errors import InvalidInput
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import child_call, closes_with_parent, engine_call
from flowctl.interpreter.steps import Left, about, failures, verb
from flowctl.model import ContinueStep, SendSignalStep, WorkflowStep
from flowctl.path import Path
from flowctl.runtime import Answer


class Continued(Left):
    """``continue_as_new`` was reached: the successor begins with ``input``."""

    def __init__(self, input: dict[str, Any]) -> None:
        super().__init__("continue_as_new")
        self.input = input


@verb(WorkflowStep)
async def _workflow(step: WorkflowStep, branch: Branch, path: Path) -> Answer:
    with failures(path):
        call = child_call(step, branch, path)
    branch.scope.args = msgspec.json.decode(call.arguments)
    answer = await branch.rt.activity(path, call)
    if closes_with_parent(step) and not answer.served:
        branch.saga.closing.append(path.child_id(branch.rt.info.id, answer.attempt))
    return answer


@verb(SendSignalStep)
async def _send_signal(step: SendSignalStep, branch: Branch, path: Path) -> Answer:
    with failures(path):
        message = step.message.render(branch.scope).value
        call = engine_call("send_signal", message["signal"], message, path, branch, secret=step.secret)
    return await branch.rt.activity(path, call)


@verb(ContinueStep)
async def _continue_as_new(step: ContinueStep, branch: Branch, path: Path) -> Answer:
    def evaluate() -> dict[str, Any]:
        with failures(path):
            value = step.input.render(branch.scope).value
            if not isinstance(value, dict):
                raise InvalidInput("the input of continue_as_new must be a mapping")
            return about(step) | {"output": branch.workflow.prepare_input(value)}

    raise Continued(branch.rt.decide(path, "completed", evaluate).value["output"])
