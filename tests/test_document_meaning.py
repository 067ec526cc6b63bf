"""What is known of a workflow before it runs: arguments, fields, children, the course of a run."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import dataclasses
import datetime
import decimal
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from flowctl import ActivityContext, activity
from flowctl.activities import Activity, declared
from flowctl.document import World, problems
from tests.document_helpers import document, only, refused, warned


class Reservation(TypedDict):
    id: int
    shelf: str


@dataclasses.dataclass
class Address:
    street: str
    floor: int = 0


@dataclasses.dataclass
class Shipment:
    tracking: str
    to: Address


@activity("shop.reserve")
def reserve(items: list[str], key: str | None = None) -> Reservation:
    raise NotImplementedError


@activity("shop.ship")
def ship(
    address: Address, weight: float, ctx: ActivityContext, way: Literal["road", "air"] = "road"
) -> Shipment:
    raise NotImplementedError


@activity("shop.count")
def count(at: datetime.datetime, price: decimal.Decimal = decimal.Decimal(1)) -> int:
    raise NotImplementedError


@activity("shop.drop", retry={"attempts": 2})
def drop(id: int) -> None:
    raise NotImplementedError


@activity("shop.note")
def note(**anything: Any) -> dict[str, Any]:
    raise NotImplementedError


def registered(*functions: Any) -> dict[str, Activity | None]:
    found = [declared(function) for function in functions]
    return {one.name: one for one in found if one is not None}


SHOP = registered(reserve, ship, count, drop, note)
HEAD = (
    "input: {properties: {n: {type: integer}, s: {type: string}, list: {type: array, items: {type: integer}},\n"
    "  who: {type: object, properties: {name: {type: string}}}}}\n"
)


def shop(step: str, head: str = HEAD) -> str:
    """A document with one step, after one that reserves."""
    return f"{head}steps:\n  - {{id: r, activity: shop.reserve, with: {{items: [a]}}}}\n  - {step}\n"


# --- arguments

BAD_ARGUMENTS = {
    "one that is not there": (
        "{id: a, activity: shop.reserve, with: {itmes: [a]}}",
        "UnknownArgument",
        "shop.reserve takes no argument 'itmes'",
    ),
    "one that is missing": (
        "{id: a, activity: shop.ship, with: {weight: 1}}",
        "MissingArgument",
        "shop.ship needs the argument 'address'",
    ),
    "all that are missing": (
        "{id: a, activity: shop.ship}",
        "MissingArgument",
        "shop.ship needs the arguments 'address', 'weight'",
    ),
    "a literal of the wrong type": (
        "{id: a, activity: shop.ship, with: {address: {street: x}, weight: heavy}}",
        "BadArgument",
        "the argument 'weight' of shop.ship must be a number, not a text",
    ),
    "a literal inside one": (
        "{id: a, activity: shop.ship, with: {address: {street: 1}, weight: 1}}",
        "BadArgument",
        "the argument 'address.street' of shop.ship must be a text, not a whole number",
    ),
    "a field that is missing inside one": (
        "{id: a, activity: shop.ship, with: {address: {floor: 1}, weight: 1}}",
        "BadArgument",
        "the argument 'address' of shop.ship must have the key 'street'",
    ),
    "an element of the wrong type": (
        "{id: a, activity: shop.reserve, with: {items: [1]}}",
        "BadArgument",
        "must be a list in which each element must be a text, not a whole number",
    ),
    "a literal that its converter refuses": (
        "{id: a, activity: shop.ship, with: {address: {street: x}, weight: 1, way: sea}}",
        "BadArgument",
        "the argument 'way' of shop.ship does not fit: Invalid enum value 'sea'",
    ),
    "a time that is none": (
        "{id: a, activity: shop.count, with: {at: tomorrow}}",
        "BadArgument",
        "the argument 'at' of shop.count does not fit",
    ),
    "an output of the wrong type": (
        "{id: a, activity: shop.ship, with: {address: {street: x}, weight: '${{ steps.r.output.shelf }}'}}",
        "BadArgument",
        "must be a number, not a text",
    ),
    "an input of the wrong type": (
        "{id: a, activity: shop.reserve, with: {items: '${{ input.s }}'}}",
        "BadArgument",
        "must be a list, not a text",
    ),
    "a list of the wrong elements": (
        "{id: a, activity: shop.reserve, with: {items: '${{ input.list }}'}}",
        "BadArgument",
        "each element must be a text, not a whole number",
    ),
    "a text with an expression in it": (
        "{id: a, activity: shop.drop, with: {id: 'no. ${{ input.n }}'}}",
        "BadArgument",
        "must be a whole number, not a text",
    ),
    "a comparison": (
        "{id: a, activity: shop.drop, with: {id: '${{ input.n > 1 }}'}}",
        "BadArgument",
        "must be a whole number, not true or false",
    ),
    "what a function returns": (
        "{id: a, activity: shop.drop, with: {id: '${{ upper(input.s) }}'}}",
        "BadArgument",
        "must be a whole number, not a text",
    ),
    "a whole that lacks one": (
        "{id: a, activity: shop.drop, with: '${{ steps.r.output }}'}",
        "UnknownArgument",
        "shop.drop takes no argument",
    ),
    "a whole that is none": (
        "{id: a, activity: shop.drop, with: '${{ input.s }}'}",
        "BadArgument",
        "'with' must be a mapping, not a text",
    ),
    "one of a compensation": (
        "{id: a, activity: shop.note, compensate: {activity: shop.drop, with: {id: '${{ steps.r.output.shelf }}'}}}",
        "BadArgument",
        "must be a whole number, not a text",
    ),
    "a successor's input": (
        "{continue_as_new: {input: {n: '${{ input.s }}'}}}",
        "BadArgument",
        "the argument 'n' of the successor must be a whole number, not a text",
    ),
    "a name in a successor's input": (
        "{continue_as_new: {input: {lsit: '${{ input.list }}'}}}",
        "UnknownArgument",
        "the successor takes no argument 'lsit'",
    ),
    "the result that a compensation passes on": (
        "{id: a, activity: shop.reserve, with: {items: [a]}, compensate: {activity: shop.drop, with: {id: '${{ result.shelf }}'}}}",
        "BadArgument",
        "must be a whole number, not a text",
    ),
}


@pytest.mark.parametrize(("step", "code", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_an_argument_that_does_not_fit_is_refused(step: str, code: str, message: str) -> None:
    found = refused(shop(step), activities=SHOP)
    assert {one.code for one in found} == {code}
    assert message in found[0].message
    assert found[0].line == 7


GOOD_ARGUMENTS = {
    "all of them": "{id: a, activity: shop.ship, with: {address: {street: x, floor: 1}, weight: 1.5, way: air}}",
    "a whole number for a number": "{id: a, activity: shop.ship, with: {address: {street: x}, weight: '${{ input.n }}'}}",
    "a literal with an expression in it": "{id: a, activity: shop.ship, with: {address: {street: '${{ input.s }}'}, weight: 1}}",
    "null where it is allowed": "{id: a, activity: shop.reserve, with: {items: [], key: null}}",
    "what may be null": "{id: a, activity: shop.reserve, with: {items: [], key: '${{ default(input.s, null) }}'}}",
    "a secret": "{id: a, activity: shop.drop, with: {id: '${{ secrets.S }}'}}",
    "a successor's input": "{continue_as_new: {input: {n: '${{ input.n + 1 }}', s: x}}}",
    "what nobody knows": "{id: a, activity: shop.drop, with: {id: '${{ vars.x }}'}}",
    "a number for what is made from texts, too": "{id: a, activity: shop.count, with: {at: '2030-01-01T00:00:00Z', price: '${{ input.n }}'}}",
    "anything where anything is taken": "{id: a, activity: shop.note, with: {whatever: [1]}}",
    "a whole that is not known": "{id: a, activity: shop.drop, with: '${{ vars.x }}'}",
    "an activity that nobody knows": "{id: a, activity: other.call, with: {whatever: 1}}",
    "an entry": "{id: a, activity: dropping, with: {id: 1}}",
}


@pytest.mark.parametrize("step", GOOD_ARGUMENTS.values(), ids=GOOD_ARGUMENTS)
def test_an_argument_that_may_fit_is_not_judged(step: str) -> None:
    head = HEAD + "secrets: [S]\nactivities: {dropping: {uses: shop.drop}}\n"
    body = shop(step, head).replace("  - {id: r", "  - set: {x: 1}\n  - {id: r")
    assert [one.render() for one in refused(body, activities={**SHOP, "other.call": None})] == []


def test_a_misspelt_argument_is_one_mistake_and_names_the_right_one() -> None:
    body = shop("{id: a, activity: shop.reserve, with: {itmes: [a]}}")
    sentence = (
        "error[UnknownArgument]: shop.reserve takes no argument 'itmes' (t.yaml:7:44), did you mean 'items'?"
    )
    assert only(body, activities=SHOP) == sentence


def test_without_plugins_nobody_judges_what_they_would_bring() -> None:
    body = shop("{id: a, activity: mail.send, with: {whatever: 1}}")
    assert refused(body) == []
    assert refused(body, activities=SHOP, complete=False) == []
    assert [one.code for one in refused(body, activities=SHOP)] == ["UnknownActivity"]
    near = shop("{id: a, activity: shop.shp}")
    assert [one.code for one in refused(near, activities=SHOP, complete=False)] == ["UnknownActivity"]


# --- fields

GATES = "signals: {go: {payload: {type: object, properties: {by: {type: string}}, additionalProperties: false}}, stop: }\n"

BAD_FIELDS = {
    "an output": ("${{ steps.r.output.shelff }}", "the output of step 'r' has no 'shelff'", "'shelf'"),
    "a field of a field": (
        "${{ steps.s.output.to.stret }}",
        "'steps.s.output.to' has no 'stret'",
        "'street'",
    ),
    "a field of a text": (
        "${{ steps.r.output.shelf.no }}",
        "'steps.r.output.shelf' is a text, and has no 'no'",
        "",
    ),
    "a field of nothing": (
        "${{ steps.d.output.id }}",
        "'steps.d.output' is always null, and has no 'id'",
        "",
    ),
    "an input": ("${{ input.m }}", "the input has no property 'm'", ""),
    "a payload": ("${{ steps.g.output.payload.bye }}", "'steps.g.output.payload' has no 'bye'", "'by'"),
    "what a wait knows": (
        "${{ steps.g.output.paylod }}",
        "the output of step 'g' has no 'paylod'",
        "'payload'",
    ),
    "a branch": ("${{ steps.p.output.lfet }}", "the output of step 'p' has no 'lfet'", "'left'"),
    "a field of a branch": (
        "${{ steps.p.output.left.shlf }}",
        "'steps.p.output.left' has no 'shlf'",
        "'shelf'",
    ),
    "a variable that a set returns": ("${{ steps.v.output.y }}", "the output of step 'v' has no 'y'", ""),
    "a reshaped output": ("${{ steps.o.output.id }}", "the output of step 'o' has no 'id'", ""),
    "what a settled branch says": ("${{ steps.q.output.left.otput }}", "has no 'otput'", "'output'"),
    "a field in brackets": (
        "${{ steps.r.output['shelff'] }}",
        "the output of step 'r' has no 'shelff'",
        "'shelf'",
    ),
    "one that may be missing": ("${{ default(steps.r.output.shelff, 1) }}", "has no 'shelff'", "'shelf'"),
}

BEFORE = (
    HEAD
    + GATES
    + """steps:
  - {id: r, activity: shop.reserve, with: {items: [a]}}
  - {id: s, activity: shop.ship, with: {address: {street: a}, weight: 1}}
  - {id: d, activity: shop.drop, with: {id: 1}}
  - {id: g, wait_for_signal: go}
  - {id: h, wait_for_signal: [go, stop]}
  - {id: v, set: {x: 1}}
  - {id: o, activity: shop.reserve, with: {items: [a]}, output: {shelf: "${{ result.shelf }}"}}
  - {id: p, parallel: {left: [{id: l, activity: shop.reserve, with: {items: [a]}}], right: [{sleep: 1s}]}}
  - {id: q, parallel: {left: [{id: l, activity: shop.reserve, with: {items: [a]}}]}, wait: settled}
  - {id: e, foreach: input.list, steps: [{id: i, activity: shop.reserve, with: {items: [a]}}]}
"""
)


def asking(expression: str) -> str:
    return (
        BEFORE
        + f'  - {{id: z, activity: shop.note, with: {{v: "{expression}"}}}}\noutput: ${{{{ vars.x }}}}\n'
    )


@pytest.mark.parametrize(("expression", "message", "hint"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_field_that_nothing_can_have_is_refused(expression: str, message: str, hint: str) -> None:
    [found] = refused(asking(expression), activities=SHOP)
    assert (found.code, hint in (found.hint or "")) == ("UnknownName", True)
    assert message in found.message


@pytest.mark.parametrize(
    "expression",
    [
        "${{ steps.r.output.shelf }}",
        "${{ steps.s.output.to.floor }}",
        "${{ steps.h.output.payload.anything }}",
        "${{ steps.h.output.principal }}",
        "${{ steps.p.output.left.id }}",
        "${{ steps.p.output.right }}",
        "${{ steps.q.output.left.output.id }}",
        "${{ steps.q.output.left.error.message }}",
        "${{ steps.e.output[0].shelf }}",
        "${{ steps.o.output.shelf }}",
        "${{ steps.v.output.x }}",
        "${{ [x.whatever for x in input.list] }}",
    ],
)
def test_a_field_that_there_is_is_allowed(expression: str) -> None:
    assert [one.render() for one in refused(asking(expression), activities=SHOP)] == []


def test_a_field_that_an_open_schema_does_not_name_is_only_warned_about() -> None:
    body = asking("${{ input.who.nmae }}")
    assert warned(body, activities=SHOP) == ["UnknownName 17:59"]
    opened = body.replace(
        "properties: {name: {type: string}}", "properties: {name: {}}, additionalProperties: true"
    )
    assert warned(opened, activities=SHOP) == []


CONDITIONS = {
    "a text": ("{if: input.s, sleep: 1s}", "a condition must yield true or false, and this is a text"),
    "a number": ("{if: len(input.list), sleep: 1s}", "and this is a whole number"),
    "an output": ("{if: steps.r.output.id, sleep: 1s}", "and this is a whole number"),
    "a case": ("{switch: [{if: input.s, steps: [{sleep: 1s}]}]}", "and this is a text"),
    "a loop": ("{while: input.s, steps: [{sleep: 1s}], max_iterations: 2}", "and this is a text"),
    "what is looped over": ("{foreach: input.s, steps: [{sleep: 1s}]}", "'foreach' needs a list or a mapping, and this is a text"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "message"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_that_yields_something_else_is_refused(step: str, message: str) -> None:
    [found] = refused(shop(step), activities=SHOP)
    assert found.code == "WrongType"
    assert message in found.message


def test_an_output_is_held_against_its_schema() -> None:
    body = "steps: [{sleep: 1s}]\noutput: {trakcing: 1}\noutput_schema: {required: [tracking], properties: {tracking: {type: string}}}\n"
    assert only(body) == (
        "error[UnknownKey]: the output has no 'trakcing' by its schema (t.yaml:4:10), did you mean 'tracking'?"
    )
    body = body.replace("trakcing", "tracking")
    assert only(body).startswith("error[WrongType]: 'output.tracking' must be a text, not a whole number")
    returned = "steps: [{return: [1]}]\noutput_schema: {type: object}\n"
    assert only(returned).startswith("error[WrongType]: 'output' must be a mapping, not a list (t.yaml:3:18)")


# --- children


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    child = (
        "input: {required: [order], properties: {order: {type: string}, n: {type: integer, default: 1}, "
        "who: {$ref: '#/$defs/who'}}, $defs: {who: {type: object}}}\n"
        "steps: [{sleep: 1s}]\noutput: {tracking: x}\n"
    )
    (tmp_path / "ship.yaml").write_text(document(child))
    (tmp_path / "broken.yaml").write_text("steps: [")
    (tmp_path / "list.yaml").write_text("[1]")
    return tmp_path


BAD_CHILDREN = {
    "a file that is not there": (
        "{id: a, workflow: ./shp.yaml}",
        "error[UnknownWorkflow]: there is no file './shp.yaml' (t.yaml:4:23), did you mean './ship.yaml'?",
    ),
    "a file that is no YAML": (
        "{id: a, workflow: ./broken.yaml}",
        "error[UnknownWorkflow]: the child './broken.yaml' is no document: a value is missing here, on line 2 "
        "(t.yaml:4:23)",
    ),
    "a file that is no workflow": (
        "{id: a, workflow: ./list.yaml}",
        "error[UnknownWorkflow]: the child './list.yaml' is no workflow (t.yaml:4:23), it has no 'steps'",
    ),
    "an argument it does not take": (
        "{id: a, workflow: ./ship.yaml, with: {ordr: x}}",
        "error[UnknownArgument]: ./ship.yaml takes no argument 'ordr' (t.yaml:4:43), did you mean 'order'?",
    ),
    "an argument it needs": (
        "{id: a, workflow: ./ship.yaml, with: {n: 2}}",
        "error[MissingArgument]: ./ship.yaml needs the argument 'order' (t.yaml:4:42)",
    ),
    "an argument of the wrong type": (
        "{id: a, workflow: ./ship.yaml, with: {order: 1}}",
        "error[BadArgument]: the argument 'order' of ./ship.yaml must be a text, not a whole number (t.yaml:4:50)",
    ),
    "one in a compensation": (
        "{id: a, activity: x, compensate: {workflow: ./shp.yaml}}",
        "error[UnknownWorkflow]: there is no file './shp.yaml' (t.yaml:4:49), did you mean './ship.yaml'?",
    ),
}


@pytest.mark.parametrize(("step", "sentence"), BAD_CHILDREN.values(), ids=BAD_CHILDREN)
def test_a_child_that_does_not_fit_is_refused(step: str, sentence: str, folder: Path) -> None:
    assert only(f"steps:\n  - {step}\n", folder=folder) == sentence


def test_a_child_that_fits_or_is_not_known_is_allowed(folder: Path) -> None:
    fitting = "steps:\n  - {id: a, workflow: ./ship.yaml, with: {order: x, who: {}}}\noutput: ${{ steps.a.output.tracking }}\n"
    assert refused(fitting, folder=folder) == []
    assert refused("steps:\n  - {id: a, workflow: shp, with: {x: 1}}\n", folder=folder) == []
    assert refused("steps:\n  - {id: a, workflow: ./nowhere.yaml}\n") == []  # nobody knows where that is


def test_what_a_child_gives_is_known(folder: Path) -> None:
    body = "steps:\n  - {id: a, workflow: ./ship.yaml, with: {order: x}}\noutput: ${{ steps.a.output.trakcing }}\n"
    assert only(body, folder=folder).endswith("has no 'trakcing' (t.yaml:5:28), did you mean 'tracking'?")


# --- the course of a run

COURSES = {
    "after a return": ("[{return: 1}, {sleep: 1s}]", ["Unreachable 3:22"]),
    "after a block that returns": ("[{steps: [{return: 1}]}, {sleep: 1s}]", ["Unreachable 3:33"]),
    "after cases that all end": (
        "[{switch: [{if: input.x == 1, steps: [{return: 1}]}, {else: [{fail: {type: A, message: b}}]}]}, {sleep: 1s}]",
        ["Unreachable 3:104"],
    ),
    "after branches of which one fails": (
        "[{parallel: {a: [{fail: {type: A, message: b}}], b: [{sleep: 1s}]}}, {sleep: 1s}]",
        ["Unreachable 3:77"],
    ),
    "after a try that returns either way": (
        "[{try: [{return: 1}], catch: {steps: [{return: 2}]}}, {sleep: 1s}]",
        ["Unreachable 3:62"],
    ),
    "after a loop without a way out": ("[{while: true, steps: [{if: input.x, return: 1}]}, {sleep: 1s}]", ["Unreachable 3:59"]),
    "a condition that is always false": ("[{if: false, sleep: 1s}]", ["Unreachable 3:14"]),
    "a comparison that is always false": ("[{if: 1 > 2, sleep: 1s}]", ["Unreachable 3:14"]),
    "a case that is always false": ("[{switch: [{if: false, steps: [{sleep: 1s}]}]}]", ["Unreachable 3:24"]),
    "a case after one that is always true": (
        "[{switch: [{if: true, steps: [{sleep: 1s}]}, {if: input.x == 1, steps: [{sleep: 1s}]}]}]",
        ["Unreachable 3:58"],
    ),
    "a case that was there before": (
        "[{switch: [{if: input.x == 1, steps: [{sleep: 1s}]}, {if: input.x == 1, steps: [{sleep: 1s}]}]}]",
        ["Unreachable 3:66"],
    ),
    "a loop that never runs": ("[{while: false, steps: [{sleep: 1s}]}]", ["Unreachable 3:17"]),
    "a loop that runs once": ("[{until: true, steps: [{sleep: 1s}]}]", ["NoEffect 3:17"]),
    "a loop that never stops": ("[{while: true, steps: [{sleep: 1s}]}]", ["Endless 3:17"]),
    "a loop until never": ("[{until: false, steps: [{sleep: 1s}]}]", ["Endless 3:17"]),
    "a loop whose condition stays the same": (
        "[{set: {x: 1}}, {while: vars.x == 1, steps: [{sleep: 1s}]}]",
        ["Endless 3:32"],
    ),
    "two waits that are too long together": (
        "[{sleep: 20h}, {steps: [{sleep: 5h}]}]",
        ["TooLong 3:40"],
    ),
    "waits in branches, of which the longest counts": (
        "[{parallel: {a: [{sleep: 20h}], b: [{sleep: 10h}]}}, {sleep: 10h}]",
        ["TooLong 3:69"],
    ),
    "retries that come too late": (
        "[{id: a, activity: x, retry: {attempts: 30, delay: 1h, max_delay: 1h, backoff: constant}}]",
        ["TooLong 3:30"],
    ),
    "in a compensation": (
        "[{id: a, activity: x, compensate: {steps: [{fail: {type: A, message: b}}]}}]",
        [],
    ),
    "a step after a return that may not be": ("[{if: input.x == 1, return: 1}, {sleep: 1s}]", []),
    "a step after one that may fail": ("[{optional: true, steps: [{fail: {type: A, message: b}}]}, {sleep: 1s}]", []),
    "a loop that something inside ends": ("[{while: true, steps: [{if: input.x, return: 1}]}]", []),
    "a loop with its own limit": ("[{while: true, steps: [{sleep: 1s}], max_iterations: 5}]", []),
    "a loop that counts": ("[{until: loop.index == 2, steps: [{sleep: 1s}]}]", []),
    "a loop that sets what it reads": (
        "[{set: {x: 1}}, {while: vars.x == 1, steps: [{switch: [{else: [{set: {x: 2}}]}]}]}]",
        [],
    ),
    "a loop that looks at the time": ("[{while: now < input.end, steps: [{sleep: 1s}]}]", []),
    "waits of which only one happens": (
        "[{switch: [{if: input.x == 1, steps: [{sleep: 20h}]}, {else: [{sleep: 1h}]}]}, {sleep: 20h}]",
        [],
    ),
    "waits that undo": (
        "[{sleep: 20h}, {id: a, activity: x, compensate: {steps: [{sleep: 20h}]}}]",
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), COURSES.values(), ids=COURSES)
def test_what_never_runs_never_ends_or_ends_too_late_is_a_warning(steps: str, expected: list[str]) -> None:
    body = f"steps: {steps}\n"
    found = [
        one
        for one in problems(document(body), "t.yaml")
        if one.severity == "warning" and one.code != "Unused"
    ]
    assert [f"{one.code} {one.line}:{one.column}" for one in found] == expected


# --- what attempts leave behind

EFFECTS = {
    "a timeout and an undo of success": (
        "{id: a, activity: shop.ship, timeout: 1s, compensate: {activity: shop.note}}",
        "InDoubt",
    ),
    "a timeout and an undo of anything": (
        "{id: a, activity: shop.ship, timeout: 1s, compensate: {activity: shop.note, after: attempted}}",
        None,
    ),
    "a timeout and an undo that is meant so": (
        "{id: a, activity: shop.ship, timeout: 1s, compensate: {activity: shop.note, after: completed}}",
        None,
    ),
    "an undo without a timeout of its own": (
        "{id: a, activity: shop.ship, compensate: {activity: shop.note}}",
        None,
    ),
    "retries without a key": ("{id: a, activity: shop.reserve, retry: {}}", "NotIdempotent"),
    "retries with the key passed": (
        "{id: a, activity: shop.reserve, with: {key: '${{ step.idempotency_key }}'}, retry: {}}",
        None,
    ),
    "retries of what takes its context": ("{id: a, activity: shop.ship, retry: {}}", None),
    "retries of what says that it can be repeated": ("{id: a, activity: shop.drop, retry: {}}", None),
    "one attempt": ("{id: a, activity: shop.reserve, retry: {attempts: 1}}", None),
    "no retries": ("{id: a, activity: shop.reserve, retry: false}", None),
    "retries of what nobody knows": ("{id: a, activity: other, retry: {}}", None),
}


@pytest.mark.parametrize(("step", "code"), EFFECTS.values(), ids=EFFECTS)
def test_what_attempts_may_leave_behind_is_a_warning(step: str, code: str | None) -> None:
    found = problems(document(f"steps:\n  - {step}\n"), "t.yaml", world=World(SHOP, complete=False))
    assert [one.code for one in found if one.severity == "warning"] == ([code] if code else [])


def test_retries_by_default_and_by_an_entry_count_too() -> None:
    body = "defaults: {retry: {}}\nsteps:\n  - {id: a, activity: shop.reserve, with: {items: []}}\n"
    assert warned(body, activities=SHOP) == ["NotIdempotent 5:23"]
    body = "activities: {e: {uses: shop.reserve, retry: {}}}\nsteps:\n  - {id: a, activity: e, with: {items: []}}\n"
    assert warned(body, activities=SHOP) == ["NotIdempotent 3:38"]


def test_a_result_that_may_be_missing_is_warned_about_unless_that_is_provided_for() -> None:
    step = "steps:\n  - {id: a, activity: shop.reserve, with: {items: []}, compensate: {after: attempted, activity: shop.note, with: {v: '${{ RESULT }}'}}}\n"
    assert warned(step.replace("RESULT", "result.id"), activities=SHOP) == ["MaybeNull 4:123"]
    assert warned(step.replace("RESULT", "default(result.id, 0)"), activities=SHOP) == []
    assert warned(step.replace("RESULT", "has(result)"), activities=SHOP) == []


# --- declarations

UNUSED = {
    "a variable": ("steps: [{set: {x: 1, y: 2}}]\noutput: ${{ vars.x }}\n", "Unused 3:22"),
    "a variable in another spelling": ("steps: [{set: {amuont: 1, amount: 1}}]\noutput: ${{ vars.amount }}\n", "Unused 3:16"),
    "a keyword of JSON Schema": ("input: {requierd: [x], properties: {x: {}}}\nsteps: [{sleep: 1s}]\n", "UnknownKey 3:9"),
    "a required property": ("input: {required: [amount], properties: {amuont: {}}}\nsteps: [{sleep: 1s}]\n", "Unused 3:20, Unused 3:42"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), UNUSED.values(), ids=UNUSED)
def test_what_is_declared_and_not_used_is_a_warning(body: str, expected: str) -> None:
    assert ", ".join(warned(body)) == expected


def test_a_misspelt_declaration_is_named_where_it_is_made() -> None:
    asked = "".join(f"  - {{if: steps.chrage.status == '{n}', sleep: 1s}}\n" for n in "ab")
    body = "steps:\n  - {id: charge, activity: x}\n" + asked
    found = problems(document(body), "t.yaml")
    assert [(one.line, one.hint) for one in found] == [
        (4, "did you mean 'chrage'?"),
        (5, "did you mean 'charge'?"),
        (6, "did you mean 'charge'?"),
    ]


def test_a_variable_that_somebody_reads_as_an_output_is_used() -> None:
    assert warned("steps: [{id: s, set: {x: 1}}]\noutput: ${{ steps.s.output.x }}\n") == []
    assert warned("steps: [{set: {x: 1}}]\noutput: ${{ vars }}\n") == []


def test_a_hundred_warnings_do_not_hide_a_mistake() -> None:
    body = (
        "steps:\n"
        + "".join(f"  - set: {{x{n}: 1}}\n" for n in range(150))
        + "  - {if: input.x ==, sleep: 1s}\n"
    )
    assert [one.code for one in refused(body)] == ["BadExpression"]


def test_of_types_that_only_their_own_library_knows_nothing_is_claimed() -> None:
    class Model:
        """Goes by other names outside than inside, as models of validation libraries may."""

        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object", "properties": {"outside": {}}}

        @classmethod
        def model_validate(cls, value: Any) -> Any:
            return cls()

    def call(it):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    call.__annotations__ = {"it": Model, "return": Model}
    known = registered(activity("x.call")(call))
    body = "steps:\n  - {id: a, activity: x.call, with: {it: {inside: 1}}}\noutput: ${{ steps.a.output.inside }}\n"
    assert refused(body, activities=known) == []
