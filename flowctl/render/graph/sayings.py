"""What is written of a step: a title, what it does, and what else is to be known of it, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowctl.clock import format_duration
from flowctl.expressions import Template
from flowctl.model import (
    ActivityStep,
    AttributesStep,
    BlockStep,
    Catch,
    Compensation,
    ContinueStep,
    FailStep,
    ForeachStep,
    LoopStep,
    ParallelStep,
    PatchStep,
    ReturnStep,
    RollbackStep,
    SendSignalStep,
    SetStep,
    SleepStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WaitStep,
    WhileStep,
    WorkflowStep,
)
from flowctl.render.graph.structure import words

_USUAL_ITERATIONS = 1_000
"""What ``max_iterations`` is where nobody says."""

Sayings = Iterable[str]


def title_and_detail(step: Step) -> tuple[str, str]:
    """A step's id, or its verb if it has none; and what it does."""
    word, says = _SAYINGS[step.verb]
    what, *more = (*says(step), *_limit(step))
    said = (f"{word} {what}".strip() if step.id else what, *more)
    return words(step.id or word), words(", ".join(filter(None, said)))


def marks(step: Step) -> tuple[str, ...]:
    """What else is to be known of a step, in a word each."""
    marked = {
        "pivot": step.pivot,
        "irreversible": step.irreversible is not None,
        "optional": step.optional,
        "holds on failure": step.on_failure == "hold",
        "always executes": step.commit,
        "secret": step.secret,
    }
    return tuple(mark for mark, holds in marked.items() if holds)


def catch_title(catch: Catch) -> str:
    """What is caught, and what is done about it first."""
    errors = " or ".join(catch.errors) if catch.errors is not None else "anything"
    condition = f" if {catch.condition.source}" if catch.condition else ""
    return f"{'roll back, ' if catch.rollback else ''}catch {errors}{condition}"


def undo_title_and_detail(undo: Compensation) -> tuple[str, str]:
    """What undoes a step, and how it differs from most."""
    also = (
        "also if only attempted" if undo.after == "attempted" else "",
        "the rest is left if it fails" if undo.on_failure == "stop" else "",
    )
    return words(_undoing(undo)), ", ".join(filter(None, also))


def _nothing(step: Step) -> Sayings:
    return ("",)


def _sleep(step: SleepStep) -> Sayings:
    yield _source(step.duration) if step.duration is not None else f"until {_source(step.until)}"


def _wait(step: WaitStep) -> Sayings:
    yield " or ".join(step.signals)


def _send(step: SendSignalStep) -> Sayings:
    message = step.message.source
    if isinstance(message, dict):
        yield f"{words(message.get('signal'))} to {words(message.get('run'))}"
    else:
        yield words(message)


def _child(step: WorkflowStep) -> Sayings:
    yield step.child.text
    if step.detached:
        yield "detached"


def _parallel(step: ParallelStep) -> Sayings:
    yield ""
    yield _WAITS[step.wait]
    yield f"{step.concurrency} at a time" if step.concurrency else ""


def _foreach(step: ForeachStep) -> Sayings:
    yield f"{step.variable} in {step.items.source}"
    yield _WAITS[step.wait]
    yield f"{step.concurrency} at a time" if step.concurrency > 1 else ""


_WAITS = {"all": "", "any": "the first success wins", "settled": "whatever comes of each"}


def _loop(step: LoopStep) -> Sayings:
    yield step.test.source
    if step.max_iterations != _USUAL_ITERATIONS:
        yield f"at most {step.max_iterations:,} times"


def _set(step: SetStep) -> Sayings:
    values = step.values.source
    if not isinstance(values, dict):
        return (words(values),)
    return (", ".join(f"{words(name)} = {words(value)}" for name, value in values.items()),)


def _attributes(step: AttributesStep) -> Sayings:
    values = step.values.source
    if not isinstance(values, dict):
        return (words(values),)
    return (", ".join(f"{kind} {_keys(value)}" for kind, value in values.items()),)


def _fail(step: FailStep) -> Sayings:
    error = step.error.source
    if isinstance(error, dict):
        return (": ".join(words(error[key]) for key in ("type", "message") if key in error),)
    return (words(error),)


_SAYINGS: Mapping[str, tuple[str, Callable[[Any], Sayings]]] = {
    ActivityStep.verb: ("", lambda step: (step.name,)),
    SleepStep.verb: ("sleep", _sleep),
    WaitStep.verb: ("signal", _wait),
    SendSignalStep.verb: ("send", _send),
    BlockStep.verb: ("block", _nothing),
    ParallelStep.verb: ("parallel", _parallel),
    ForeachStep.verb: ("for each", _foreach),
    WhileStep.verb: ("while", _loop),
    UntilStep.verb: ("until", _loop),
    SwitchStep.verb: ("switch", _nothing),
    TryStep.verb: ("try", _nothing),
    WorkflowStep.verb: ("workflow", _child),
    SetStep.verb: ("set", _set),
    PatchStep.verb: ("patch", lambda step: (step.change, f"version {step.min} to {step.max}")),
    AttributesStep.verb: ("attributes", _attributes),
    FailStep.verb: ("fail", _fail),
    ReturnStep.verb: ("return", lambda step: (_source(step.value),)),
    ContinueStep.verb: ("continue as new", _nothing),
    RollbackStep.verb: ("rollback", lambda step: (f"back to {step.to}" if step.to else "all",)),
}
"""What each verb is called, and what it says of a step: first what it is done to, "" if that is nothing."""


def _limit(step: Step) -> Sayings:
    if step.timeout is not None:
        goes_on = isinstance(step, WaitStep) and step.on_timeout == "continue"
        yield f"{'goes on after' if goes_on else 'within'} {format_duration(step.timeout)}"


def _undoing(undo: Compensation) -> str:
    if undo.activity is not None:
        return undo.activity
    if undo.child is not None:
        return f"workflow {undo.child.text}"
    return "roll the child back" if undo.rollback else "undo"


def _keys(source: Any) -> str:
    return ", ".join(map(str, source)) if isinstance(source, dict) else words(source)


def _source(written: Template | None) -> str:
    return words(written.source) if written is not None else ""
