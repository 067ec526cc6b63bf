"""What expressions refer to: every name in a document is there, and comes before the one who asks.

Rules (language.md, section 3):

1. A step may refer to steps before it in document order, in its own or an enclosing scope. Lists inside
   ``steps``, ``switch`` and ``try`` belong to the scope around them; branches, iterations and compensations
   are scopes of their own, of which only the result is seen outside.
2. Some names are seen in some places only: ``secrets`` in ``with``, ``result`` and ``args`` in ``output`` and
   compensations, ``error`` in ``catch`` and compensations, ``loop`` in loops. ``ROOTS`` and ``_Scope`` say
   where.
3. What the document itself declares (input properties, variables, secrets) is known, so a name that is not
   among them is a mistake, and the nearest one is named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from flowctl.document.diagnostics import Report, shown
from flowctl.document.places import Pointer
from flowctl.document.structure import LOOPS, VERBS, compensating_steps, parts_of, verb_of
from flowctl.document.texts import Texts
from flowctl.errors import ExpressionError
from flowctl.expressions.hints import did_you_mean, nearest

References = frozenset[tuple[str, ...]]
Problem = tuple[str, str, str | None]
"""Code, message and hint."""

ROOTS = frozenset({"input", "steps", "vars", "step", "now", "run"})
"""Names that every expression sees."""

_ELSEWHERE = {
    "secrets": "secrets are seen in 'with' only",
    "result": "it is seen in 'output' and 'compensate' only",
    "args": "it is seen in 'output' and 'compensate' only",
    "error": "it is seen in 'catch' and 'compensate' only; elsewhere, write steps.ID.error",
    "loop": "it is seen inside 'foreach', 'while' and 'until' only",
}

_FIELDS: Mapping[str, frozenset[str]] = {
    "run": frozenset(
        {
            "id",
            "workflow",
            "version",
            "workflow_id",
            "parent_id",
            "attempt",
            "started_at",
            "elapsed",
            "history_length",
        }
        | {"history_size", "task_queue", "namespace", "trace_id", "principal"}
    ),
    "step": frozenset({"id", "path", "idempotency_key"}),
    "loop": frozenset({"index", "first", "last", "previous"}),
    "error": frozenset({"type", "types", "message", "details", "step", "attempt", "cause"}),
}
_STEP_FIELDS = frozenset({"output", "status", "error"})

_CONDITIONS = ("if", "while", "until")
_IN_PLACE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "$ref", "patternProperties", "dependentSchemas"}
)


class _Seen:
    """The ids seen at one place: those of its own scope, and of the scopes around it as far as they had come.

    The scopes around are not copied but cut off by count, so that a scope costs the same in a document of any
    length.
    """

    def __init__(self, around: _Seen | None = None) -> None:
        self._own: dict[str, int] = {}
        self._around = around
        self._limit = len(around._own) if around is not None else 0

    def add(self, name: str) -> None:
        self._own.setdefault(name, len(self._own))

    def __contains__(self, name: str) -> bool:
        return name in self._own or (self._around is not None and self._around._before(name, self._limit))

    def _before(self, name: str, limit: int) -> bool:
        if self._own.get(name, limit) < limit:
            return True
        return self._around is not None and self._around._before(name, self._limit)

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        if self._around is not None:
            yield from (name for name in self._around if name in self)


@dataclasses.dataclass(frozen=True)
class _Scope:
    """What expressions see at one place: ids of steps that came before, and names besides ``ROOTS``."""

    ids: _Seen
    names: frozenset[str] = frozenset()

    def inner(self, *names: str) -> _Scope:
        """A scope of its own inside this one."""
        return _Scope(_Seen(self.ids), self.names | frozenset(names))

    def seeing(self, *names: str) -> _Scope:
        """The same scope where more names are seen."""
        return _Scope(self.ids, self.names | frozenset(names))


def check_references(data: Mapping[str, Any], report: Report, texts: Texts) -> None:
    """Report expressions that do not parse, or that name what is not there."""
    _References(data, report, texts).document()


class _References:
    def __init__(self, data: Mapping[str, Any], report: Report, texts: Texts) -> None:
        self.data = data
        self.report = report
        self.texts = texts
        self.entries = _mapping(data, "activities")
        self.all_ids = {step["id"] for step in _all_steps(data) if isinstance(step.get("id"), str)}
        self.variables = {name for step in _all_steps(data) for name in _mapping(step, "set")}
        self.secrets = frozenset(name for name in _list(data, "secrets") if isinstance(name, str))
        self.inputs = _input_names(data.get("input"))
        self.used_secrets: set[str] = set()

    def document(self) -> None:
        scope = _Scope(_Seen())
        self.steps(self.data.get("steps"), ("steps",), scope)
        self.template(self.data.get("output"), ("output",), scope)
        for index, name in enumerate(_list(self.data, "secrets")):
            if isinstance(name, str) and name not in self.used_secrets:
                self.report.warning("Unused", ("secrets", index), f"the secret {shown(name)} is never used")

    def steps(self, steps: Any, pointer: Pointer, scope: _Scope) -> None:
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, dict):
                self.step(step, (*pointer, index), scope)
                if isinstance(step.get("id"), str):
                    scope.ids.add(step["id"])

    def step(self, step: Mapping[str, Any], pointer: Pointer, scope: _Scope) -> None:
        self.condition(step.get("if"), (*pointer, "if"), scope)
        before = scope.inner()
        verb = verb_of(step)
        if verb is not None:
            self.verb(verb, step, pointer, scope)
        self.template(step.get("idempotency_key"), (*pointer, "idempotency_key"), scope)
        self.template(step.get("output"), (*pointer, "output"), scope.seeing("result", "args"))
        holder, place = step, pointer
        entry = self.entries.get(str(step.get("activity")))
        if "compensate" not in step and verb == "activity" and isinstance(entry, dict):
            holder, place = entry, ("activities", str(step["activity"]))
        self.compensation(holder, place, before)

    def verb(self, verb: str, step: Mapping[str, Any], pointer: Pointer, scope: _Scope) -> None:
        """The expressions of the verb itself, then the steps inside it."""
        self.template(step.get("with"), (*pointer, "with"), scope.seeing("secrets"))
        if verb in LOOPS:
            names = ("loop",) if verb != "foreach" else ("loop", str(step.get("as", "item")))
            condition = scope.inner(*names) if verb != "foreach" else scope
            self.condition(step[verb], (*pointer, verb), condition)
            inside = scope.inner(*names)
        else:
            inside = scope
            if not list(VERBS[verb].parts(step)):
                self.template(step[verb], (*pointer, verb), scope)
        self.clauses(verb, step, pointer, scope)
        for relative, steps in parts_of(step, verb):
            own = inside.inner() if VERBS[verb].scope else inside
            if relative[0] == "catch":
                own = own.seeing(_caught(step, relative))
            self.steps(steps, pointer + relative, own)
            if relative[0] == "parallel" and len(relative) == 3:
                self.template(
                    step["parallel"][relative[1]].get("output"), (*pointer, *relative[:2], "output"), own
                )

    def clauses(self, verb: str, step: Mapping[str, Any], pointer: Pointer, scope: _Scope) -> None:
        """Conditions of ``switch`` cases and catches."""
        for index, case in enumerate(_list(step, "switch") if verb == "switch" else ()):
            if isinstance(case, dict):
                self.condition(case.get("if"), (*pointer, "switch", index, "if"), scope)
        catches = step.get("catch") if verb == "try" else None
        for relative, catch in _catches(catches):
            own = scope.seeing(_caught(step, relative))
            self.condition(catch.get("if"), (*pointer, *relative, "if"), own)

    def compensation(self, holder: Mapping[str, Any], pointer: Pointer, scope: _Scope) -> None:
        """A compensation sees the scope as it was when the step started, and what became of it."""
        compensate = holder.get("compensate")
        if not isinstance(compensate, dict):
            return
        own = scope.inner("result", "args", "error")
        place = (*pointer, "compensate", "with")
        found = self.template(compensate.get("with"), place, own.seeing("secrets"))
        if compensate.get("after") == "attempted" and any(reference[0] == "result" for reference in found):
            message = "'result' is null here if the step did not complete ('after: attempted')"
            self.report.warning(
                "MaybeNull", place, message, hint="use step.idempotency_key to name what to undo"
            )
        for relative, steps in compensating_steps(holder):
            self.steps(steps, pointer + relative, own)

    # --- one value

    def condition(self, value: Any, pointer: Pointer, scope: _Scope) -> None:
        """A bare expression, or one in ``${{ }}``."""
        if not isinstance(value, str):
            return
        try:
            parsed = self.texts.condition(value)
        except ExpressionError as error:
            self.broken(error, pointer, value)
            return
        for reference in sorted(parsed.references):
            self.reference(reference, pointer, value, scope)

    def template(self, value: Any, pointer: Pointer, scope: _Scope) -> References:
        """All texts in a value; the references in them. If something is wrong, one text after the other."""
        try:
            found = self.texts.template(value).references
            right = all(self.problem(reference, scope) is None for reference in found)
        except ExpressionError:
            found, right = frozenset(), False
        for place, text in _texts(value, pointer) if not right else ():
            try:
                parsed = self.texts.template(text)
            except ExpressionError as error:
                self.broken(error, place, text)
                continue
            for reference in sorted(parsed.references):
                self.reference(reference, place, text, scope)
        return found

    def broken(self, error: ExpressionError, pointer: Pointer, text: str) -> None:
        source, offset = (error.source, error.offset or 0) if error.source else (text, 0)
        self.report.error_in_text("BadExpression", pointer, error.message, source, offset, hint=error.hint)

    def reference(self, reference: tuple[str, ...], pointer: Pointer, text: str, scope: _Scope) -> None:
        """Report a reference, somewhere in ``text``, to what is not there."""
        problem = self.problem(reference, scope)
        if problem is not None:
            code, message, hint = problem
            offset = max(text.find(".".join(reference)), 0) or max(text.find(reference[0]), 0)
            self.report.error_in_text(code, pointer, message, text, offset, hint=hint)

    def problem(self, reference: tuple[str, ...], scope: _Scope) -> Problem | None:
        """What is wrong with a reference."""
        root, *rest = reference
        if root == "secrets":
            return self.secret(rest, scope)
        if root not in ROOTS and root not in scope.names:
            return self.unknown_root(root, scope)
        if not rest:
            return None
        look = _LOOK.get(root)
        if look is not None:
            return look(self, rest, scope)
        if root in _FIELDS and rest[0] not in _FIELDS[root]:
            return (
                "UnknownName",
                f"{shown(root)} has no {shown(rest[0])}",
                did_you_mean(rest[0], _FIELDS[root]),
            )
        return None

    def input_reference(self, rest: list[str], scope: _Scope) -> Problem | None:
        if self.inputs is None or rest[0] in self.inputs:
            return None
        hint = did_you_mean(rest[0], self.inputs)
        return "UnknownName", f"the input has no property {shown(rest[0])}", hint

    def variable_reference(self, rest: list[str], scope: _Scope) -> Problem | None:
        if rest[0] in self.variables:
            return None
        hint = did_you_mean(rest[0], self.variables) or "set it with 'set: {NAME: VALUE}'"
        return "UnknownName", f"no step sets the variable {shown(rest[0])}", hint

    def unknown_root(self, root: str, scope: _Scope) -> Problem:
        message = f"nothing is called {shown(root)} here"
        if root in _ELSEWHERE:
            return "UnknownName", message, _ELSEWHERE[root]
        if root in scope.ids:
            return "UnknownName", message, f"the output of the step is steps.{root}.output"
        if self.inputs is not None and root in self.inputs:
            return "UnknownName", message, f"a property of the input is input.{root}"
        if root in self.variables:
            return "UnknownName", message, f"a variable is vars.{root}"
        return "UnknownName", message, did_you_mean(root, ROOTS | scope.names, "there are")

    def secret(self, rest: list[str], scope: _Scope) -> Problem | None:
        if "secrets" not in scope.names:
            return "UndeclaredSecret", "a secret cannot be used here", _ELSEWHERE["secrets"]
        if rest and rest[0] in self.secrets:
            self.used_secrets.add(rest[0])
            return None
        if not rest:
            return "UndeclaredSecret", "which secret?", "write secrets.NAME"
        near = nearest(rest[0], self.secrets)
        hint = f"did you mean {near!r}?" if near else f"declare it: 'secrets: [{rest[0]}]'"
        return "UndeclaredSecret", f"the secret {shown(rest[0])} is not declared", hint

    def step_reference(self, rest: list[str], scope: _Scope) -> Problem | None:
        name = rest[0]
        if name not in scope.ids:
            if name in self.all_ids:
                hint = "only steps before this one, in its own or an enclosing scope, are seen"
                return "UnknownStep", f"the step {shown(name)} is not seen here", hint
            return (
                "UnknownStep",
                f"there is no step {shown(name)}",
                did_you_mean(name, scope.ids, "before this one are"),
            )
        if len(rest) > 1 and rest[1] not in _STEP_FIELDS:
            near = nearest(rest[1], _STEP_FIELDS)
            hint = f"did you mean steps.{name}.{near}?" if near else f"its output is steps.{name}.output"
            return "UnknownName", f"a step has no {shown(rest[1])}", hint
        return None


_LOOK: Mapping[str, Callable[[_References, list[str], _Scope], Problem | None]] = {
    "steps": _References.step_reference,
    "input": _References.input_reference,
    "vars": _References.variable_reference,
}
"""What knows the names under a root."""


def _texts(value: Any, pointer: Pointer) -> Iterator[tuple[Pointer, str]]:
    """The texts in a value that hold an expression."""
    if isinstance(value, str):
        if "${{" in value:
            yield pointer, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*pointer, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*pointer, index))


def _input_names(schema: Any) -> Collection[str] | None:
    """The only properties that an input can have, or None if others can come."""
    properties = _mapping(schema, "properties") if isinstance(schema, dict) else {}
    if not properties or schema.get("additionalProperties", False) is not False:
        return None
    return None if any(keyword in schema for keyword in _IN_PLACE) else properties


def _all_steps(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every step of a document, wherever it stands."""
    lists = [data.get("steps")]
    lists += [steps for entry in _mapping(data, "activities").values() for _, steps in _compensations(entry)]
    while lists:
        steps = lists.pop()
        for step in steps if isinstance(steps, list) else ():
            if isinstance(step, dict):
                yield step
                verb = verb_of(step)
                inside = [*parts_of(step, verb)] if verb is not None else []
                lists += [inner for _, inner in [*inside, *_compensations(step)]]


def _compensations(holder: Any) -> Iterator[tuple[Pointer, Any]]:
    return compensating_steps(holder) if isinstance(holder, dict) else iter(())


def _catches(catches: Any) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    if isinstance(catches, dict):
        yield ("catch",), catches
    for index, catch in enumerate(catches if isinstance(catches, list) else ()):
        if isinstance(catch, dict):
            yield ("catch", index), catch


def _caught(step: Mapping[str, Any], relative: Pointer) -> str:
    """The name of the error in a catch."""
    found = dict(_catches(step.get("catch")))
    catch = next((one for place, one in found.items() if relative[: len(place)] == place), {})
    return str(catch.get("as", "error"))


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []
