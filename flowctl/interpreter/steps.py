"""Lists of steps, and the attributes that all verbs share (``run_step``).

A verb is a function that returns an ``Answer``: its raw result, when, and in which order it came. It
registers itself here by ``verb``, so that this module knows none of them and each of them may run lists of
steps. Only ``run_step`` touches the scope's ``steps`` and registers what undoes a step, so a verb need not
know what becomes of its result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from flowctl.errors import Cancelled, Control, Failure, FlowctlError, StepFailed, failure_of
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.saga import Fate, Registered
from flowctl.model import ActivityStep, BlockStep, Step, WaitStep, WorkflowStep, ends_secret
from flowctl.path import Path
from flowctl.runtime import Answer, CallCancelled, CallFailed

NOT_ABSORBED = frozenset({"ExpressionError", "InvalidInput"})
"""Failures that ``optional`` does not absorb: mistakes of the author, who must see them."""

Verb = Callable[[Any, Branch, Path], Awaitable[Answer]]
V = TypeVar("V", bound=Verb)

_VERBS: dict[type[Step], Verb] = {}

_CALLS = (ActivityStep, WorkflowStep)
"""Steps that call something with arguments."""


def verb(*kinds: type[Step]) -> Callable[[V], V]:
    """This function is what steps of these kinds do."""

    def register(function: V) -> V:
        _VERBS.update(dict.fromkeys(kinds, function))
        return function

    return register


class Left(Control):
    """The run ends, from any depth: what cleans up is done on the way out."""


class Returned(Left):
    """``return`` was reached: ``value`` is the run's output."""

    def __init__(self, value: Any) -> None:
        super().__init__("return")
        self.value = value


async def run_steps(steps: Sequence[Step], branch: Branch, path: Path) -> Any:
    """Run a list in order; the result is the output of its last step that ran."""
    result = None
    for step in steps:
        ran, value = await run_step(step, branch, path / step.segment)
        if ran:
            result = value
    return result


async def run_block(steps: Sequence[Step], branch: Branch, path: Path) -> Answer:
    """Run a list that is a thing of its own, as the steps of a compensation are: with a beginning and an
    end on record.
    """
    branch.rt.decide(path, "started", lambda: {"verb": BlockStep.verb})
    output = await run_steps(steps, branch, path)
    secret = ends_secret(steps)
    return branch.rt.decide(path, "completed", lambda: result_of(output, secret=secret))


async def run_step(step: Step, branch: Branch, path: Path) -> tuple[bool, Any]:
    """Run one step with all its common attributes. Returns whether it ran, and its output."""
    scope = branch.scope
    scope.at_step(path, step.id)
    try:
        if branch.rt.gated():
            await branch.rt.may_begin(path)
        if step.reads:
            scope.reads = branch.rt.decide(path, "read", branch.rt.facts).value
        if step.condition is not None and not _taken(step, branch, path):
            _show(step, branch, "skipped")
            return False, None
        if step.plain:
            answer = await _VERBS[type(step)](step, branch, path)
            _passed(step, branch, answer.order, answer.at)
            output = answer.value
        else:
            output = await _run(step, branch, path)
    except StepFailed as failed:
        await _failed(step, branch, path, failed)
        return True, None
    except CallCancelled as cancelled:
        _passed(step, branch, cancelled.order, cancelled.at)
        _show(step, branch, "cancelled")
        raise Cancelled(cancelled.scope) from None  # what it says of the call is not about the steps around
    except Cancelled:
        ended = branch.rt.decide(path, "cancelled", lambda: about(step))
        _passed(step, branch, ended.order, ended.at)
        _show(step, branch, "cancelled")
        raise
    _show(step, branch, "completed", output)
    return True, output


async def _run(step: Step, branch: Branch, path: Path) -> Any:
    """Run the verb within its time, register what undoes it, and reshape its output."""
    captured = branch.scope.capture(step.compensation.captures) if step.compensation is not None else {}
    if step.timeout is None or isinstance(step, WaitStep):
        answer = await _work(step, branch, path, captured)
    elif isinstance(step, WorkflowStep):  # what the child did counts, also after the time is up
        answer = await branch.rt.deadline(path, step.timeout, lambda: _work(step, branch, path, captured))
    else:
        mark, run_verb = branch.saga.mark(), _VERBS[type(step)]
        answer = await branch.rt.deadline(path, step.timeout, lambda: run_verb(step, branch, path))
        _completed(step, branch, path, captured, answer, mark)
    _passed(step, branch, answer.order, answer.at)
    return _reshaped(step, branch, path, answer.value) if step.output is not None else answer.value


async def _work(step: Step, branch: Branch, path: Path, captured: dict[str, Any]) -> Answer:
    """Run the verb, and register what undoes it."""
    mark = branch.saga.mark()
    try:
        answer = await _VERBS[type(step)](step, branch, path)
    except (CallFailed, CallCancelled) as ended:
        _register_unfinished(step, branch, path, captured, ended)
        raise
    _completed(step, branch, path, captured, answer, mark)
    return answer


def _completed(
    step: Step, branch: Branch, path: Path, captured: dict[str, Any], answer: Answer, mark: int
) -> None:
    """The verb has its result: register what undoes it, in place of what its steps registered since."""
    saga = branch.saga
    if step.pivot:
        saga.pivot()
    if (step.compensation is not None or step.irreversible is not None) and not answer.served:
        saga.taken_since(mark)
        saga.register(_registered(step, branch, path, captured, answer))


# --- what verbs need


class failures:  # noqa: N801  (read as a statement; a generator would cost a microsecond)
    """Mistakes found while evaluating become failures of the step at ``path``."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FlowctlError):
            raise mistake(error, self._path) from error


def mistake(error: FlowctlError, path: Path) -> StepFailed:
    """A mistake found while evaluating, as the failure of the step at ``path``."""
    return StepFailed(failure_of(error).at(path) if path else failure_of(error))


def begin(branch: Branch, path: Path, data: dict[str, Any]) -> None:
    """What cleans up, or undoes, does not begin once its scope was cancelled. Raises ``Cancelled``."""
    if branch.rt.remembered(path, "started") is None:
        branch.rt.heed(begins=True)
        branch.rt.decide(path, "started", lambda: data)


def completed(step: Step, branch: Branch, path: Path, output: Any) -> Answer:
    """A step that is made of others has its result."""
    secret = step.secret_result
    return branch.rt.decide(path, "completed", lambda: result_of(output, secret=secret)).of("output")


def result_of(output: Any, *, secret: bool) -> dict[str, Any]:
    """A result, as what sums up other results tells it. ``secret``: it may be that of a secret step."""
    return {"output": output, "secret_output": True} if secret else {"output": output}


def about(step: Step) -> dict[str, Any]:
    """What the first fact of a step tells about it."""
    return {"verb": step.verb, "secret": True} if step.secret else {"verb": step.verb}


# --- what all verbs share


def _taken(step: Step, branch: Branch, path: Path) -> bool:
    condition = step.condition
    assert condition is not None

    def decide() -> dict[str, Any]:
        with failures(path):
            return about(step) | {"value": condition.test(branch.scope)}

    answer = branch.rt.decide(path, "condition", decide)
    if step.id is not None:
        branch.saga.passed[step.id] = answer.order
    return bool(answer.value["value"])


def _passed(step: Step, branch: Branch, order: int, at: int) -> None:
    """The step is over, however it ended."""
    branch.scope.heard(at)
    if step.id is not None:
        branch.saga.passed[step.id] = order


def _show(step: Step, branch: Branch, status: str, output: Any = None, error: Failure | None = None) -> None:
    """Let later steps see this one."""
    if step.id is not None:
        branch.scope.steps[step.id] = {
            "status": status,
            "output": output,
            "error": error.to_json() if error is not None else None,
        }


async def _failed(step: Step, branch: Branch, path: Path, failed: StepFailed) -> None:
    """A step failed: record it, hold the run if asked to, and raise again unless the step is optional."""
    failure = failed.failure.at(path)
    if not isinstance(failed, CallFailed):
        ended = branch.rt.decide(path, "failed", lambda: about(step) | {"error": failure.to_json()})
        _passed(step, branch, ended.order, ended.at)
    else:
        _passed(step, branch, failed.order, failed.at)
    _show(step, branch, "failed", error=failure)
    if step.optional and failure.type not in NOT_ABSORBED:
        return
    if step.on_failure == "hold":
        await branch.rt.hold(path, failure)
    raise StepFailed(failure, undo=failed.undo or step.on_failure == "compensate")


def _registered(
    step: Step, branch: Branch, path: Path, captured: dict[str, Any], answer: Answer
) -> Registered:
    called = isinstance(step, _CALLS)
    attached = isinstance(step, WorkflowStep)
    return Registered(
        path=path,
        step_id=step.id,
        order=answer.order,
        compensation=step.compensation,
        captured=captured,
        args=branch.scope.args if called else None,
        result=answer.value,
        key=branch.scope.key if called else None,
        child=path.child_id(branch.rt.info.id, answer.attempt) if attached else None,
        secret=step.secret or step.secret_result,
    )


def _register_unfinished(
    step: Step, branch: Branch, path: Path, captured: dict[str, Any], ended: CallFailed | CallCancelled
) -> None:
    """A call that did not complete: undo it if it was attempted and that is asked for, else own up to the
    doubt.
    """
    if not ended.attempted:
        return
    if step.compensation is not None and step.compensation.after == "attempted":
        branch.saga.register(_registered(step, branch, path, captured, Answer(None, ended.at, ended.order)))
    elif ended.uncertain and (step.compensation is not None or step.irreversible is not None):
        branch.saga.fates.append(Fate(ended.order, "in_doubt", str(path)))


def _reshaped(step: Step, branch: Branch, path: Path, result: Any) -> Any:
    scope = branch.scope
    if not isinstance(step, _CALLS):
        scope.at_step(path, step.id)  # the steps of a block have been here
    template = step.output
    assert template is not None

    args = scope.args if isinstance(step, _CALLS) else None

    def reshape() -> dict[str, Any]:
        around = scope.extra
        scope.extra = around | {"result": result, "args": args}
        if step.reads:
            scope.reads = branch.rt.facts()  # as of now: what was read when it began is old
        try:
            with failures(path):
                return about(step) | {"output": template.render(scope).value}
        finally:
            scope.extra = around

    return branch.rt.decide(path, "output", reshape).value["output"]
