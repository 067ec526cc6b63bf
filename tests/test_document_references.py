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
    "the last result in a foreach": (
        "steps:\n  - {foreach: input.x, steps: [{if: loop.previous == 1, sleep: 1s}]}\n",
        "UnknownName",
        "'loop' has no 'previous' here",
    ),
    "the last element in a while": (
        "steps:\n  - {while: 1 == 1, steps: [{if: loop.last, sleep: 1s}]}\n",
        "UnknownName",
        "'loop' has no 'last' here",
    ),
    "no attribute of a loop": (
        "steps:\n  - {while: loop.idx < 3, steps: [{sleep: 1s}]}\n",
        "UnknownName",
        "'loop' has no 'idx'",
    ),
    "the loop's name in what is looped over": (
        "steps:\n  - {foreach: loop.index, steps: [{sleep: 1s}]}\n",
        "UnknownName",
        "nothing is called 'loop' here",
    ),
    "an element outside of its loop": (
        using("item", "  - {foreach: input.x, steps: [{sleep: 1s}]}\n"),
        "UnknownName",
        "nothing is called 'item' here",
    ),
    "an element by its usual name": (
        "steps:\n  - {foreach: input.x, as: y, steps: [{sleep: '${{ item }}'}]}\n",
        "UnknownName",
        "nothing is called 'item' here",
    ),
    "an error by its usual name": (
        "steps:\n  - {try: [{sleep: 1s}], catch: {as: e, if: error.type == 'A'}}\n",
        "UnknownName",
        "nothing is called 'error' here",
    ),
    "an error in finally": (
        "steps:\n  - {try: [{sleep: 1s}], catch: {}, finally: [{sleep: '${{ error.type }}'}]}\n",
        "UnknownName",
        "nothing is called 'error' here",
    ),
    "a field of an error": (
        "steps:\n  - {try: [{sleep: 1s}], catch: {as: e, if: e.typ == 'A'}}\n",
        "UnknownName",
        "'e' has no 'typ'",
    ),
    "a variable set in a branch": (
        using("vars.x", "  - {parallel: {l: [{set: {x: 1}}]}}\n"),
        "UnknownName",
        "the variable 'x' is not seen here",
    ),
    "a variable set in an element's iteration": (
        using("vars.x", "  - {foreach: input.x, steps: [{steps: [{set: {x: 1}}]}]}\n"),
        "UnknownName",
        "the variable 'x' is not seen here",
    ),
    "a variable set in a compensation": (
        using("vars.x", "  - {id: a, activity: x.a, compensate: {steps: [{set: {x: 1}}]}}\n"),
        "UnknownName",
        "the variable 'x' is not seen here",
    ),
    "a rollback to no step": (
        "steps:\n" + A + "  - rollback: {to: b}\n",
        "UnknownStep",
        "there is no step 'b'",
    ),
    "a rollback to a later step": (
        "steps:\n  - rollback: {to: a}\n" + A,
        "UnknownStep",
        "'a' is not one that was completed before",
    ),
    "a rollback to the block it is in": (
        "steps:\n  - {id: b, steps: [{rollback: {to: b}}]}\n",
        "UnknownStep",
        "'b' is not one that was completed before",
    ),
    "a rollback in a branch to a step outside": (
        "steps:\n" + A + "  - parallel: {l: [{rollback: {to: a}}]}\n",
        "UnknownStep",
        "'a' is not one that was completed before, in this branch or iteration",
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
    "what a loop's condition means": (
        "steps:\n  - {until: steps.poll.output.done, steps: [{id: poll, activity: x.a}]}\n",
        "loop.previous",
    ),
    "the last result in a foreach": (
        "steps:\n  - {foreach: input.x, steps: [{if: loop.previous == 1, sleep: 1s}]}\n",
        "have none",
    ),
    "a misspelt step to roll back to": (
        "steps:\n  - {id: reserve, activity: x.a}\n  - rollback: {to: reserv}\n",
        "did you mean 'reserve'?",
    ),
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
    "the result in output": "steps:\n  - {id: a, activity: x.a, with: {y: 1}, output: '${{ [result.x, args.y] }}'}\n",
    "the steps of a block in its output": (
        "steps:\n  - {id: b, steps: [{id: a, activity: x.a}], output: '${{ steps.a.output }}'}\n"
    ),
    "the steps in the run's output": "steps:\n" + A + "output: ${{ steps.a.output }}\n",
    "an earlier step of the same compensation": (
        "steps:\n  - id: a\n    activity: x.a\n    compensate:\n      steps:\n"
        "        - {id: u, activity: x.u, with: {r: '${{ result }}'}}\n"
        "        - {id: v, activity: x.v, with: {r: '${{ steps.u.output }}'}}\n"
    ),
    "an element and its place": (
        "steps:\n"
        + A
        + "  - {foreach: steps.a.output, as: x, steps: [{id: b, activity: x.b, with: {v: '${{ [x.y, loop.index, loop.first, loop.last] }}'}}, "
        "{sleep: '${{ steps.b.output }}'}]}\n"
    ),
    "an element and what is around, in what undoes": (
        "steps:\n" + A + "  - foreach: input.x\n    steps:\n      - id: b\n        activity: x.b\n"
        "        compensate: {activity: x.c, with: {v: '${{ [item.id, loop.index, result, steps.a.output, error.type] }}'}}\n"
    ),
    "the last result of a loop": (
        "steps:\n  - {while: loop.previous == null or loop.previous.more, steps: [{id: a, activity: x.a, with: {v: '${{ [loop.index, loop.previous] }}'}}]}\n"
    ),
    "the element around an inner loop": (
        "steps:\n  - {foreach: input.x, as: x, steps: [{until: loop.previous == x, steps: [{foreach: x.y, as: y, steps: [{sleep: '${{ [x, y, loop.last] }}'}]}]}]}\n"
    ),
    "an error in its catch": (
        "steps:\n  - {try: [{id: a, sleep: 1s}], catch: [{if: error.type == 'A', steps: [{sleep: '${{ error.details }}'}]}, "
        "{as: e, steps: [{sleep: '${{ e.cause.type }}'}]}], finally: [{sleep: '${{ steps.a.error.type }}'}]}\n"
    ),
    "the steps of a branch in its output": (
        "steps:\n"
        + A
        + "  - parallel: {l: {steps: [{id: b, activity: x.b}], output: '${{ [steps.a.output, steps.b.output] }}'}}\n"
    ),
    "the steps of the try in its catch": (
        "steps:\n  - {try: [{id: a, sleep: 1s}], catch: {steps: [{if: steps.a.status == 'completed', sleep: 1s}]}}\n"
    ),
    "a variable set in a loop and read after it": using(
        "vars.x",
        "  - {while: 1 == 2, steps: [{set: {x: 1}}]}\n  - {try: [{set: {y: 1}}], catch: {if: vars.y == 1}}\n",
    ),
    "a variable of the scope around": (
        "steps:\n  - set: {x: 1}\n  - {foreach: input.x, steps: [{sleep: '${{ vars.x }}'}, {set: {z: 1}}, {sleep: '${{ vars.z }}'}]}\n"
    ),
    "a variable around an undo": (
        "steps:\n  - set: {x: 1}\n  - {id: a, activity: x.a, compensate: {activity: x.b, with: {v: '${{ vars.x }}'}}}\n"
    ),
    "a rollback in a loop to a step of the same iteration": (
        "steps:\n  - {foreach: input.x, steps: [{id: a, activity: x.a}, {switch: [{else: [{rollback: {to: a}}]}]}]}\n"
    ),
    "a rollback to a step in an earlier block": (
        "steps:\n  - steps: [{id: a, activity: x.a}]\n  - {try: [{sleep: 1s}], catch: {steps: [{rollback: {to: a}}]}}\n"
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
    "steps of an iteration are not seen outside": (
        "steps:\n  - {foreach: input.x, steps: [{id: u, activity: x.u}]}\n"
        "  - {id: z, activity: x.z, with: {v: '${{ steps.u.output }}'}}\n"
    ),
    "steps of a branch are not seen in another": (
        "steps:\n  - parallel: {l: [{id: u, activity: x.u}], r: [{id: z, activity: x.z, with: {v: '${{ steps.u.output }}'}}]}\n"
    ),
    "steps of a loop are not seen by its condition": (
        "steps:\n  - {until: steps.u.output == 1, steps: [{id: u, activity: x.u}]}\n"
    ),
    "an id of an iteration hides the one around from its beginning": (
        "steps:\n"
        + A
        + "  - {foreach: input.x, steps: [{sleep: '${{ steps.a.output }}'}, {id: a, activity: x.a}]}\n"
    ),
    "steps in catch do not see those in finally": (
        "steps:\n  - {try: [{sleep: 1s}], catch: {steps: [{sleep: '${{ steps.u.output }}'}]}, finally: [{id: u, activity: x.u}]}\n"
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
    assert mistakes(head + "steps:\n  - {id: z, activity: own}\n") == ["UnknownStep 4:69"]


def test_a_mistake_in_an_expression_is_placed_inside_it() -> None:
    body = (
        "steps:\n"
        + A
        + "  - id: z\n    activity: x.z\n    with:\n      text: Dear ${{ input.name }}, see ${{ steps.b.output }}\n"
    )
    assert mistakes(body) == ["UnknownStep 8:51"]
    assert only("steps:\n  - if: steps.q.status == 'x'\n    sleep: 1s\n").startswith(
        "error[UnknownStep]: there is no step 'q' (t.yaml:4:15)"
    )


def test_a_mistake_in_a_text_of_several_lines_is_placed_on_its_line() -> None:
    body = "steps:\n  - id: z\n    activity: x.z\n    with:\n      text: |\n        one\n        two ${{ steps.b.output }}\n"
    assert mistakes(body) == ["UnknownStep 9:23"]
