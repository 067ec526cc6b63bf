"""Verbs that run no other steps: calls, waits, values, and ends.

Everything that an expression decides goes through ``rt.decide``, so that it is decided once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from flowctl.clock import parse_duration, parse_timestamp
from flowctl.errors import Blocked, ExpressionError, Failure, FlowctlError, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.calls import step_call
from flowctl.interpreter.steps import Returned, about, failures, mistake, verb
from flowctl.model import (
    ActivityStep,
    AttributesStep,
    FailStep,
    PatchStep,
    ReturnStep,
    SetStep,
    SleepStep,
    WaitStep,
)
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer


@verb(ActivityStep)
def _activity(step: ActivityStep, branch: Branch, path: Path) -> Awaitable[Answer]:
    try:
        call = step_call(step, branch, path)
    except FlowctlError as error:
        raise mistake(error, path) from error
    if step.compensation is not None or step.output is not None:
        branch.scope.args = msgspec.json.decode(call.arguments)
    return branch.rt.activity(path, call)


@verb(SleepStep)
def _sleep(step: SleepStep, branch: Branch, path: Path) -> Awaitable[Answer]:
    def until(now: int) -> int:
        with failures(path):
            if step.until is not None:
                return _moment(step.until.render(branch.scope).value, parse_timestamp, "sleep.until")
            assert step.duration is not None
            return now + _moment(step.duration.render(branch.scope).value, parse_duration, "sleep")

    return branch.rt.sleep(path, until)


@verb(WaitStep)
async def _wait_for_signal(step: WaitStep, branch: Branch, path: Path) -> Answer:
    answer = await branch.rt.wait_signal(path, step.signals, step.timeout)
    if answer.value is None and step.on_timeout == "fail":
        branch.scope.heard(answer.at)
        names = " or ".join(step.signals)
        raise StepFailed(Failure("Timeout", f"no signal {names} came in time", step=path))
    return answer


@verb(SetStep)
async def _set(step: SetStep, branch: Branch, path: Path) -> Answer:
    answer = branch.rt.decide(
        path, "completed", lambda: about(step) | {"output": _render(step.values, branch, path)}
    ).of("output")
    branch.scope.vars = branch.scope.vars | answer.value
    return answer


@verb(AttributesStep)
async def _attributes(step: AttributesStep, branch: Branch, path: Path) -> Answer:
    def merge() -> dict[str, Any]:
        values = _render(step.values, branch, path)
        with failures(path):
            for name, value in values.get("search", {}).items():
                if isinstance(value, dict | list):
                    raise ExpressionError(f"the search attribute {name} must be a scalar, not {value!r}")
        branch.rt.describe(values.get("search", {}), values.get("memo", {}))
        return about(step) | {"output": values}

    return branch.rt.decide(path, "completed", merge).of("output")


@verb(PatchStep)
async def _patch(step: PatchStep, branch: Branch, path: Path) -> Answer:
    if step.change not in branch.bound:
        bind = lambda: {"version": step.min if branch.rt.was_past(branch.root) else step.max}  # noqa: E731
        version = branch.rt.decide(ROOT, f"patch.{step.change}", bind).value["version"]
        branch.bound[step.change] = version
    version = branch.bound[step.change]
    if not step.min <= version <= step.max:
        reason = f"this run is bound to version {version} of the change {step.change}, which is not among"
        raise Blocked("UnsupportedPatch", f"{reason} {step.min} to {step.max} of the document", path)
    return branch.rt.decide(path, "completed", lambda: about(step) | {"output": version}).of("output")


@verb(ReturnStep)
async def _return(step: ReturnStep, branch: Branch, path: Path) -> Answer:
    answer = branch.rt.remembered(path, "completed")
    if answer is None:
        branch.rt.heed()  # whoever was called off ends nothing any more
        data = about(step) | {"output": _render(step.value, branch, path)}
        answer = branch.rt.decide(path, "completed", lambda: data)
    raise Returned(answer.value["output"])


@verb(FailStep)
async def _fail(step: FailStep, branch: Branch, path: Path) -> Answer:
    error = _render(step.error, branch, path)
    raise StepFailed(
        Failure(error["type"], error.get("message", ""), details=error.get("details"), step=path)
    )


def _render(template: Any, branch: Branch, path: Path) -> Any:
    with failures(path):
        return template.render(branch.scope).value


def _moment(value: Any, parse: Callable[[str], int], what: str) -> int:
    if not isinstance(value, str):
        raise ExpressionError(f"{what} must be a text, such as 1h30m, not {value!r}")
    try:
        return parse(value)
    except ValueError as error:
        raise ExpressionError(f"{what}: {error}") from None
