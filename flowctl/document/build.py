"""Data to model: what a document that was checked means.

Runs whenever a stored document is executed again, so it is quick and imports little: it checks nothing, and
knows no places. Durations become milliseconds, texts become templates, names of activity entries become what
they stand for.

Three things are collected on the way, because only here the whole document is walked: the ids of every scope,
what a compensation must keep from outside of it, and every compensation by the path of its step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.document.inputs import Gate, InputGate
from flowctl.document.policies import limit_of, policy_of
from flowctl.document.structure import DEFAULT_ITERATIONS, DEFAULT_TIMEOUT, catches_of, patch_of, verb_of
from flowctl.document.texts import Texts
from flowctl.errors import ExpressionError, InvalidDocument
from flowctl.expressions import FUNCTIONS, Expression, Function, Template
from flowctl.model import (
    ActivityStep,
    AttributesStep,
    BlockStep,
    Case,
    Catch,
    ChildReference,
    Compensation,
    ContinueStep,
    FailStep,
    ForeachStep,
    ParallelBranch,
    ParallelStep,
    PatchStep,
    Policy,
    ReturnStep,
    RollbackStep,
    SendSignalStep,
    SetStep,
    Signal,
    SleepStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WaitStep,
    WhileStep,
    Workflow,
    WorkflowStep,
    ends_secret,
)
from flowctl.path import ROOT

RECORDED_WHEN_READ = frozenset({"elapsed", "history_length", "history_size"})
"""Attributes of ``run`` that change as it goes on."""

_OF_THE_UNDOING = frozenset({"result", "args", "error", "step"})
"""Names that a compensation gets when it runs: not part of what is kept from when the step started."""

References = set[tuple[str, ...]]
Items = Mapping[str, Any]
Fields = dict[str, Any]


def build(body: Items, digest: str, functions: Mapping[str, Function] = FUNCTIONS) -> Workflow:
    """The workflow of a document that passed ``load`` somewhere, and has that digest. ``ExpressionError`` if
    it calls a function that was known there, and is none of these.
    """
    try:
        return assemble(body, digest, Texts(functions))
    except ExpressionError as error:
        error.hint = "no plugin here registers it"
        raise


def assemble(body: Items, digest: str, texts: Texts) -> Workflow:
    """The same, with the expressions that are parsed already."""
    return _Builder(body, texts).workflow(digest)


def signals(body: Items) -> Mapping[str, Signal]:
    """The signals that a document declares."""
    return {name: _signal(name, signal or {}) for name, signal in (body.get("signals") or {}).items()}


class _Builder:
    """``own`` collects what the expressions of one step refer to, ``all`` those of everything inside a scope,
    ``ids`` the step ids of the scope that is being built. ``path`` is the step's, without iterations.
    """

    def __init__(self, body: Items, texts: Texts) -> None:
        self.body = body
        self.texts = texts
        self.entries: Items = body.get("activities") or {}
        self.activities: set[str] = set()
        self.children: dict[str, ChildReference] = {}
        self.undo: dict[str, Compensation] = {}
        self.own: References = set()
        self.all: References = set()
        self.ids: list[str] = []
        self.path = ROOT
        self.hidden = False
        self.undoing = False

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
            signals=signals(body),
            secrets=frozenset(body.get("secrets", ())),
            defaults=policy_of(body.get("defaults", {})),
            on_failure=body.get("on_failure", "compensate"),
            deprecated=_deprecated(body.get("deprecated")),
            description=body.get("description"),
            input_schema=input_schema,
            prepare_input=InputGate(input_schema),
            check_output=Gate(body.get("output_schema"), "output"),
            activities=frozenset(self.activities),
            children=tuple(self.children.values()),
            undo=self.undo,
            reads=_reads(self.own),
        )

    # --- expressions

    def template(self, value: Any) -> Template:
        parsed = self.texts.template(value)
        self.note(parsed.references)
        return parsed

    def optional_template(self, holder: Items, key: str) -> Template | None:
        return self.template(holder[key]) if key in holder else None

    def expression(self, written: str | bool) -> Expression:
        parsed = self.texts.condition(written)
        self.note(parsed.references)
        return parsed

    def condition(self, holder: Items) -> Expression | None:
        return self.expression(holder["if"]) if "if" in holder else None

    def note(self, references: Iterable[tuple[str, ...]]) -> None:
        self.own.update(references)
        self.all.update(references)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Ids inside are those of a scope of its own, and references to them stay inside."""
        ids, self.ids = self.ids, []
        with self.binding():
            yield
            inside = {("steps", name) for name in self.ids}
            self.all = {reference for reference in self.all if reference[:2] not in inside}
        self.ids = ids

    @contextlib.contextmanager
    def binding(self, *names: str) -> Iterator[None]:
        """References to ``names`` stay inside."""
        outside, self.all = self.all, set()
        yield
        outside.update(reference for reference in self.all if reference[0] not in names)
        self.all = outside

    # --- steps

    def steps(self, steps: Iterable[Items]) -> tuple[Step, ...]:
        built: list[Step] = []
        counts: dict[str, int] = {}
        for step in steps:
            verb = verb_of(step)
            if verb is None:
                keys = ", ".join(step)
                raise InvalidDocument(f"this version of flowctl cannot execute a step of {keys}", [])
            counts[verb] = counts.get(verb, 0) + 1
            built.append(self.step(step, verb, step.get("id") or f"_{verb}{counts[verb]}"))
        return tuple(built)

    def step(self, step: Items, verb: str, segment: str) -> Step:
        own, self.own = self.own, set()
        path, self.path = self.path, self.path / segment
        hidden, self.hidden = self.hidden, self.hidden or step.get("secret", False)
        if "id" in step:
            self.ids.append(step["id"])
        make, fields = _VERBS[verb]
        attributes = self.attributes(step, verb) | fields(self, step)
        secret = _secret_result(attributes)
        built = make(segment=segment, reads=_reads(self.own), secret_result=secret, **attributes)
        if built.compensation is not None:
            self.undo[self.path] = built.compensation
        self.own, self.path, self.hidden = own, path, hidden
        return built

    def clause(self, segment: str, steps: Iterable[Items]) -> tuple[Step, ...]:
        """A list that has a segment of its own."""
        path, self.path = self.path, self.path / segment
        built = self.steps(steps)
        self.path = path
        return built

    def attributes(self, step: Items, verb: str) -> Fields:
        """What all verbs share."""
        return {
            "id": step.get("id"),
            "condition": self.condition(step),
            "timeout": limit_of(step, "timeout"),
            "compensation": self.compensation(step, verb),
            "irreversible": _irreversible(step.get("irreversible", False)),
            "optional": step.get("optional", False),
            "on_failure": step.get("on_failure"),
            "output": self.optional_template(step, "output"),
            "secret": self.hidden,
            "pivot": step.get("pivot", False),
            "commit": step.get("commit", False),
            "description": step.get("description"),
            "metadata": step.get("metadata"),
        }

    def activity(self, step: Items) -> Fields:
        name, policy = self.entry(step["activity"], step)
        return {
            "name": name,
            "arguments": self.template(step.get("with", {})),
            "timeout": None,  # an activity's is per attempt, and part of its policy
            "policy": policy,
            "idempotency_key": self.optional_template(step, "idempotency_key"),
        }

    def sleep(self, step: Items) -> Fields:
        sleep = step["sleep"]
        return (
            {"until": self.template(sleep["until"])}
            if isinstance(sleep, dict)
            else {"duration": self.template(sleep)}
        )

    def wait_for_signal(self, step: Items) -> Fields:
        names = step["wait_for_signal"]
        return {
            "signals": (names,) if isinstance(names, str) else tuple(names),
            "on_timeout": step.get("on_timeout", "fail"),
        }

    def send_signal(self, step: Items) -> Fields:
        return {"message": self.template(step["send_signal"])}

    def set(self, step: Items) -> Fields:
        return {"values": self.template(step["set"])}

    def patch(self, step: Items) -> Fields:
        change, oldest, newest = patch_of(step["patch"])
        return {"change": change, "min": oldest, "max": newest}

    def run_attributes(self, step: Items) -> Fields:
        return {"values": self.template(step["attributes"])}

    def returns(self, step: Items) -> Fields:
        return {"value": self.template(step["return"])}

    def fail(self, step: Items) -> Fields:
        return {"error": self.template(step["fail"])}

    def continue_as_new(self, step: Items) -> Fields:
        return {"input": self.template(step["continue_as_new"]["input"])}

    def rollback(self, step: Items) -> Fields:
        to = step["rollback"]
        return {"to": to["to"] if isinstance(to, dict) else None}

    # --- steps made of steps

    def block(self, step: Items) -> Fields:
        return {"steps": self.steps(step["steps"])}

    def switch(self, step: Items) -> Fields:
        cases = []
        for number, case in enumerate(step["switch"], 1):
            segment, steps = ("else", case["else"]) if "else" in case else (f"case_{number}", case["steps"])
            cases.append(Case(segment, self.condition(case), self.clause(segment, steps)))
        return {"cases": tuple(cases)}

    def parallel(self, step: Items) -> Fields:
        branches = tuple(self.branch(name, branch) for name, branch in step["parallel"].items())
        return {
            "branches": branches,
            "wait": step.get("wait", "all"),
            "concurrency": step.get("concurrency"),
        }

    def branch(self, name: str, written: Items | list[Items]) -> ParallelBranch:
        branch: Items = written if isinstance(written, Mapping) else {"steps": written}
        with self.scope():
            steps = self.clause(name, branch["steps"])
            return ParallelBranch(name, steps, tuple(self.ids), self.optional_template(branch, "output"))

    def foreach(self, step: Items) -> Fields:
        items, variable = self.expression(step["foreach"]), step.get("as", "item")
        with self.binding("loop", variable), self.scope():
            steps, ids = self.steps(step["steps"]), tuple(self.ids)
        return {
            "items": items,
            "variable": variable,
            "steps": steps,
            "ids": ids,
            "wait": step.get("wait", "all"),
            "concurrency": step.get("concurrency", 1),
        }

    def loop(self, step: Items, written: str | bool) -> Fields:
        test = self.texts.condition(written)
        with self.binding("loop"):
            self.all.update(test.references)
            with self.scope():
                steps, ids = self.steps(step["steps"]), tuple(self.ids)
        return {
            "test": test,
            "test_reads": _reads(test.references),
            "steps": steps,
            "ids": ids,
            "max_iterations": step.get("max_iterations", DEFAULT_ITERATIONS),
        }

    def whiles(self, step: Items) -> Fields:
        return self.loop(step, step["while"])

    def untils(self, step: Items) -> Fields:
        return self.loop(step, step["until"])

    def tries(self, step: Items) -> Fields:
        return {
            "steps": self.clause("try", step["try"]),
            "catches": tuple(
                self.catch(f"catch_{number}", catch) for number, (_, catch) in enumerate(catches_of(step), 1)
            ),
            "cleanup": self.clause("finally", step.get("finally", ())),
        }

    def catch(self, segment: str, written: Items) -> Catch:
        errors, variable = written.get("errors"), written.get("as", "error")
        with self.binding(variable):
            return Catch(
                segment=segment,
                errors=None if errors is None else tuple(errors),
                condition=self.condition(written),
                variable=variable,
                rollback=written.get("rollback", False),
                steps=self.clause(segment, written.get("steps", ())),
            )

    def child_workflow(self, step: Items) -> Fields:
        detached = step.get("detached", False)
        limits = (limit_of(step, "timeout"), limit_of(step, "total_timeout"))
        return {
            "child": self.child(step["workflow"]),
            "arguments": self.template(step.get("with", {})),
            "detached": detached,
            "on_parent_close": step.get("on_parent_close", "abandon" if detached else "cancel"),
            "timeout": min(filter(None, limits), default=None),
            "policy": Policy(retry=policy_of(step).retry),
        }

    # --- what is called, and what undoes it

    def entry(self, name: str, holder: Items) -> tuple[str, Policy]:
        """The registered name of an activity; the policy of ``holder`` over that of the entry it names."""
        entry = self.entries.get(name)
        registered = entry["uses"] if entry is not None else name
        self.activities.add(registered)
        return registered, policy_of(holder).over(policy_of(entry) if entry is not None else None)

    def child(self, text: str) -> ChildReference:
        return self.children.setdefault(text, ChildReference(text))

    def compensation(self, step: Items, verb: str) -> Compensation | None:
        """The step's own, or that of its activity entry; a child that is awaited has one by itself."""
        if self.undoing:
            return None
        entry = self.entries.get(step.get("activity", "")) or {}
        written = step.get("compensate", entry.get("compensate", _unwritten(step, verb)))
        if written == "none":
            return None
        if written == "rollback":
            return Compensation(activity=None, arguments=self.texts.template({}), rollback=True)
        self.undoing = True
        with self.scope():
            built = self.written_compensation(written)
        self.undoing = False
        return built

    def written_compensation(self, written: Items) -> Compensation:
        name, policy, child = None, policy_of(written), None
        if "activity" in written:
            name, policy = self.entry(written["activity"], written)
        elif "workflow" in written:
            child = self.child(written["workflow"])
        return Compensation(
            activity=name,
            arguments=self.template(written.get("with", {})),
            steps=self.steps(written.get("steps", ())),
            ids=tuple(self.ids),
            policy=policy,
            after=written.get("after", "completed"),
            on_failure=written.get("on_failure", "continue"),
            captures=self.captures(),
            child=child,
        )

    def captures(self) -> frozenset[tuple[str, ...]]:
        """What the expressions of a compensation refer to outside of it."""
        inside = {("steps", name) for name in self.ids}
        return frozenset(r for r in self.all if r[0] not in _OF_THE_UNDOING and r[:2] not in inside)


_VERBS: Mapping[str, tuple[Callable[..., Step], Callable[[_Builder, Items], Fields]]] = {
    "activity": (ActivityStep, _Builder.activity),
    "sleep": (SleepStep, _Builder.sleep),
    "wait_for_signal": (WaitStep, _Builder.wait_for_signal),
    "send_signal": (SendSignalStep, _Builder.send_signal),
    "steps": (BlockStep, _Builder.block),
    "parallel": (ParallelStep, _Builder.parallel),
    "foreach": (ForeachStep, _Builder.foreach),
    "while": (WhileStep, _Builder.whiles),
    "until": (UntilStep, _Builder.untils),
    "switch": (SwitchStep, _Builder.switch),
    "try": (TryStep, _Builder.tries),
    "workflow": (WorkflowStep, _Builder.child_workflow),
    "set": (SetStep, _Builder.set),
    "patch": (PatchStep, _Builder.patch),
    "attributes": (AttributesStep, _Builder.run_attributes),
    "fail": (FailStep, _Builder.fail),
    "return": (ReturnStep, _Builder.returns),
    "continue_as_new": (ContinueStep, _Builder.continue_as_new),
    "rollback": (RollbackStep, _Builder.rollback),
}


def _unwritten(step: Items, verb: str) -> str:
    """What undoes a step that does not say so."""
    awaited = verb == "workflow" and not step.get("detached", False)
    return "rollback" if awaited and not step.get("irreversible", False) else "none"


def _signal(name: str, written: Items) -> Signal:
    schema = written.get("payload")
    return Signal(name, written.get("description"), schema, Gate(schema, "payload"))


def _irreversible(written: bool | str) -> str | None:
    if isinstance(written, str):
        return written
    return "" if written else None


def _deprecated(written: bool | str | None) -> str | None:
    if isinstance(written, str):
        return written
    return "no reason given" if written else None


def _secret_result(fields: Fields) -> bool:
    """Whether a step results in what may be the output of a secret one."""
    clauses = (*fields.get("cases", ()), *fields.get("catches", ()))
    lists = [fields.get("steps", ()), *(clause.steps for clause in clauses)]
    branches = fields.get("branches", ())
    return any(map(ends_secret, lists)) or any(branch.secret_result for branch in branches)


def _reads(references: Iterable[tuple[str, ...]]) -> frozenset[str]:
    """The facts of the run that these references read; ``run`` as a whole is all of them."""
    if ("run",) in references:
        return RECORDED_WHEN_READ
    return RECORDED_WHEN_READ & {r[1] for r in references if r[0] == "run"}
