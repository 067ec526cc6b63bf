"""Undoing: what a registered step's compensation does, and undoing a part of a run while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flowctl.errors import Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import engine_call, undo_call
from flowctl.interpreter.saga import Fate, Registered, Saga
from flowctl.interpreter.scope import RECORDED_WHEN_READ
from flowctl.interpreter.steps import failures, run_block
from flowctl.model import Compensation
from flowctl.path import Path
from flowctl.runtime import Answer, CallFailed


async def undo(branch: Branch, items: Sequence[Registered], why: Failure) -> list[str]:
    """Undo registered steps, latest completion first, out of reach of every cancellation. Returns the paths
    of those that could not be undone.
    """
    failed: list[str] = await branch.rt.shielded(lambda: branch.saga.undo(items, partial(_fate, branch, why)))
    return failed


async def roll_back(branch: Branch, items: Sequence[Registered], why: Failure, path: Path) -> None:
    """Undo a part of the run, which then goes on. Raises ``StepFailed`` with ``CompensationFailed`` if some
    of it could not be undone; also when a retry has undone it since, for the run took its course from there.
    """
    failed = await undo(branch, items, why)
    recorded = branch.rt.remembered(path, "rolled_back")
    if recorded is None and failed:
        recorded = branch.rt.decide(path, "rolled_back", lambda: {"failed": failed})
    if recorded is not None:
        failed = recorded.value["failed"]
        message = f"{', '.join(failed)} could not be undone"
        raise StepFailed(Failure("CompensationFailed", message, details={"steps": failed}, step=path))


async def _fate(branch: Branch, why: Failure, item: Registered, stopped: int | None) -> Fate:
    """Undo one step if that is to be done, and can be. ``stopped``: a failure has ended that (its order)."""
    path = str(item.path)
    if item.path in branch.rt.skipped:
        return Fate(_noted(branch, item, "undo_skipped"), "skipped", path)
    if item.compensation is None:
        return Fate(_noted(branch, item, "not_undone"), "not_undone", path)
    if stopped is not None:
        return Fate(stopped, "failed", path)
    try:
        answer = await _undo_one(branch, why, item, item.compensation)
    except CallFailed as failed:
        return Fate(failed.order, "failed", path)
    except StepFailed as failed:
        data = {"error": failed.failure.at(item.path.undo).to_json()}
        return Fate(branch.rt.decide(item.path.undo, "failed", lambda: data).order, "failed", path)
    if item.compensation.rollback and answer.value is not None:
        return Fate(_noted(branch, item, "not_undone"), "not_undone", path)
    return Fate(answer.order, "undone", path)


def _noted(branch: Branch, item: Registered, kind: str) -> int:
    """That a step was left as it is, is on record at the step."""
    return branch.rt.decide(item.path, kind, dict).order


async def _undo_one(branch: Branch, why: Failure, item: Registered, compensation: Compensation) -> Answer:
    """Call the compensating activity, run the compensating steps, or have the child undone: then the answer
    is null, or says that some of it cannot be. Raises ``StepFailed``.
    """
    scope = branch.scope.restored(item.captured, compensation.ids)
    scope.extra |= {"result": item.result, "args": item.args, "error": why.to_json()}
    scope.undoing(item.path, item.step_id, item.key)
    path = item.path.undo
    inner = Branch(branch.rt, branch.workflow, scope, Saga(), path, branch.bound)
    if _reads_what_changes(compensation.captures):
        scope.reads = branch.rt.decide(path, "read", branch.rt.facts).value
    try:
        answer = await _compensate(item, compensation, inner, path, why)
        scope.heard(answer.at)
    except CallFailed as failed:
        scope.heard(failed.at)
        raise
    finally:
        branch.scope.heard(scope.now)
    return answer


async def _compensate(
    item: Registered, compensation: Compensation, branch: Branch, path: Path, why: Failure
) -> Answer:
    rt = branch.rt
    if compensation.rollback:
        data = {"run": item.child, "why": why.to_json()}
        call = engine_call("undo_child", f"{item.child}~undo", data, path, branch)
    elif compensation.activity is not None or compensation.child is not None:
        with failures(path):
            call = undo_call(compensation, branch, path, secret=item.secret)
    else:
        steps = partial(run_block, compensation.steps, branch, path)
        timeout = compensation.policy.timeout
        answer: Answer = await (steps() if timeout is None else rt.deadline(path, timeout, steps))
        return answer
    return await rt.activity(path, call)


async def close_children(branch: Branch) -> None:
    """Cancel the detached children that are to end with this run."""
    for number, child in enumerate(branch.saga.closing, 1):
        path = Path(f"_close{number}")
        call = engine_call("close_child", child, {"run": child}, path, branch)
        await branch.rt.shielded(partial(branch.rt.activity, path, call))


def _reads_what_changes(references: frozenset[tuple[str, ...]]) -> Any:
    return any(reference[0] == "run" and reference[-1] in RECORDED_WHEN_READ for reference in references)
