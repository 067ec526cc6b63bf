"""The interpreter: walks a document and asks a ``Runtime`` for everything that touches the world.

Ordinary ``async def`` code that knows no loop, no clock and no chance, so that running it again from the
top with the recorded answers brings it to the same place. Read ``verbs`` first: one function per verb.
``calls`` makes activity calls out of steps and policies, ``scope`` is what expressions see, ``saga`` what
is undone, and how.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flowctl.errors import Cancelled, Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import undo_call
from flowctl.interpreter.saga import Registered, Saga
from flowctl.interpreter.scope import RECORDED_WHEN_READ, Scope
from flowctl.interpreter.verbs import Returned, failures, run_block, run_steps
from flowctl.model import Workflow
from flowctl.path import ROOT
from flowctl.runtime import End, Runtime
from flowctl.state import RunStatus

__all__ = ["execute"]


async def execute(workflow: Workflow, input: Mapping[str, Any], rt: Runtime) -> End:
    """Run a whole document: its steps, then its output; or, when they fail or are cancelled, its undoing."""
    scope = Scope(rt, input, workflow.ids, rt.info.started_at)
    branch = Branch(rt, workflow, scope, Saga())
    try:
        output = await _steps_and_output(branch)
        rt.heed()
    except StepFailed as failed:
        return await _fail(branch, failed)
    except Cancelled as cancelled:
        return await _undo(branch, _reason(cancelled))
    return End(RunStatus.COMPLETED, output, None, branch.saga.to_json())


async def _steps_and_output(branch: Branch) -> Any:
    workflow = branch.workflow
    try:
        output = await run_steps(workflow.steps, branch, ROOT)
        branch.scope.at_step(ROOT, None)
        if workflow.output is not None:
            if workflow.reads:
                branch.scope.reads = branch.rt.decide(ROOT, "read", branch.rt.facts).value
            with failures(ROOT):
                output = workflow.output.render(branch.scope).value
    except Returned as returned:
        output = returned.value
    problem = workflow.check_output(output)
    if problem is not None:
        raise StepFailed(Failure("InvalidOutput", f"the output does not fit output_schema: {problem}"))
    return output


async def _fail(branch: Branch, failed: StepFailed) -> End:
    """The run failed: hold it if its author asked for that, else undo it."""
    failure = failed.failure
    if branch.workflow.on_failure == "hold" and not failed.undo:
        try:
            await branch.rt.hold(ROOT, failure)
        except Cancelled as cancelled:
            failure = _reason(cancelled)
    return await _undo(branch, failure)


async def _undo(branch: Branch, failure: Failure) -> End:
    """Undo all that is registered, out of reach of every cancellation, and say how the run ended."""
    rt, saga = branch.rt, branch.saga
    if saga.registered:
        rt.decide(ROOT, "compensating", lambda: {"error": failure.to_json()})
        await rt.shielded(lambda: saga.undo_all(lambda item: _undo_one(branch, item, failure)))
    return End(saga.status_after(failure), None, failure, saga.to_json())


async def _undo_one(branch: Branch, item: Registered, failure: Failure) -> None:
    """Undo one step: call its compensating activity, or run its compensating steps. Raises ``StepFailed``."""
    compensation = item.compensation
    assert compensation is not None
    scope = branch.scope.restored(item.captured, compensation.ids)
    scope.extra |= {"result": item.result, "args": item.args, "error": failure.to_json()}
    scope.undoing(item.path, item.step_id, item.key)
    inner = Branch(branch.rt, branch.workflow, scope, Saga())
    path = item.path.undo
    if any(
        reference[0] == "run" and reference[-1] in RECORDED_WHEN_READ for reference in compensation.captures
    ):
        scope.reads = branch.rt.decide(path, "read", branch.rt.facts).value
    if compensation.activity is None:
        steps = partial(run_block, compensation.steps, inner, path)
        timeout = compensation.policy.timeout
        await (steps() if timeout is None else branch.rt.deadline(path, timeout, steps))
    else:
        with failures(path, branch.rt):
            call = undo_call(compensation, inner, path, secret=item.secret)
        scope.heard((await branch.rt.activity(path, call)).at)
    branch.scope.heard(scope.now)


def _reason(cancelled: Cancelled) -> Failure:
    """Why the run was cancelled: the reason of the scope it unwound from."""
    reason: Failure | None = getattr(cancelled.scope, "reason", None)
    return reason or Failure("Cancelled", "cancelled")
