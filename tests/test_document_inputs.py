"""The schemas a document brings along: defaults, closed inputs, linear patterns, and an end to everything."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from typing import Any

import pytest

from flowctl.document import json_schema
from flowctl.document.inputs import Gate, InputGate, with_defaults
from flowctl.document.json_schema import FUEL, checker, schema_problems
from flowctl.document.quick import surely_fits, surely_schema
from flowctl.errors import InvalidInput, PayloadTooLarge
from flowctl.values import MAX_BYTES

ORDER = {
    "type": "object",
    "required": ["id", "amount"],
    "properties": {
        "id": {"type": "string"},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "express": {"type": "boolean", "default": False},
        "address": {"type": "object", "properties": {"country": {"type": "string", "default": "PL"}}},
    },
}


def test_defaults_are_filled_in_at_every_level_that_is_there() -> None:
    accept = InputGate(ORDER)
    assert accept({"id": "1", "amount": 2}) == {"id": "1", "amount": 2, "express": False}
    filled = accept({"id": "1", "amount": 2, "address": {}, "express": True})
    assert filled == {"id": "1", "amount": 2, "express": True, "address": {"country": "PL"}}


def test_defaults_are_filled_in_inside_a_default() -> None:
    schema = {"properties": {"a": {"default": {}, "properties": {"b": {"default": [1]}}}}}
    assert with_defaults(schema, {}) == {"a": {"b": [1]}}


def test_defaults_come_from_properties_only() -> None:
    schema = {"anyOf": [{"properties": {"a": {"default": 1}}}], "if": {"properties": {"b": {"default": 1}}}}
    assert with_defaults(schema, {}) == {}


def test_filling_defaults_in_changes_neither_the_value_nor_the_schema() -> None:
    schema: dict[str, Any] = {
        "properties": {"a": {"default": {"x": []}}, "b": {"properties": {"c": {"default": 1}}}}
    }
    before = copy.deepcopy(schema)
    value: dict[str, Any] = {"b": {}}
    filled = with_defaults(schema, value)
    filled["a"]["x"].append(1)
    assert (schema, value) == (before, {"b": {}})


MISFITS = {
    "missing": ({"id": "1"}, "input.amount is missing"),
    "wrong type": ({"id": 1, "amount": 1}, "input.id must be a text, not 1"),
    "out of range": ({"id": "1", "amount": 0}, "input.amount must be greater than 0"),
    "unknown": ({"id": "1", "amount": 1, "exprss": 1}, "input.exprss is unknown (did you mean 'express'?)"),
    "nested": (
        {"id": "1", "amount": 1, "address": {"country": 1}},
        "input.address.country must be a text, not 1",
    ),
}


@pytest.mark.parametrize(("value", "message"), MISFITS.values(), ids=MISFITS)
def test_an_input_that_does_not_fit_is_told_why(value: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        InputGate(ORDER)(value)
    assert caught.value.message == f"the input does not fit: {message}"


def test_all_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        InputGate(ORDER)({"express": 1})
    assert "input.id is missing; input.amount is missing" in caught.value.message
    assert "input.express must be true or false, not 1" in caught.value.message


@pytest.mark.parametrize("value", [[], "x", None, 1])
def test_an_input_is_always_a_mapping(value: Any) -> None:
    for schema in (None, ORDER):
        with pytest.raises(InvalidInput):
            InputGate(schema)(value)


def test_without_a_schema_any_mapping_is_an_input() -> None:
    assert InputGate(None)({"a": [None]}) == {"a": [None]}


def test_an_input_is_closed_unless_its_schema_says_otherwise() -> None:
    extra = {"id": "1", "amount": 1, "note": "x"}
    assert InputGate({**ORDER, "additionalProperties": True})(extra)["note"] == "x"
    assert InputGate({"type": "object"})(extra)["note"] == "x"
    with pytest.raises(InvalidInput):
        InputGate(ORDER)(extra)


def test_a_closed_input_may_name_its_properties_in_several_schemas() -> None:
    accept = InputGate({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]})
    assert accept({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(InvalidInput, match=r"input\.c is unknown"):
        accept({"a": 1, "b": 2, "c": 3})


def test_an_input_that_is_not_json_or_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        InputGate(None)({"a": float("nan")})
    with pytest.raises(PayloadTooLarge):
        InputGate(None)({"a": "x" * MAX_BYTES})


def test_a_gate_says_what_is_wrong_or_nothing() -> None:
    check = Gate({"required": ["by"]}, "payload")
    assert check({}) == "payload.by is missing"
    assert check({"by": "x"}) is None
    assert Gate(None, "payload")(object()) is None


@pytest.mark.parametrize(
    ("one", "two", "unique"), [(1, 1.0, False), (1, True, True), ([1], [1], False), ({}, [], True)]
)
def test_unique_items_are_compared_as_json(one: Any, two: Any, unique: bool) -> None:
    assert (checker({"uniqueItems": True})([one, two], "x") is None) is unique


def test_patterns_are_linear_and_search() -> None:
    assert checker({"pattern": "b+"})("abba", "x") is None
    assert checker({"pattern": "(a+)+$"})("a" * 5_000 + "b", "x") is not None
    schema = {"patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": False}
    assert checker(schema)({"x_a": "1"}, "x") is None
    assert checker(schema)({"x_a": 1}, "x") == "x.x_a must be a text, not 1"
    assert checker(schema)({"y": "1"}, "x") == "x.y is unknown"
    assert checker({"additionalProperties": {"type": "string"}})({"y": 1}, "x") == "x.y must be a text, not 1"


def _doubling(levels: int) -> dict[str, Any]:
    branches = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**branches, f"a{levels}": {}}}


def test_a_schema_that_branches_without_end_runs_out_of_fuel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(schema_problems(_doubling(60))) == []
    monkeypatch.setattr(json_schema, "FUEL", 5_000)
    problem = checker(_doubling(60))({}, "input")
    assert problem is not None
    assert "takes more than 5,000 steps" in problem
    assert checker(_doubling(3))({}, "input") is None
    assert FUEL > 100_000


NOT_SCHEMAS: dict[str, tuple[Any, tuple[str | int, ...]]] = {
    "a type": ({"properties": {"a": {"type": "strng"}}}, ("properties", "a", "type")),
    "a keyword": ({"required": "a"}, ("required",)),
    "a remote reference": ({"$ref": "https://example.org/x"}, ("$ref",)),
    "a file": ({"items": {"$ref": "file:///etc/passwd"}}, ("items", "$ref")),
    "a reference to nothing": ({"$ref": "#/$defs/x"}, ("$ref",)),
    "a reference to what is no schema": ({"$ref": "#/const", "const": {"type": 5}}, ("$ref",)),
    "an id": ({"$id": "https://example.org/x"}, ("$id",)),
    "another draft": ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("$schema",)),
    "look-ahead": ({"pattern": "(?=a)"}, ()),
    "a broken pattern of properties": ({"patternProperties": {"(": {}}}, ()),
    "itself": ({"$ref": "#"}, ()),
    "itself by a detour": ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, ()),
}


@pytest.mark.parametrize(("schema", "place"), NOT_SCHEMAS.values(), ids=NOT_SCHEMAS)
def test_what_cannot_serve_as_a_schema_is_told_with_its_place(
    schema: Any, place: tuple[str | int, ...]
) -> None:
    found = list(schema_problems(schema))
    assert [pointer for pointer, _ in found] == [place]


SCHEMAS: dict[str, Any] = {
    "true": True,
    "recursive": {
        "properties": {"next": {"$ref": "#"}},
        "items": {"$ref": "#/$defs/x"},
        "$defs": {"x": {"$ref": "#"}},
    },
    "a reference to a boolean": {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": False}},
    "a reference into a list": {"allOf": [{}], "properties": {"a": {"$ref": "#/allOf/0"}}},
    "escaped names": {"properties": {"a": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {}}},
    "properties called like keywords": {
        "properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}
    },
    "its draft": {"$schema": "https://json-schema.org/draft/2020-12/schema"},
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_what_can_serve_as_a_schema_has_no_problem(schema: Any) -> None:
    assert list(schema_problems(schema)) == []
    assert checker(schema)({"a": 1, "next": {"next": {}}}, "x") in (None, "x.a must not be there")


# --- the quick look

NAMES = ("a", "b")
LEAVES: list[Any] = [None, True, False, 0, 1, 1.0, 1.5, -2, "", "x", "long text", [], {}]


def _value(chance: random.Random, depth: int = 0) -> Any:
    if depth > 2 or chance.random() < 0.4:
        return chance.choice(LEAVES)
    if chance.random() < 0.5:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {name: _value(chance, depth + 1) for name in NAMES if chance.random() < 0.7}


def _schema(chance: random.Random, depth: int = 0) -> Any:
    if depth > 2 or chance.random() < 0.1:
        return chance.choice([True, {}, {"type": "integer"}, {"type": ["string", "null"]}])
    keywords: dict[str, Any] = {
        "type": chance.choice(
            ["object", "array", "number", "integer", "string", "boolean", ["null", "object"]]
        ),
        "properties": {name: _schema(chance, depth + 1) for name in NAMES if chance.random() < 0.7},
        "additionalProperties": chance.choice([False, _schema(chance, depth + 1)]),
        "patternProperties": {"a": _schema(chance, depth + 1)},
        "required": chance.sample(NAMES, chance.randrange(3)),
        "items": _schema(chance, depth + 1),
        "prefixItems": [_schema(chance, depth + 1)],
        "enum": [_value(chance, 2), _value(chance, 1)],
        "const": _value(chance, 2),
        "not": _schema(chance, depth + 1),
        **{
            keyword: chance.choice([0, 1, 1.5, 2])
            for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        },
        **{
            f"{side}{what}": chance.randrange(3)
            for side in ("min", "max")
            for what in ("Length", "Items", "Properties")
        },
        "format": "date",
        "pattern": chance.choice(["^a", "b$", "."]),
        "anyOf": [{"type": chance.choice(["string", "integer", "object"])}, {"minLength": 2}],
        "propertyNames": {"pattern": "^[ab]"},
        "uniqueItems": chance.random() < 0.5,
        "dependentRequired": {"a": ["b"]},
    }
    return {name: keywords[name] for name in chance.sample(sorted(keywords), chance.choice([0, 1, 1, 2, 3]))}


def test_what_surely_fits_does_fit() -> None:
    chance = random.Random(2)
    sure = 0
    for _ in range(2_000):
        schema, value = _schema(chance), _value(chance)
        if surely_fits(schema, value):
            sure += 1
            assert checker(schema)(value, "x") is None, (schema, value)
    assert sure > 300


def test_what_surely_is_a_schema_is_one() -> None:
    from jsonschema import Draft202012Validator

    chance = random.Random(3)
    meta, sure = Draft202012Validator(Draft202012Validator.META_SCHEMA), 0
    for _ in range(2_000):
        schema = _schema(chance)
        if isinstance(schema, dict) and schema and chance.random() < 0.5:  # often no schema any more
            schema[chance.choice(sorted(schema))] = chance.choice(
                [None, -1, 1.5, "x", [], {}, ["a", "a"], True]
            )
        if surely_schema(schema):
            sure += 1
            assert meta.is_valid(schema), schema
    assert 300 < sure < 1_900


def test_an_input_that_plainly_fits_needs_no_json_schema_library() -> None:
    code = (
        "import sys; from flowctl.document.inputs import InputGate\n"
        "schema = {'type': 'object', 'required': ['a'], 'properties': {'a': {'enum': [1, 2]}}}\n"
        "assert InputGate(schema)({'a': 1}) == {'a': 1}\n"
        "assert 'jsonschema' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
