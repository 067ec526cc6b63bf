"""Data to model: what a document that was checked means.

Runs whenever a stored document is executed again, so it is quick and imports little: it checks nothing, and
knows no places. Durations become milliseconds, texts become templates, names of activity entries become what
they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.document.inputs import Gate, InputGate
from flowctl.document.structure import DEFAULT_TIMEOUT, verb_of
from flowctl.document.texts import Texts
from flowctl.errors import InvalidDocument
from flowctl.expressions import FUNCTIONS, Expression, Function, Template
from flowctl.model import (
    ActivityStep,
    BlockStep,
    Case,
    Compensation,
    FailStep,
    Policy,
    ReturnStep,
    SetStep,
    Signal,
    SleepStep,
    Step,
    SwitchStep,
    WaitStep,
    Workflow,
)
from flowctl.retry import ONCE, RetryPolicy

RECORDED_WHEN_READ = frozenset({"elapsed", "history_length", "history_size"})
"""Attributes of ``run`` that change as it goes on."""

_OF_THE_UNDOING = frozenset({"result", "args", "error", "step"})
"""Names that a compensation gets when it runs: not part of what is kept from when the step started."""

References = set[tuple[str, ...]]
Items = Mapping[str, Any]


def build(body: Items, digest: str, functions: Mapping[str, Function] = FUNCTIONS) -> Workflow:
    """The workflow of a document that passed ``load`` with these ``functions``, and has that digest."""
    return assemble(body, digest, Texts(functions))


def assemble(body: Items, digest: str, texts: Texts) -> Workflow:
    """The same, with the expressions that are parsed already."""
    return _Builder(body, texts).workflow(digest)


class _Builder:
    """``own`` collects what the expressions of one step refer to, ``all`` those of everything inside a
    compensation, ``ids`` the step ids of the scope that is being built.
    """

    def __init__(self, body: Items, texts: Texts) -> None:
        self.body = body
        self.texts = texts
        self.entries: Items = body.get("activities") or {}
        self.activities: set[str] = set()
        self.own: References = set()
        self.all: References = set()
        self.ids: list[str] = []

    def workflow(self, digest: str) -> Workflow:
        body = self.body
        steps = self.steps(body["steps"])
        ids, self.own = tuple(self.ids), set()
        output = self.optional_template(body, "output")
        input_schema = body.get("input")
        return Workflow(
            name=body["name"],
            version=int(body.get("version", 1)),
            digest=digest,
            body=body,
            timeout=parse_duration(body.get("timeout", DEFAULT_TIMEOUT)),
            steps=steps,
            ids=ids,
            output=output,
            signals={
                name: _signal(name, signal or {}) for name, signal in (body.get("signals") or {}).items()
            },
            secrets=frozenset(body.get("secrets", ())),
            defaults=_policy(body.get("defaults", {})),
            on_failure=body.get("on_failure", "compensate"),
            deprecated=_deprecated(body.get("deprecated")),
            description=body.get("description"),
            input_schema=input_schema,
            prepare_input=InputGate(input_schema),
            check_output=Gate(body.get("output_schema"), "output"),
            activities=frozenset(self.activities),
            reads=_reads(self.own),
        )

    # --- expressions

    def template(self, value: Any) -> Template:
        parsed = self.texts.template(value)
        self.note(parsed.references)
        return parsed

    def optional_template(self, holder: Items, key: str) -> Template | None:
        return self.template(holder[key]) if key in holder else None

    def condition(self, holder: Items) -> Expression | None:
        if "if" not in holder:
            return None
        parsed = self.texts.condition(holder["if"])
        self.note(parsed.references)
        return parsed

    def note(self, references: Iterable[tuple[str, ...]]) -> None:
        self.own.update(references)
        self.all.update(references)

    # --- steps

    def steps(self, steps: Iterable[Items]) -> tuple[Step, ...]:
        built: list[Step] = []
        counts: dict[str, int] = {}
        for step in steps:
            verb = verb_of(step)
            if verb is None or verb not in _VERBS:
                raise InvalidDocument(f"this version of flowctl cannot execute the step verb {verb!r}", [])
            counts[verb] = counts.get(verb, 0) + 1
            built.append(self.step(step, verb, step.get("id") or f"_{verb}{counts[verb]}"))
        return tuple(built)

    def step(self, step: Items, verb: str, segment: str) -> Step:
        outer, self.own = self.own, set()
        if "id" in step:
            self.ids.append(step["id"])
        make, fields = _VERBS[verb]
        attributes = self.attributes(step) | fields(self, step)
        built = make(segment=segment, reads=_reads(self.own), **attributes)
        self.own = outer
        return built

    def attributes(self, step: Items) -> dict[str, Any]:
        """What all verbs share."""
        return {
            "id": step.get("id"),
            "condition": self.condition(step),
            "timeout": _limit(step, "timeout"),
            "compensation": self.compensation(step),
            "irreversible": _irreversible(step.get("irreversible", False)),
            "optional": step.get("optional", False),
            "on_failure": step.get("on_failure"),
            "output": self.optional_template(step, "output"),
            "secret": step.get("secret", False),
            "description": step.get("description"),
            "metadata": step.get("metadata"),
        }

    def activity(self, step: Items) -> dict[str, Any]:
        name, policy = self.entry(step["activity"], step)
        return {
            "name": name,
            "arguments": self.template(step.get("with", {})),
            "timeout": None,  # an activity's is per attempt, and part of its policy
            "policy": policy,
            "idempotency_key": self.optional_template(step, "idempotency_key"),
        }

    def sleep(self, step: Items) -> dict[str, Any]:
        sleep = step["sleep"]
        return (
            {"until": self.template(sleep["until"])}
            if isinstance(sleep, dict)
            else {"duration": self.template(sleep)}
        )

    def wait_for_signal(self, step: Items) -> dict[str, Any]:
        names = step["wait_for_signal"]
        return {
            "signals": (names,) if isinstance(names, str) else tuple(names),
            "on_timeout": step.get("on_timeout", "fail"),
        }

    def block(self, step: Items) -> dict[str, Any]:
        return {"steps": self.steps(step["steps"])}

    def switch(self, step: Items) -> dict[str, Any]:
        cases = []
        for number, case in enumerate(step["switch"], 1):
            segment, steps = ("else", case["else"]) if "else" in case else (f"case_{number}", case["steps"])
            cases.append(Case(segment, self.condition(case), self.steps(steps)))
        return {"cases": tuple(cases)}

    def set(self, step: Items) -> dict[str, Any]:
        return {"values": self.template(step["set"])}

    def returns(self, step: Items) -> dict[str, Any]:
        return {"value": self.template(step["return"])}

    def fail(self, step: Items) -> dict[str, Any]:
        return {"error": self.template(step["fail"])}

    # --- activities and what undoes them

    def entry(self, name: str, holder: Items) -> tuple[str, Policy]:
        """The registered name of an activity; the policy of ``holder`` over that of the entry it names."""
        entry = self.entries.get(name)
        registered = entry["uses"] if entry is not None else name
        self.activities.add(registered)
        return registered, _policy(holder).over(_policy(entry) if entry is not None else None)

    def compensation(self, step: Items) -> Compensation | None:
        """The step's own, or that of its activity entry; ``none`` on the step is none."""
        entry = self.entries.get(step.get("activity", "")) or {}
        written = step.get("compensate", entry.get("compensate", "none"))
        if not isinstance(written, dict):
            return None
        all_outside, self.all = self.all, set()
        ids_outside, self.ids = self.ids, []
        arguments = self.template(written.get("with", {}))
        name, policy = None, _policy(written)
        if "activity" in written:
            name, policy = self.entry(written["activity"], written)
        compensation = Compensation(
            activity=name,
            arguments=arguments,
            steps=self.steps(written.get("steps", ())),
            ids=tuple(self.ids),
            policy=policy,
            after=written.get("after", "completed"),
            on_failure=written.get("on_failure", "continue"),
            captures=self.captures(),
        )
        self.all |= all_outside
        self.ids = ids_outside
        return compensation

    def captures(self) -> frozenset[tuple[str, ...]]:
        """What the expressions of a compensation refer to outside of it."""
        inside = {("steps", name) for name in self.ids}
        return frozenset(r for r in self.all if r[0] not in _OF_THE_UNDOING and r[:2] not in inside)


_VERBS: Mapping[str, tuple[Callable[..., Step], Callable[[_Builder, Items], dict[str, Any]]]] = {
    "activity": (ActivityStep, _Builder.activity),
    "sleep": (SleepStep, _Builder.sleep),
    "wait_for_signal": (WaitStep, _Builder.wait_for_signal),
    "steps": (BlockStep, _Builder.block),
    "switch": (SwitchStep, _Builder.switch),
    "set": (SetStep, _Builder.set),
    "return": (ReturnStep, _Builder.returns),
    "fail": (FailStep, _Builder.fail),
}


def _signal(name: str, written: Items) -> Signal:
    schema = written.get("payload")
    return Signal(name, written.get("description"), schema, Gate(schema, "payload"))


def _policy(holder: Items) -> Policy:
    written = holder.get("retry")
    return Policy(
        timeout=_limit(holder, "timeout"),
        total_timeout=_limit(holder, "total_timeout"),
        heartbeat_timeout=_limit(holder, "heartbeat_timeout"),
        retry=_retry(written) if written is not None else None,
    )


def _retry(written: Items | bool) -> RetryPolicy:
    if not isinstance(written, dict):
        return ONCE
    return RetryPolicy(**{key: _RETRY.get(key, _as_is)(value) for key, value in written.items()})


def _as_is(value: Any) -> Any:
    return value


_RETRY: Mapping[str, Callable[[Any], Any]] = {
    "attempts": int,
    "delay": parse_duration,
    "factor": float,
    "max_delay": parse_duration,
    "retryable": tuple,
    "non_retryable": tuple,
}


def _limit(holder: Items, key: str) -> int | None:
    return parse_duration(holder[key]) if key in holder else None


def _irreversible(written: bool | str) -> str | None:
    if isinstance(written, str):
        return written
    return "" if written else None


def _deprecated(written: bool | str | None) -> str | None:
    if isinstance(written, str):
        return written
    return "no reason given" if written else None


def _reads(references: References) -> frozenset[str]:
    """The facts of the run that these references read; ``run`` as a whole is all of them."""
    if ("run",) in references:
        return RECORDED_WHEN_READ
    return RECORDED_WHEN_READ & {r[1] for r in references if r[0] == "run"}
