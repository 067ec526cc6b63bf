"""Undoing: what a registered step's compensation does, and undoing a part of a run while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flowctl.errors import Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import engine_call, undo_call
from flowctl.interpreter.saga import Registered, Saga
from flowctl.interpreter.scope import RECORDED_WHEN_READ
from flowctl.interpreter.steps import failures, run_block
from flowctl.path import Path
from flowctl.runtime import CallFailed


async def undo(branch: Branch, items: Sequence[Registered], why: Failure) -> list[str]:
    """Undo registered steps, latest completion first, out of reach of every cancellation. Returns the paths
    of those that could not be undone.
    """
    saga = branch.saga
    failed_before = len(saga.failed)
    undo_one = partial(_undo_one, branch, why)
    await branch.rt.shielded(lambda: saga.undo(items, undo_one, branch.rt.skipped))
    return saga.failed[failed_before:]


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


async def _undo_one(branch: Branch, why: Failure, item: Registered) -> bool:
    """Undo one step: call its compensating activity, run its compensating steps, or have its child undone.
    False if there is something that cannot be undone. Raises ``StepFailed``.
    """
    compensation = item.compensation
    assert compensation is not None
    scope = branch.scope.restored(item.captured, compensation.ids)
    scope.extra |= {"result": item.result, "args": item.args, "error": why.to_json()}
    scope.undoing(item.path, item.step_id, item.key)
    path = item.path.undo
    inner = Branch(branch.rt, branch.workflow, scope, Saga(), path, branch.bound)
    if _reads_what_changes(compensation.captures):
        scope.reads = branch.rt.decide(path, "read", branch.rt.facts).value
    try:
        return await _compensate(item, inner, path, why)
    except CallFailed as failed:
        scope.heard(failed.at)
        raise
    finally:
        branch.scope.heard(scope.now)


async def _compensate(item: Registered, branch: Branch, path: Path, why: Failure) -> bool:
    rt, scope, compensation = branch.rt, branch.scope, item.compensation
    assert compensation is not None
    if compensation.rollback:
        data = {"run": item.child, "why": why.to_json()}
        call = engine_call("undo_child", f"{item.child}~undo", data, path, branch)
        answer = await rt.activity(path, call)
        scope.heard(answer.at)
        return answer.value is None
    if compensation.activity is not None or compensation.child is not None:
        with failures(path, rt):
            call = undo_call(compensation, branch, path, secret=item.secret)
        scope.heard((await rt.activity(path, call)).at)
    else:
        steps = partial(run_block, compensation.steps, branch, path)
        timeout = compensation.policy.timeout
        await (steps() if timeout is None else rt.deadline(path, timeout, steps))
    return True


async def close_children(branch: Branch) -> None:
    """Cancel the detached children that are to end with this run."""
    for number, child in enumerate(branch.saga.closing, 1):
        path = Path(f"_close{number}")
        call = engine_call("close_child", child, {"run": child}, path, branch)
        await branch.rt.shielded(partial(branch.rt.activity, path, call))


def _reads_what_changes(references: frozenset[tuple[str, ...]]) -> Any:
    return any(reference[0] == "run" and reference[-1] in RECORDED_WHEN_READ for reference in references)
