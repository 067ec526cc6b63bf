"""The interpreter: walks a document and asks a ``Runtime`` for everything that touches the world.

Ordinary ``async def`` code that knows no loop, no clock and no chance, so that running it again from the
top with the recorded answers brings it to the same place. Read ``steps`` first: lists of steps, and what all
verbs share. Then one function per verb, in ``verbs``, ``blocks``, ``together``, ``loops`` and ``children``;
``parts`` are branches and iterations. ``calls`` makes calls out of steps and policies, ``scope`` is what
expressions see, ``saga`` what is registered to be undone, and ``undoing`` undoes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.errors import Cancelled, Failure, StepFailed
from flowctl.interpreter import blocks, loops, together, verbs  # noqa: F401  (they register themselves)
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.children import Continued
from flowctl.interpreter.saga import Saga
from flowctl.interpreter.scope import Scope
from flowctl.interpreter.steps import Returned, failures, run_steps
from flowctl.interpreter.undoing import close_children, undo
from flowctl.model import Workflow
from flowctl.path import ROOT, chain_number
from flowctl.runtime import End, Runtime
from flowctl.state import RunStatus

__all__ = ["execute"]


async def execute(workflow: Workflow, input: Mapping[str, Any], rt: Runtime) -> End:
    """Run a whole document: its steps, then its output; or, when they fail or are cancelled, its undoing."""
    scope = Scope(rt, input, workflow.ids, rt.info.started_at)
    branch = Branch(rt, workflow, scope, Saga())
    inherited = rt.inherited
    if inherited:
        branch.saga.absorb_data(inherited.get("left", {}), workflow)
    if "why" in inherited:
        return await _undo(branch, Failure.from_json(inherited["why"]))
    try:
        output, secret = await _steps_and_output(branch)
        rt.heed()
    except StepFailed as failed:
        return await _fail(branch, failed)
    except Cancelled as cancelled:
        return await _undo(branch, _reason(cancelled))
    except Continued as continued:
        left = branch.saga.bequest(rt.info.id, f"_run{chain_number(rt.info.id)}.", input)
        return End(RunStatus.CONTINUED, continued.input, None, branch.saga.to_json(), left)
    await close_children(branch)
    left = branch.saga.bequest(rt.info.id) if rt.info.parent_id is not None else {}
    return End(RunStatus.COMPLETED, output, None, branch.saga.to_json(), left, secret)


async def _steps_and_output(branch: Branch) -> tuple[Any, bool]:
    """The output, and whether it may be that of a secret step."""
    workflow = branch.workflow
    secret = workflow.secret_result
    try:
        output = await run_steps(workflow.steps, branch, ROOT)
        branch.scope.at_step(ROOT, None)
        if workflow.output is not None:
            if workflow.reads:
                branch.scope.reads = branch.rt.decide(ROOT, "read", branch.rt.facts).value
            with failures(ROOT):
                output = workflow.output.render(branch.scope).value
    except Returned as returned:
        output, secret = returned.value, False
    except Continued:
        branch.rt.heed()  # what was cancelled has no successor
        raise
    problem = workflow.check_output(output)
    if problem is not None:
        raise StepFailed(Failure("InvalidOutput", f"the output does not fit output_schema: {problem}"))
    return output, secret


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
        await undo(branch, saga.taken_since(0), failure)
    await close_children(branch)
    saga.skip_doubts(rt.skipped)
    return End(saga.status_after(failure), None, failure, saga.to_json())


def _reason(cancelled: Cancelled) -> Failure:
    """Why the run was cancelled: the reason of the scope it unwound from."""
    reason: Failure | None = getattr(cancelled.scope, "reason", None)
    return reason or Failure("Cancelled", "cancelled")
