"""What expressions in documents may refer to."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import pytest

from tests.document_helpers import mistakes, only, refused

A = "  - {id: a, activity: x.a}\n"


def using(expression: str, before: str = A, head: str = "") -> str:
    """A document whose last step uses an expression as an argument."""
    return f'{head}steps:\n{before}  - {{id: z, activity: x.z, with: {{v: "${{{{ {expression} }}}}"}}}}\n'


REFUSED = {
    "a later step": (using("steps.z.output", ""), "UnknownStep", "is not seen here"),
    "itself": (using("steps.z.output"), "UnknownStep", "is not seen here"),
    "no step": (using("steps.b.output"), "UnknownStep", "there is no step 'b'"),
    "a step's field": (using("steps.a.outptu"), "UnknownName", "a step has no 'outptu'"),
    "a step's output without output": (using("steps.a.id"), "UnknownName", "a step has no 'id'"),
    "no root": (using("inputs.x"), "UnknownName", "nothing is called 'inputs' here"),
    "a result of nothing": (using("result.x"), "UnknownName", "nothing is called 'result' here"),
    "an error of nothing": (using("error.type"), "UnknownName", "nothing is called 'error' here"),
    "a loop": (using("loop.index"), "UnknownName", "nothing is called 'loop' here"),
    "a fact of the run": (using("run.elapsd"), "UnknownName", "'run' has no 'elapsd'"),
    "a field of the step": (using("step.key"), "UnknownName", "'step' has no 'key'"),
    "no variable": (using("vars.x"), "UnknownName", "no step sets the variable 'x'"),
    "an undeclared secret": (using("secrets.X"), "UndeclaredSecret", "the secret 'X' is not declared"),
    "an input property": (
        using("input.ammount", head="input: {properties: {amount: {}}}\n"),
        "UnknownName",
        "the input has no property 'ammount'",
    ),
    "what does not parse": (using("input.x +"), "BadExpression", ""),
}


@pytest.mark.parametrize(("body", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_a_name_that_is_not_there_is_refused(body: str, code: str, message: str) -> None:
    (found,) = refused(body)
    assert found.code == code
    assert message in found.message


HINTS = {
    "a step's id alone": (using("a.output"), "the output of the step is steps.a.output"),
    "an input's property alone": (
        using("amount", head="input: {properties: {amount: {}}}\n"),
        "input.amount",
    ),
    "a misspelt step": (using("steps.reserv.x", "  - {id: reserve, activity: x.a}\n"), "'reserve'"),
    "a misspelt root": (using("inputs.x"), "did you mean 'input'?"),
    "a misspelt field": (using("steps.a.outptu"), "did you mean steps.a.output?"),
    "a key of the output": (using("steps.a.tracking"), "its output is steps.a.output"),
    "a variable alone": (using("x", "  - set: {x: 1}\n"), "a variable is vars.x"),
    "a secret": (using("secrets.X"), "declare it: 'secrets: [X]'"),
}


@pytest.mark.parametrize(("body", "hint"), HINTS.values(), ids=HINTS)
def test_a_name_that_is_not_there_is_told_the_nearest(body: str, hint: str) -> None:
    (found,) = refused(body)
    assert hint in (found.hint or "")


ALLOWED = {
    "an earlier step": using("steps.a.output.x + steps.a.status + steps.a.error.type"),
    "a step in an earlier block": using("steps.b.output", "  - steps:\n      - {id: b, sleep: 1s}\n"),
    "a step in another case": using(
        "steps.b.output",
        "  - switch:\n      - {if: 1 == 1, steps: [{id: b, sleep: 1s}]}\n      - else: [{sleep: 1s}]\n",
    ),
    "any input without a schema": using("input.whatever.there.is"),
    "any input of an open schema": using(
        "input.b", head="input: {properties: {a: {}}, additionalProperties: true}\n"
    ),
    "inputs named elsewhere too": using(
        "input.b", head="input: {properties: {a: {}}, allOf: [{properties: {b: {}}}]}\n"
    ),
    "a variable set anywhere": using("vars.x", "  - set: {x: 1}\n"),
    "the run, the step and the time": using("[run.id, run.principal, step.idempotency_key, now]"),
    "a declared secret in with": using("secrets.X", head="secrets: [X]\n"),
    "a secret in a compensation": (
        "secrets: [X]\nsteps:\n  - id: a\n    activity: x.a\n"
        "    compensate: {activity: x.b, with: {t: '${{ secrets.X }}', r: '${{ [result, args, error.type, step.id] }}'}}\n"
    ),
    "the result in output": "steps:\n  - {id: a, activity: x.a, output: '${{ [result.x, args.y] }}'}\n",
    "the steps of a block in its output": (
        "steps:\n  - {id: b, steps: [{id: a, activity: x.a}], output: '${{ steps.a.output }}'}\n"
    ),
    "the steps in the run's output": "steps:\n" + A + "output: ${{ steps.a.output }}\n",
    "an earlier step of the same compensation": (
        "steps:\n  - id: a\n    activity: x.a\n    compensate:\n      steps:\n"
        "        - {id: u, activity: x.u, with: {r: '${{ result }}'}}\n"
        "        - {id: v, activity: x.v, with: {r: '${{ steps.u.output }}'}}\n"
    ),
    "an escaped expression": "steps:\n  - {id: a, activity: x.a, with: {t: 'write $${{ nope }}'}}\n",
}


@pytest.mark.parametrize("body", ALLOWED.values(), ids=ALLOWED)
def test_a_name_that_is_there_is_allowed(body: str) -> None:
    assert [found.render() for found in refused(body)] == []


SECRETS = {
    "in an output": "  - {id: a, activity: x.a, output: '${{ secrets.X }}'}\n",
    "in a variable": "  - set: {t: '${{ secrets.X }}'}\n",
    "in a return": "  - return: ${{ secrets.X }}\n",
    "in a key": "  - {id: a, activity: x.a, idempotency_key: '${{ secrets.X }}'}\n",
}


@pytest.mark.parametrize("step", SECRETS.values(), ids=SECRETS)
def test_a_secret_outside_of_with_is_refused(step: str) -> None:
    found = refused(f"secrets: [X]\nsteps:\n{step}")
    assert [one.code for one in found] == ["UndeclaredSecret"]
    assert found[0].hint == "secrets are seen in 'with' only"


def test_a_secret_in_a_condition_is_refused() -> None:
    assert mistakes("secrets: [X]\nsteps:\n  - {if: secrets.X == 'a', sleep: 1s}\n") == ["BadExpression 5:10"]


SCOPES = {
    "steps of a compensation are not seen outside": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{id: u, activity: x.u}]}}\n"
        "  - {id: z, activity: x.z, with: {v: '${{ steps.u.output }}'}}\n"
    ),
    "a compensation does not see what came later": (
        "steps:\n  - {id: a, activity: x.a, compensate: {activity: x.b, with: {v: '${{ steps.z.output }}'}}}\n"
        "  - {id: z, activity: x.z}\n"
    ),
    "a block's compensation does not see its steps": (
        "steps:\n  - {steps: [{id: z, activity: x.a}], compensate: {activity: x.b, with: {v: '${{ steps.z.output }}'}}}\n"
    ),
    "a block is not seen by its own steps": (
        "steps:\n  - {id: b, steps: [{id: z, activity: x.a, with: {v: '${{ steps.b.output }}'}}]}\n"
    ),
}


@pytest.mark.parametrize("body", SCOPES.values(), ids=SCOPES)
def test_only_steps_before_in_an_enclosing_scope_are_seen(body: str) -> None:
    assert [found.code for found in refused(body)] == ["UnknownStep"]


def test_the_compensation_of_an_entry_is_checked_where_the_entry_is_used() -> None:
    head = (
        "activities:\n  own: {uses: x.a, compensate: {activity: x.b, with: {v: '${{ steps.a.output }}'}}}\n"
    )
    assert mistakes(head + "steps:\n" + A + "  - {id: z, activity: own}\n") == []
    assert mistakes(head + "steps:\n  - {id: z, activity: own}\n") == ["UnknownStep 4:63"]


def test_a_mistake_in_an_expression_is_placed_inside_it() -> None:
    body = (
        "steps:\n"
        + A
        + "  - id: z\n    activity: x.z\n    with:\n      text: Dear ${{ input.name }}, see ${{ steps.b.output }}\n"
    )
    assert mistakes(body) == ["UnknownStep 8:45"]
    assert only("steps:\n  - if: steps.q.status == 'x'\n    sleep: 1s\n").startswith(
        "error[UnknownStep]: there is no step 'q' (t.yaml:4:9)"
    )


def test_a_mistake_in_a_text_of_several_lines_is_placed_on_its_line() -> None:
    body = "steps:\n  - id: z\n    activity: x.z\n    with:\n      text: |\n        one\n        two ${{ steps.b.output }}\n"
    assert mistakes(body) == ["UnknownStep 9:17"]
