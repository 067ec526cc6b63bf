"""``while`` and ``until``: iterations one after the other, as long as a condition says."""

from __future__ import annotations

from functools import partial
from typing import Any

from flowctl.errors import Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.parts import Part
from flowctl.interpreter.steps import about, completed, failures, run_steps, verb
from flowctl.model import LoopStep, UntilStep, WhileStep
from flowctl.path import Path
from flowctl.runtime import Answer


@verb(WhileStep)
async def _while(step: WhileStep, branch: Branch, path: Path) -> Answer:
    branch.rt.decide(path, "started", lambda: about(step))
    index, previous = 0, None
    while _test(step, branch, path, index, previous):
        if index == step.max_iterations:
            raise _too_many(step, path)
        previous = await _iterate(step, branch, path, index, previous)
        index += 1
    return completed(step, branch, path, previous)


@verb(UntilStep)
async def _until(step: UntilStep, branch: Branch, path: Path) -> Answer:
    branch.rt.decide(path, "started", lambda: about(step))
    index, previous = 0, await _iterate(step, branch, path, 0, None)
    while not _test(step, branch, path, index, previous):
        index += 1
        if index == step.max_iterations:
            raise _too_many(step, path)
        previous = await _iterate(step, branch, path, index, previous)
    return completed(step, branch, path, previous)


async def _iterate(step: LoopStep, branch: Branch, path: Path, index: int, previous: Any) -> Any:
    here = path.iteration(index)
    names = {"loop": {"index": index, "previous": previous}}
    body = partial(run_steps, step.steps, path=here)
    part = Part("iteration", here, step.ids, names, body, step.secret_result, keeps_vars=True)
    answer = await part.run(branch)
    branch.scope.heard(answer.at)
    return answer.value


def _test(step: LoopStep, branch: Branch, path: Path, index: int, previous: Any) -> bool:
    """What the condition says, decided once for each iteration."""
    here, scope = path.iteration(index), branch.scope

    def decide() -> dict[str, Any]:
        around = scope.extra
        scope.extra = around | {"loop": {"index": index, "previous": previous}}
        try:
            with failures(path):
                return {"value": step.test.test(scope)}
        finally:
            scope.extra = around

    scope.at_step(path, step.id)
    if step.test_reads:
        scope.reads = branch.rt.decide(here, "read", branch.rt.facts).value
    return bool(branch.rt.decide(here, "condition", decide).value["value"])


def _too_many(step: LoopStep, path: Path) -> StepFailed:
    message = f"{path} was not over after {step.max_iterations} iterations"
    return StepFailed(Failure("IterationLimit", message, step=path))
