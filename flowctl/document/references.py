"""What expressions refer to: every name in a document is there, comes before the one who asks, and fits.

Rules (language.md, section 3):

1. A step may refer to steps before it in document order, in its own or an enclosing scope. Lists inside
   ``steps``, ``switch`` and ``try`` belong to the scope around them; branches, iterations and compensations
   are scopes of their own, of which only the result is seen outside.
2. Some names are seen in some places only: ``secrets`` in ``with``, ``result`` and ``args`` in ``output`` and
   compensations, ``error`` in ``catch`` and compensations, ``loop`` in loops. ``names.ROOTS`` and ``Scope``
   say where.
3. A variable is seen in the scope that sets it, and inside; blocks, cases and iterations of ``while`` have
   none of their own. Its order is not looked at, because a loop comes back.
4. What the document itself declares (input properties, variables, secrets) is known, and so is what an
   activity's annotations, a child or a schema declare; a name that is not among them is a mistake, and the
   nearest one is named.

The walk goes through the document in its order, so that each step finds the types of the outputs before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from flowctl.document.arguments import check_arguments
from flowctl.document.children import signature_of
from flowctl.document.diagnostics import shown
from flowctl.document.inference import Resolve, condition_type, template_type
from flowctl.document.names import ERROR, FOREACH, REPEATING, NameBook, Problem, everywhere
from flowctl.document.places import Pointer
from flowctl.document.results import element_of, result_of_branches, result_of_elements, signal_type
from flowctl.document.scopes import Names, Scope, Seen, assigned
from flowctl.document.sentences import where
from flowctl.document.signatures import Signature
from flowctl.document.spelling import certain, closest, did_you_mean
from flowctl.document.structure import (
    LOOPS,
    catches_of,
    compensating_steps,
    mapping,
    parts_of,
    verb_of,
)
from flowctl.document.subject import Subject
from flowctl.document.texts import is_literal, texts_in
from flowctl.document.trees import Reference, offsets_of, paths_in
from flowctl.document.types import UNKNOWN, WHOLE, Type, described, misfit, of_schema
from flowctl.errors import ExpressionError

_SECRETS: Names = {"secrets": UNKNOWN}
_ITERABLE = frozenset({"array", "object"})


def check_references(subject: Subject) -> NameBook:
    """Report expressions that do not parse, that name what is not there, or that do not fit where they stand;
    and calls that do not fit what they call. Returns what was asked for.
    """
    walk = _References(subject)
    walk.document()
    return walk.book


class _References:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.data = subject.data
        self.report = subject.report
        self.texts = subject.texts
        steps = [*_all_steps(self.data)]
        self.book = NameBook(
            (step["id"] for step in steps if isinstance(step.get("id"), str)),
            assigned(steps),
            (name for name in _list(self.data, "secrets") if isinstance(name, str)),
        )

    def document(self) -> None:
        nothing = Scope(Seen(), names=everywhere(self.data.get("input")))
        scope = nothing.inner(self.data.get("steps"))
        self.steps(self.data.get("steps"), ("steps",), scope)
        self.template(self.data.get("output"), ("output",), scope)
        if "output" in self.data:
            self.result(self.data["output"], ("output",), scope)

    def result(self, value: Any, pointer: Pointer, scope: Scope) -> None:
        """What becomes the output of the run: its type fits the schema of outputs."""
        schema = self.data.get("output_schema")
        if not isinstance(schema, dict):
            return
        wanted, made = of_schema(schema), template_type(value, self.resolve(scope))
        found = misfit(made, wanted)
        if found is None:
            return
        relative, what = found
        lacking = wanted.required - made.fields.keys() if not relative else frozenset()
        for name in made.fields.keys() - wanted.fields.keys() - wanted.required:
            meant = closest(name, lacking)
            if meant:
                message = f"the output has no {shown(name)} by its schema"
                hint, fix = f"did you mean {meant[0]!r}?", _fix(name, certain(name, lacking))
                self.report.error("UnknownKey", (*pointer, name), message, hint=hint, key=True, fix=fix)
                return
        self.report.error("WrongType", pointer + relative, f"{shown(where(relative, 'output'))} {what}")

    # --- steps

    def steps(self, steps: Any, pointer: Pointer, scope: Scope) -> Type:
        """A list of steps. Returns the type of its result, if its last step always runs."""
        result = UNKNOWN
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, dict):
                result = self.step(step, (*pointer, index), scope)
                if isinstance(step.get("id"), str):
                    scope.ids.add(step["id"], result)
                    self.book.named.append((step["id"], (*pointer, index, "id")))
                if "if" in step or step.get("optional") is True:
                    result = UNKNOWN
        return result

    def step(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """One step. Returns the type of its output, if it runs."""
        self.condition(step.get("if"), (*pointer, "if"), scope)
        entry = self.subject.entry(step.get("activity"))
        holder = entry if "compensate" in entry and "compensate" not in step else step
        undone = isinstance(holder.get("compensate"), dict)
        before = scope.inner() if undone else scope
        verb = verb_of(step)
        result = self.verb(verb, step, pointer, scope) if verb is not None else UNKNOWN
        self.template(step.get("idempotency_key"), (*pointer, "idempotency_key"), scope)
        output = result
        if "output" in step or undone:
            seen = {"result": result, "args": template_type(step.get("with", {}), self.resolve(scope))}
            reshaping = scope.seeing(seen)
            self.template(step.get("output"), (*pointer, "output"), reshaping)
            if "output" in step:
                output = template_type(step["output"], self.resolve(reshaping))
            place = pointer if holder is step else ("activities", str(step["activity"]))
            self.compensation(holder, place, before.seeing({**seen, "error": ERROR}))
        return output

    def verb(self, verb: str, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """The expressions of the verb itself, then the steps inside it. Returns the type of its result."""
        self.template(step.get("with"), (*pointer, "with"), scope.seeing(_SECRETS))
        inner = _VERBS.get(verb)
        if inner is not None:
            return inner(self, step, pointer, scope)
        self.template(step[verb], (*pointer, verb), scope)
        return UNKNOWN

    def call(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """An activity or a child."""
        signature = self.called(step, pointer, scope)
        return signature.returns if signature is not None and step.get("detached") is not True else UNKNOWN

    def called(self, holder: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Signature | None:
        """What a step or a compensation calls. Its arguments are checked."""
        verb = "activity" if "activity" in holder else "workflow"
        name = holder.get(verb)
        signature = (
            self.subject.signature(name) if verb == "activity" else self.subject.children.signature(name)
        )
        if signature is not None:
            given, place, caller = holder.get("with", {}), (*pointer, "with"), (*pointer, verb)
            check_arguments(self.report, given, place, signature, self.resolve(scope), caller=caller)
        return signature

    def wait(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        written = step["wait_for_signal"]
        return signal_type(written if isinstance(written, list) else [written], self.subject.signals)

    def set(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        self.template(step["set"], (*pointer, "set"), scope)
        named = step["id"] if isinstance(step.get("id"), str) else None
        for name in mapping(step["set"]):
            self.book.assigned.append((name, (*pointer, "set", name), named))
        return template_type(step["set"], self.resolve(scope)) if "id" in step else UNKNOWN

    def returned(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        self.template(step["return"], (*pointer, "return"), scope)
        self.result(step["return"], (*pointer, "return"), scope)
        return UNKNOWN

    def successor(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """A run that continues as new calls itself. A literal was held against the whole schema already."""
        place = (*pointer, "continue_as_new")
        self.template(step["continue_as_new"], place, scope)
        given = mapping(step["continue_as_new"]).get("input")
        if self.subject.input_schema is not None and not is_literal(given):
            signature = signature_of("the successor", self.data)
            inside = (*place, "input")
            check_arguments(self.report, given, inside, signature, self.resolve(scope), caller=inside)
        return UNKNOWN

    def patch(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        return WHOLE

    def block(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        return self.steps(step["steps"], (*pointer, "steps"), scope)

    def foreach(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        place, steps = (*pointer, "foreach"), step.get("steps")
        items = self.bare(step["foreach"], place, scope)
        if not items.kinds & _ITERABLE:
            message = f"'foreach' needs a list or a mapping, and this is {described(items.kinds)}"
            self.report.error("WrongType", place, message)
        variable = str(step.get("as", "item"))
        inside = scope.inner(steps, {"loop": FOREACH, variable: element_of(items)})
        return result_of_elements(self.steps(steps, (*pointer, "steps"), inside), step.get("wait", "all"))

    def repeat(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        verb, steps = str(verb_of(step)), step.get("steps")
        inside = scope.inner(steps, {"loop": REPEATING}, variables=False)
        outer = scope.seeing(inside.names)
        self.condition(step[verb], (*pointer, verb), outer, inner=inside.ids.declared)
        return self.steps(steps, (*pointer, "steps"), inside)

    def branches(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        results: dict[str, Type] = {}
        for relative, steps in parts_of(step, "parallel"):
            own = scope.inner(steps)
            name = str(relative[1])
            results[name] = self.steps(steps, pointer + relative, own)
            branch = mapping(step["parallel"][relative[1]])  # by number, where it is a list
            self.template(branch.get("output"), (*pointer, *relative[:2], "output"), own)
            if "output" in branch:
                results[name] = template_type(branch["output"], self.resolve(own))
        return result_of_branches(results, step.get("wait", "all"))

    def clauses(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """``try``, its catches, which see the error, and ``finally``."""
        self.steps(step["try"], (*pointer, "try"), scope)
        for relative, catch in catches_of(step):
            own = scope.seeing({str(catch.get("as", "error")): ERROR})
            self.condition(catch.get("if"), (*pointer, *relative, "if"), own)
            self.steps(catch.get("steps"), (*pointer, *relative, "steps"), own)
        self.steps(step.get("finally"), (*pointer, "finally"), scope)
        return UNKNOWN

    def cases(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        for index, case in enumerate(_list(step, "switch")):
            self.condition(mapping(case).get("if"), (*pointer, "switch", index, "if"), scope)
        for relative, steps in parts_of(step, "switch"):
            self.steps(steps, pointer + relative, scope)
        return UNKNOWN

    def rollback(self, step: Mapping[str, Any], pointer: Pointer, scope: Scope) -> Type:
        """What is kept is a step before, in the same branch or iteration: nothing else is undone here."""
        name = mapping(step["rollback"]).get("to")
        if not isinstance(name, str) or scope.ids.before_in_own(name):
            return UNKNOWN
        place = (*pointer, "rollback", "to")
        if name in self.book.all_ids:
            message = (
                f"the step {shown(name)} is not one that was completed before, in this branch or iteration"
            )
            self.report.error("UnknownStep", place, message, hint="'rollback: all' undoes all of this one")
        else:
            known = [seen for seen in scope.ids if scope.ids.before_in_own(seen)]
            fix = _fix(name, certain(name, known))
            message, hint = f"there is no step {shown(name)}", did_you_mean(name, known)
            self.report.error("UnknownStep", place, message, hint=hint, fix=fix)
        return UNKNOWN

    def compensation(self, holder: Mapping[str, Any], pointer: Pointer, scope: Scope) -> None:
        """A compensation sees the scope as it was when the step started, and what became of it."""
        compensate = holder.get("compensate")
        if not isinstance(compensate, dict):
            return
        own = scope.inner(compensate.get("steps"))
        if compensate.get("after") == "attempted":
            own = own.doubting({"result"})
        place = (*pointer, "compensate")
        self.template(compensate.get("with"), (*place, "with"), own.seeing(_SECRETS))
        if "activity" in compensate or "workflow" in compensate:
            self.called(compensate, place, own)
        for relative, steps in compensating_steps(holder):
            self.steps(steps, pointer + relative, own)

    # --- one value

    def resolve(self, scope: Scope) -> Resolve:
        """What the types of expressions are made of, in a scope."""
        return functools.partial(self.book.type_of, scope=scope)

    def condition(self, value: Any, pointer: Pointer, scope: Scope, *, inner: Collection[str] = ()) -> None:
        """An expression that must yield true or false. ``inner`` are the ids inside a loop, which its
        condition does not see.
        """
        found = self.bare(value, pointer, scope, inner=inner)
        if "boolean" not in found.kinds:
            message = f"a condition must yield true or false, and this is {described(found.kinds)}"
            hint = "compare it, for example with '==' or '>'"
            self.report.error("WrongType", pointer, message, hint=hint)

    def bare(self, value: Any, pointer: Pointer, scope: Scope, *, inner: Collection[str] = ()) -> Type:
        """A bare expression, or one in ``${{ }}``. Returns its type."""
        if not isinstance(value, str):
            return UNKNOWN
        try:
            parsed = self.texts.condition(value)
        except ExpressionError as error:
            self.broken(error, pointer, value)
            return UNKNOWN
        right = True
        for reference in sorted(parsed.references):
            problem = self.book.problem(reference, scope)
            right = right and problem is None
            if problem is None:
                continue
            if reference[0] == "steps" and reference[1:2] and reference[1] in inner:
                hint = "the condition of a loop sees the result of its last iteration, loop.previous"
                problem = problem._replace(hint=hint)
            self.say(problem, reference, pointer, value, bare=True)
        return condition_type(value, self.resolve(scope)) if right else UNKNOWN

    def template(self, value: Any, pointer: Pointer, scope: Scope) -> None:
        """All texts in a value. If something is wrong, one text after the other."""
        try:
            found = self.texts.template(value).references
            problems = [self.book.problem(reference, scope) for reference in found]
            right = problems.count(None) == len(problems)
        except ExpressionError:
            found, right = frozenset(), False
        doubtful = any(reference[0] in scope.doubtful for reference in found)
        for place, text in texts_in(value, pointer) if doubtful or not right else ():
            self.text(text, place, scope)

    def text(self, text: str, pointer: Pointer, scope: Scope) -> None:
        """What is wrong with the expressions in one text."""
        try:
            parsed = self.texts.template(text)
        except ExpressionError as error:
            self.broken(error, pointer, text)
            return
        for reference in sorted(parsed.references):
            problem = self.book.problem(reference, scope)
            if problem is not None:
                self.say(problem, reference, pointer, text)
        for path in paths_in(text) if scope.doubtful else ():
            if path.root in scope.doubtful and not path.forgiven:
                message = f"{shown(path.root)} is null here if the step did not complete ('after: attempted')"
                hint = "use step.idempotency_key to name what to undo, or default(…, …)"
                self.report.warning_in_text("MaybeNull", pointer, message, text, path.offset, hint=hint)

    def broken(self, error: ExpressionError, pointer: Pointer, text: str) -> None:
        source, offset = (error.source, error.offset or 0) if error.source else (text, 0)
        self.report.error_in_text("BadExpression", pointer, error.message, source, offset, hint=error.hint)

    def say(
        self, problem: Problem, reference: Reference, pointer: Pointer, text: str, *, bare: bool = False
    ) -> None:
        """Report what is wrong with a reference, wherever it stands in ``text``."""
        for offset in offsets_of(text, reference, problem.at, bare=bare):
            code, message, hint = problem.code, problem.message, problem.hint
            if problem.at == 1:
                self.book.lost[reference[0], reference[1]] += 1
            if problem.warning:
                self.report.warning_in_text(code, pointer, message, text, offset, hint=hint)
            else:
                fix = _fix(reference[problem.at], problem.instead)
                self.report.error_in_text(code, pointer, message, text, offset, hint=hint, fix=fix)


_VERBS: Mapping[str, Callable[[_References, Mapping[str, Any], Pointer, Scope], Type]] = {
    "activity": _References.call,
    "workflow": _References.call,
    "wait_for_signal": _References.wait,
    "set": _References.set,
    "patch": _References.patch,
    "return": _References.returned,
    "continue_as_new": _References.successor,
    "steps": _References.block,
    "foreach": _References.foreach,
    "while": _References.repeat,
    "until": _References.repeat,
    "parallel": _References.branches,
    "try": _References.clauses,
    "switch": _References.cases,
    "rollback": _References.rollback,
}
"""How the verbs are walked that are more than one value with expressions."""
assert set(_VERBS) > LOOPS


def _fix(wrong: str, right: str | None) -> tuple[str, str] | None:
    return (wrong, right) if right is not None else None


def _all_steps(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every step of a document, wherever it stands."""
    lists = [data.get("steps")]
    lists += [
        steps for entry in mapping(data.get("activities")).values() for _, steps in _compensations(entry)
    ]
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


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []
