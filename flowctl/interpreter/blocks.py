"""Verbs made of steps that run one after the other in the scope around them: ``steps``, ``switch``, ``try``
and ``rollback``.
"""

from __future__ import annotations

import contextlib
from typing import Any

from flowctl.errors import Cancelled, ExpressionError, Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.steps import Left, about, begin, completed, failures, run_steps, verb
from flowctl.interpreter.undoing import roll_back
from flowctl.model import BlockStep, Catch, RollbackStep, SwitchStep, TryStep
from flowctl.path import Path
from flowctl.runtime import Answer


@verb(BlockStep)
async def _steps(step: BlockStep, branch: Branch, path: Path) -> Answer:
    branch.rt.decide(path, "started", lambda: about(step))
    output = await run_steps(step.steps, branch, path)
    return completed(step, branch, path, output)


@verb(SwitchStep)
async def _switch(step: SwitchStep, branch: Branch, path: Path) -> Answer:
    def choose() -> dict[str, Any]:
        with failures(path):
            for case in step.cases:
                if case.condition is None or case.condition.test(branch.scope):
                    return about(step) | {"case": case.segment}
        return about(step) | {"case": None}

    chosen = branch.rt.decide(path, "case", choose).value["case"]
    output = None
    for case in step.cases:
        if case.segment == chosen:
            output = await run_steps(case.steps, branch, path / chosen)
    return completed(step, branch, path, output)


@verb(TryStep)
async def _try(step: TryStep, branch: Branch, path: Path) -> Answer:
    """``finally`` runs however the rest ends, but not when the run is only put aside."""
    begin(branch, path, about(step))
    try:
        output = await _guarded(step, branch, path)
    except Cancelled:
        with contextlib.suppress(StepFailed):  # it is on record; nothing stops a cancellation
            await _finally(step, branch, path)
        raise
    except (StepFailed, Left):
        await _finally(step, branch, path)  # if this fails, that is the failure
        raise
    await _finally(step, branch, path)
    return completed(step, branch, path, output)


async def _guarded(step: TryStep, branch: Branch, path: Path) -> Any:
    mark = branch.saga.mark()
    try:
        return await run_steps(step.steps, branch, path / "try")
    except StepFailed as failed:
        failure = failed.failure
        caught = _catch(step, branch, path, failure)
        if caught is None:
            raise
    if caught.rollback:
        await roll_back(branch, branch.saga.taken_since(mark), failure, path)
    around = branch.scope.extra
    branch.scope.extra = around | {caught.variable: failure.to_json()}
    try:
        return await run_steps(caught.steps, branch, path / caught.segment)
    finally:
        branch.scope.extra = around


def _catch(step: TryStep, branch: Branch, path: Path, failure: Failure) -> Catch | None:
    """The first catch that fits the failure. Which one is decided once, like every condition."""

    def choose() -> dict[str, Any]:
        around = branch.scope.extra
        try:
            for catch in step.catches:
                branch.scope.extra = around | {catch.variable: failure.to_json()}
                if step.reads:
                    branch.scope.reads = branch.rt.facts()
                fits = catch.errors is None or failure.matches(catch.errors)
                with failures(path):
                    if fits and (catch.condition is None or catch.condition.test(branch.scope)):
                        return {"catch": catch.segment}
            return {"catch": None}
        finally:
            branch.scope.extra = around

    branch.scope.at_step(path, step.id)
    chosen = branch.rt.decide(path, "caught", choose).value["catch"]
    return next((catch for catch in step.catches if catch.segment == chosen), None)


async def _finally(step: TryStep, branch: Branch, path: Path) -> None:
    if step.cleanup:
        await branch.rt.shielded(lambda: run_steps(step.cleanup, branch, path / "finally"))


@verb(RollbackStep)
async def _rollback(step: RollbackStep, branch: Branch, path: Path) -> Answer:
    begin(branch, path, about(step))
    kept = _kept(step, branch, path)
    why = Failure("Cancelled", f"rolled back by the step {path}", step=path)
    await roll_back(branch, branch.saga.taken_after(kept), why, path)
    return branch.rt.decide(path, "completed", lambda: {"output": None}).of("output")


def _kept(step: RollbackStep, branch: Branch, path: Path) -> int:
    """What completed later than this is undone. A step that was not reached marks no place."""
    if step.to is None:
        return -1
    with failures(path):
        if step.to not in branch.saga.passed:
            raise ExpressionError(f"the step {step.to} was not reached, so nothing can be rolled back to it")
    return branch.saga.passed[step.to]
