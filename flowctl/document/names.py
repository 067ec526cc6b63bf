"""Names in expressions: whether one is there, of which type it is, and which was meant if it is not.

What is known of the names under a root is a ``Type``: of the input, a step's output, a signal's payload, the
facts of the run. So every key of a path is looked at, as far as somebody has said what there is. A mapping
that can have other keys than those that its schema names is only warned about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flowctl.document.diagnostics import shown
from flowctl.document.places import Pointer
from flowctl.document.scopes import Scope
from flowctl.document.spelling import certain, did_you_mean, nearest
from flowctl.document.trees import Reference
from flowctl.document.types import (
    NUMBER,
    TEXT,
    UNKNOWN,
    WHOLE,
    Type,
    described,
    list_of,
    mapping_of,
    of_schema,
    plain,
)

ROOTS = frozenset({"input", "steps", "vars", "step", "now", "run"})
"""Names that every expression sees."""

_ELSEWHERE = {
    "secrets": "secrets are seen in 'with' only",
    "result": "it is seen in 'output' and 'compensate' only",
    "args": "it is seen in 'output' and 'compensate' only",
    "error": "it is seen in 'catch' and 'compensate' only; elsewhere, write steps.ID.error",
    "loop": "it is seen inside 'foreach', 'while' and 'until' only",
}

_OTHER_LOOPS = {
    "previous": "'while' and 'until' have a last iteration's result; the elements of 'foreach' have none",
    "first": "only 'foreach' knows the first; write loop.index == 0",
    "last": "only 'foreach' knows the last",
}
"""Attributes of ``loop`` in loops of the other kind."""

_TEXT_OR_NULL, _BOOLEAN = plain("string", "null"), plain("boolean")

ERROR = mapping_of(
    {"type": TEXT, "types": list_of(TEXT), "message": TEXT, "details": UNKNOWN}
    | {"step": _TEXT_OR_NULL, "attempt": plain("integer", "null"), "cause": UNKNOWN}
)
FOREACH = mapping_of({"index": WHOLE, "first": _BOOLEAN, "last": _BOOLEAN})
REPEATING = mapping_of({"index": WHOLE, "previous": UNKNOWN})

_EVERYWHERE: Mapping[str, Type] = {
    "now": TEXT,
    "step": mapping_of({"id": _TEXT_OR_NULL, "path": TEXT, "idempotency_key": TEXT}),
    "run": mapping_of(
        dict.fromkeys(("id", "workflow", "workflow_id", "started_at", "trace_id", "task_queue"), UNKNOWN)
        | dict.fromkeys(("parent_id", "namespace", "principal"), UNKNOWN)
        | dict.fromkeys(("version", "attempt", "history_length", "history_size"), WHOLE)
        | {"elapsed": Type(NUMBER)}
    ),
}
"""What there is under names that everybody sees."""


def everywhere(schema: Any) -> dict[str, Type]:
    """The names that every expression sees, in a document with that schema of its input."""
    return {**_EVERYWHERE, "input": input_type(schema)}


def input_type(schema: Any) -> Type:
    """The type of an input, which is closed where its schema names properties."""
    given = of_schema(schema, others="none") if isinstance(schema, dict) else UNKNOWN
    return Type(frozenset({"object"}), given.fields, given.others, given.required)


def step_type(output: Type) -> Type:
    """What ``steps.ID`` is."""
    return mapping_of({"output": output, "status": TEXT, "error": ERROR.or_null()})


class Problem(NamedTuple):
    """What is wrong with a reference. ``at`` is the number of the word that is; ``instead`` is what to write
    there, if that is certain.
    """

    code: str
    message: str
    hint: str | None
    at: int
    instead: str | None = None
    warning: bool = False


class NameBook:
    """What a document declares, and what was seen so far.

    Its expressions have ``asked`` for what is there, and for what is ``lost``, because nothing under that
    root is called so. Steps were ``named``, with the places of their ids, and variables ``assigned``, with
    the places of their names and the id of the step.
    """

    def __init__(self, ids: Iterable[str], variables: Iterable[str], secrets: Iterable[str]) -> None:
        self.all_ids = frozenset(ids)
        self.all_variables = frozenset(variables)
        self.secrets = frozenset(secrets)
        self.asked: set[Reference] = set()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.named: list[tuple[str, Pointer]] = []
        self.assigned: list[tuple[str, Pointer, str | None]] = []

    def type_of(self, reference: Reference, scope: Scope) -> Type:
        """The type of what a reference stands for."""
        root, *rest = reference
        known = scope.names.get(root, UNKNOWN)
        if root == "steps" and rest:
            output = scope.ids.output(rest.pop(0))
            known = step_type(output) if output is not None else UNKNOWN
        for word in rest:
            known = known.field(word) or UNKNOWN
        return known

    def problem(self, reference: Reference, scope: Scope) -> Problem | None:
        """What is wrong with a reference, or None."""
        self.asked.add(reference)
        root = reference[0]
        if root == "steps":
            return self._step(reference, scope)
        if root == "secrets":
            return self._secret(reference, scope)
        if root == "vars":
            return self._variable(reference, scope)
        known = scope.names.get(root)
        return self._unknown_root(root, scope) if known is None else _misread(known, reference, 1)

    def _unknown_root(self, root: str, scope: Scope) -> Problem:
        message = f"nothing is called {shown(root)} here"
        hint, instead = _ELSEWHERE.get(root), None
        if hint is None and root in scope.ids:
            hint, instead = f"the output of the step is steps.{root}.output", f"steps.{root}.output"
        elif hint is None and root in scope.names["input"].fields:
            hint, instead = f"a property of the input is input.{root}", f"input.{root}"
        elif hint is None and root in scope.variables:
            hint, instead = f"a variable is vars.{root}", f"vars.{root}"
        elif hint is None:
            known = ROOTS | scope.names.keys()
            hint, instead = did_you_mean(root, known, "there are"), certain(root, known)
        return Problem("UnknownName", message, hint, 0, instead)

    def _secret(self, reference: Reference, scope: Scope) -> Problem | None:
        if "secrets" not in scope.names:
            return Problem("UndeclaredSecret", "a secret cannot be used here", _ELSEWHERE["secrets"], 0)
        if len(reference) < 2:
            return Problem("UndeclaredSecret", "which secret?", "write secrets.NAME", 0)
        name = reference[1]
        if name in self.secrets:
            return None
        near = nearest(name, self.secrets)
        hint = f"did you mean {near!r}?" if near else f"declare it: 'secrets: [{name}]'"
        message = f"the secret {shown(name)} is not declared"
        return Problem("UndeclaredSecret", message, hint, 1, certain(name, self.secrets))

    def _variable(self, reference: Reference, scope: Scope) -> Problem | None:
        if len(reference) < 2 or reference[1] in scope.variables:
            return None
        name = reference[1]
        if name in self.all_variables:
            message = f"the variable {shown(name)} is not seen here"
            hint = "it is set inside a branch, an element's iteration or a compensation, and stays there"
            return Problem("UnknownName", message, hint, 1)
        hint = did_you_mean(name, scope.variables) or "set it with 'set: {NAME: VALUE}'"
        message = f"no step sets the variable {shown(name)}"
        return Problem("UnknownName", message, hint, 1, certain(name, scope.variables))

    def _step(self, reference: Reference, scope: Scope) -> Problem | None:
        if len(reference) < 2:
            return None
        name = reference[1]
        output = scope.ids.output(name)
        if output is not None:
            return _misread(step_type(output), reference, 2) if len(reference) > 2 else None
        if name in self.all_ids:
            hint = "only steps before this one, in its own or an enclosing scope, are seen"
            return Problem("UnknownStep", f"the step {shown(name)} is not seen here", hint, 1)
        hint = did_you_mean(name, scope.ids, "before this one are") or ""
        return Problem("UnknownStep", f"there is no step {shown(name)}", hint, 1, certain(name, scope.ids))


def _misread(known: Type, reference: Reference, at: int) -> Problem | None:
    """What is wrong with the words of a reference from ``at``, which are keys of a value of that type."""
    for index in range(at, len(reference)):
        if "object" not in known.kinds:
            return _no_mapping(known, reference, index)
        below = known.field(reference[index])
        if below is None:
            return _no_field(known, reference, index)
        known = below
    return None


def _no_mapping(known: Type, reference: Reference, index: int) -> Problem:
    whole = f"'{'.'.join(reference[:index])}'"
    if known.kinds == {"null"}:
        return Problem(
            "UnknownName", f"{whole} is always null, and has no {shown(reference[index])}", None, index
        )
    message = f"{whole} is {described(known.kinds)}, and has no {shown(reference[index])}"
    return Problem("UnknownName", message, None, index)


def _no_field(known: Type, reference: Reference, index: int) -> Problem:
    word, root = reference[index], reference[0]
    hint = did_you_mean(word, known.fields)
    message = f"{_whose(reference, index)} has no {shown(word)}"
    if root == "input" and index == 1:
        message = f"the input has no property {shown(word)}"
    if root == "loop" and word in _OTHER_LOOPS:
        return Problem("UnknownName", f"{message} here", _OTHER_LOOPS[word], index)
    if root == "steps" and index == 2:
        near = nearest(word, known.fields)
        of_step = f"steps.{reference[1]}"
        hint = f"did you mean {of_step}.{near}?" if near else f"its output is {of_step}.output"
    if known.others == "unsaid":
        return Problem("UnknownName", f"{message} that its schema names", hint, index, warning=True)
    return Problem("UnknownName", message, hint, index, certain(word, known.fields))


def _whose(reference: Reference, index: int) -> str:
    """What lacks the word at ``index``."""
    if reference[0] == "steps" and index == 2:
        return "a step"
    if reference[0] == "steps" and index == 3:
        return f"the {reference[2]} of step {shown(reference[1])}"
    return shown(".".join(reference[:index]))
