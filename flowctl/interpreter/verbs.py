"""One function per verb of the language, and the attributes that all verbs share (``run_step``).

Rules. A verb returns an ``Answer``: its raw result, when, and in which order it came. Everything that an
expression decides goes through ``rt.decide``, so that it is decided once. Only ``run_step`` touches the
scope's ``steps`` and the saga, so a verb need not know what becomes of its result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from flowctl.clock import parse_duration, parse_timestamp
from flowctl.errors import Cancelled, Control, ExpressionError, Failure, FlowctlError, StepFailed, failure_of
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import step_call
from flowctl.interpreter.saga import Registered
from flowctl.model import (
    ActivityStep,
    BlockStep,
    FailStep,
    ReturnStep,
    SetStep,
    SleepStep,
    Step,
    SwitchStep,
    WaitStep,
)
from flowctl.path import Path
from flowctl.runtime import Answer, CallCancelled, CallFailed, Runtime

NOT_ABSORBED = frozenset({"ExpressionError", "InvalidInput"})
"""Failures that ``optional`` does not absorb: mistakes of the author, who must see them."""


class Returned(Control):
    """``return`` was reached: ends the run from any depth, with ``value`` as its output."""

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


async def run_block(steps: Sequence[Step], branch: Branch, path: Path) -> None:
    """Run a list that is a thing of its own, as the steps of a compensation are: with a beginning and an
    end on record.
    """
    branch.rt.decide(path, "started", lambda: {"verb": BlockStep.verb})
    try:
        output = await run_steps(steps, branch, path)
    except StepFailed as failed:
        error = failed.failure.to_json()
        branch.rt.decide(path, "failed", lambda: {"error": error})
        raise
    branch.rt.decide(path, "completed", lambda: {"output": output})


async def run_step(step: Step, branch: Branch, path: Path) -> tuple[bool, Any]:
    """Run one step with all its common attributes. Returns whether it ran, and its output."""
    scope = branch.scope
    scope.at_step(path, step.id)
    try:
        if step.reads:
            scope.reads = branch.rt.decide(path, "read", branch.rt.facts).value
        if step.condition is not None and not _taken(step, branch, path):
            _show(step, branch, "skipped")
            return False, None
        output = await _run(step, branch, path)
    except StepFailed as failed:
        await _failed(step, branch, path, failed)
        return True, None
    except Cancelled as cancelled:
        if not isinstance(cancelled, CallCancelled):
            branch.rt.decide(path, "cancelled", lambda: _about(step))
        _show(step, branch, "cancelled")
        raise
    _show(step, branch, "completed", output)
    return True, output


async def _run(step: Step, branch: Branch, path: Path) -> Any:
    """Run the verb, register what undoes it, and reshape its output."""
    rt, saga = branch.rt, branch.saga
    captured = branch.scope.capture(step.compensation.captures) if step.compensation is not None else {}
    mark = saga.mark()
    verb = _VERBS[type(step)]
    try:
        if step.timeout is not None and not isinstance(step, WaitStep):
            answer = await rt.deadline(path, step.timeout, lambda: verb(step, branch, path))
        else:
            answer = await verb(step, branch, path)
    except (CallFailed, CallCancelled) as ended:
        _register_unfinished(step, branch, path, captured, ended)
        raise
    branch.scope.heard(answer.at)
    if step.compensation is not None or step.irreversible is not None:
        saga.replace_since(mark, _registered(step, branch, path, captured, answer.order, answer.value))
    return _reshaped(step, branch, path, answer.value) if step.output is not None else answer.value


# --- what all verbs share


class failures:  # noqa: N801  (read as a statement; a generator would cost a microsecond in every step)
    """Mistakes found while evaluating become failures of the step at ``path``; with ``rt`` they are
    recorded there.
    """

    __slots__ = ("_path", "_rt")

    def __init__(self, path: Path, rt: Runtime | None = None) -> None:
        self._path = path
        self._rt = rt

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FlowctlError):
            failure = failure_of(error).at(self._path) if self._path else failure_of(error)
            if self._rt is not None:
                self._rt.decide(self._path, "failed", lambda: {"error": failure.to_json()})
            raise StepFailed(failure) from error


def _about(step: Step) -> dict[str, Any]:
    """What the first fact of a step tells about it."""
    return {"verb": step.verb, "secret": True} if step.secret else {"verb": step.verb}


def _taken(step: Step, branch: Branch, path: Path) -> bool:
    condition = step.condition
    assert condition is not None

    def decide() -> dict[str, Any]:
        with failures(path):
            return _about(step) | {"value": condition.test(branch.scope)}

    return bool(branch.rt.decide(path, "condition", decide).value["value"])


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
        branch.rt.decide(path, "failed", lambda: _about(step) | {"error": failure.to_json()})
    else:
        branch.scope.heard(failed.at)
    _show(step, branch, "failed", error=failure)
    if step.optional and failure.type not in NOT_ABSORBED:
        return
    if step.on_failure == "hold":
        await branch.rt.hold(path, failure)
    raise StepFailed(failure, undo=failed.undo or step.on_failure == "compensate")


def _registered(
    step: Step, branch: Branch, path: Path, captured: dict[str, Any], order: int, result: Any
) -> Registered:
    called = isinstance(step, ActivityStep)
    return Registered(
        path=path,
        step_id=step.id,
        order=order,
        compensation=step.compensation,
        captured=captured,
        args=branch.scope.args if called else None,
        result=result,
        key=branch.scope.key if called else None,
        secret=step.secret,
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
        branch.saga.register(_registered(step, branch, path, captured, ended.order, None))
    elif ended.uncertain and (step.compensation is not None or step.irreversible is not None):
        branch.saga.in_doubt.append(str(path))


def _reshaped(step: Step, branch: Branch, path: Path, result: Any) -> Any:
    scope = branch.scope
    if not isinstance(step, ActivityStep):
        scope.at_step(path, step.id)  # the steps of a block have been here
    template = step.output
    assert template is not None

    args = scope.args if isinstance(step, ActivityStep) else None

    def reshape() -> dict[str, Any]:
        around = scope.extra
        scope.extra = around | {"result": result, "args": args}
        try:
            with failures(path):
                return _about(step) | {"output": template.render(scope).value}
        finally:
            scope.extra = around

    return branch.rt.decide(path, "output", reshape).value["output"]


# --- the verbs


async def _activity(step: ActivityStep, branch: Branch, path: Path) -> Answer:
    with failures(path):
        call = step_call(step, branch, path)
    if step.compensation is not None or step.output is not None:
        branch.scope.args = msgspec.json.decode(call.arguments)
    return await branch.rt.activity(path, call)


async def _sleep(step: SleepStep, branch: Branch, path: Path) -> Answer:
    def until(now: int) -> int:
        with failures(path):
            if step.until is not None:
                return _moment(step.until.render(branch.scope).value, parse_timestamp, "sleep.until")
            assert step.duration is not None
            return now + _moment(step.duration.render(branch.scope).value, parse_duration, "sleep")

    return await branch.rt.sleep(path, until)


async def _wait_for_signal(step: WaitStep, branch: Branch, path: Path) -> Answer:
    answer = await branch.rt.wait_signal(path, step.signals, step.timeout)
    if answer.value is None and step.on_timeout == "fail":
        branch.scope.heard(answer.at)
        names = " or ".join(step.signals)
        raise StepFailed(Failure("Timeout", f"no signal {names} came in time", step=path))
    return answer


async def _steps(step: BlockStep, branch: Branch, path: Path) -> Answer:
    branch.rt.decide(path, "started", lambda: _about(step))
    output = await run_steps(step.steps, branch, path)
    return branch.rt.decide(path, "completed", lambda: {"output": output}).of("output")


async def _switch(step: SwitchStep, branch: Branch, path: Path) -> Answer:
    def choose() -> dict[str, Any]:
        with failures(path):
            for case in step.cases:
                if case.condition is None or case.condition.test(branch.scope):
                    return _about(step) | {"case": case.segment}
        return _about(step) | {"case": None}

    chosen = branch.rt.decide(path, "case", choose).value["case"]
    output = None
    for case in step.cases:
        if case.segment == chosen:
            output = await run_steps(case.steps, branch, path / chosen)
    return branch.rt.decide(path, "completed", lambda: {"output": output}).of("output")


async def _set(step: SetStep, branch: Branch, path: Path) -> Answer:
    def evaluate() -> dict[str, Any]:
        with failures(path):
            return _about(step) | {"output": step.values.render(branch.scope).value}

    answer = branch.rt.decide(path, "completed", evaluate).of("output")
    branch.scope.vars = branch.scope.vars | answer.value
    return answer


async def _return(step: ReturnStep, branch: Branch, path: Path) -> Answer:
    def evaluate() -> dict[str, Any]:
        with failures(path):
            return _about(step) | {"output": step.value.render(branch.scope).value}

    raise Returned(branch.rt.decide(path, "completed", evaluate).value["output"])


async def _fail(step: FailStep, branch: Branch, path: Path) -> Answer:
    with failures(path):
        error = step.error.render(branch.scope).value
    raise StepFailed(
        Failure(error["type"], error.get("message", ""), details=error.get("details"), step=path)
    )


def _moment(value: Any, parse: Callable[[str], int], what: str) -> int:
    if not isinstance(value, str):
        raise ExpressionError(f"{what} must be a text, such as 1h30m, not {value!r}")
    try:
        return parse(value)
    except ValueError as error:
        raise ExpressionError(f"{what}: {error}") from None


_VERBS: dict[type[Step], Callable[[Any, Branch, Path], Awaitable[Answer]]] = {
    ActivityStep: _activity,
    SleepStep: _sleep,
    WaitStep: _wait_for_signal,
    BlockStep: _steps,
    SwitchStep: _switch,
    SetStep: _set,
    ReturnStep: _return,
    FailStep: _fail,
}
