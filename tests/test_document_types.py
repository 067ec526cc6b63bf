"""What is known of a value before there is one."""

from __future__ import annotations

from typing import Any

import pytest

from flowctl.document.inference import condition_type, template_type
from flowctl.document.trees import offsets_of, paths_in
from flowctl.document.types import (
    BOOLEAN,
    NUMBER,
    TEXT,
    UNKNOWN,
    Type,
    described,
    either,
    list_of,
    mapping_of,
    misfit,
    of_schema,
    of_value,
    plain,
)

KNOWN = {
    ("n",): plain("integer"),
    ("s",): TEXT,
    ("l",): list_of(TEXT),
    ("m",): mapping_of({"a": TEXT}),
    ("m", "a"): TEXT,
}


def resolve(reference: tuple[str, ...]) -> Type:
    return KNOWN.get(reference, UNKNOWN)


EXPRESSIONS: dict[str, Any] = {
    "n": {"integer"},
    "m.a": {"string"},
    "m['a']": {"string"},
    "l[0]": {"string"},
    "l[-1]": None,
    "nobody.knows": None,
    "1": {"integer"},
    "1.5": {"number"},
    "2.0": NUMBER,
    "true": None,
    "'x'": {"string"},
    "null == n": {"boolean"},
    "not n == 1": {"boolean"},
    "n > 1 and n < 5": {"boolean"},
    "1 in l": {"boolean"},
    "n + 1": {"integer"},
    "n / 2": NUMBER,
    "-n": NUMBER,
    "s + s": {"string"},
    "l + l": {"array"},
    "s + nobody": None,
    "n if s == 'x' else s": {"integer", "string"},
    "[n]": {"array"},
    "[]": {"array"},
    "{'a': n}": {"object"},
    "{s: n}": {"object"},
    "[x for x in l if x > 'a']": {"array"},
    "{x: 1 for x in l}": {"object"},
    "len(l)": {"integer"},
    "upper(s)": {"string"},
    "sorted(l)": {"array"},
    "merge(m, m)": {"object"},
    "default(s, null)": {"string", "null"},
    "default(nobody, 1)": None,
    "has(s)": {"boolean"},
    "max(l)": None,
    "s == '}}'": {"boolean"},
}


@pytest.mark.parametrize(("expression", "kinds"), EXPRESSIONS.items())
def test_an_expression_yields_what_its_text_says(expression: str, kinds: set[str] | None) -> None:
    found = template_type(f"${{{{ {expression} }}}}", resolve)
    assert found.kinds == (UNKNOWN.kinds if kinds is None else kinds)


def test_a_text_around_an_expression_makes_it_a_text() -> None:
    for text in ("no. ${{ n }}", "${{ n }}${{ n }}", " ${{ n }}", "$${{ n }}", "plain"):
        assert template_type(text, resolve) is TEXT, text


def test_a_value_is_typed_through_and_through() -> None:
    found = template_type({"a": ["${{ n }}", 1], "b": {"c": "${{ s }}"}}, resolve)
    assert found.required == {"a", "b"}
    inner = found.field("a")
    assert inner is not None
    assert inner.element is not None
    assert inner.element().kinds == {"integer"}
    assert found.field("c") is None


def test_a_bare_condition_is_typed_too() -> None:
    assert condition_type("s", resolve) is TEXT
    assert condition_type("${{ s }}", resolve) is TEXT
    assert condition_type("has(s)", resolve) is BOOLEAN
    assert condition_type("s ==", resolve) is UNKNOWN


def test_a_schema_describes_fields_elements_and_references() -> None:
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/one"}}},
        "$defs": {"one": {"type": "object", "properties": {"again": {"$ref": "#"}}}},
    }
    found = of_schema(schema)
    for name in ("list", "again", "list", "again"):
        below = found.field(name)
        assert below is not None
        found = below.element() if below.element is not None else below
    assert found.kinds == {"object"}


def test_whether_other_fields_may_come_is_known_from_the_schema() -> None:
    properties: dict[str, Any] = {"properties": {"a": {}}}
    assert of_schema(properties).others == "unsaid"
    assert of_schema({**properties, "additionalProperties": False}).others == "none"
    assert of_schema({**properties, "additionalProperties": {"type": "string"}}).others == "any"
    assert of_schema({**properties, "allOf": [{}]}).others == "any"
    assert of_schema({"type": "object"}).others == "any"
    assert of_schema(properties, declared=True, others="none").others == "none"


def test_of_several_schemas_the_value_can_fit_any() -> None:
    one = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    other = {"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "additionalProperties": False}
    found = of_schema({"anyOf": [one, other, {"type": "null"}]})
    a = found.field("a")
    assert a is not None
    assert a.kinds == {"string", "null"}
    assert found.field("b") is not None
    assert found.field("c") is None
    assert of_schema({"anyOf": [one, {}]}).field("c") is UNKNOWN


def test_a_schema_that_branches_into_itself_is_given_up() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 5}}}
    assert of_schema(schema).kinds == UNKNOWN.kinds
    wide = {"type": "object", "properties": {f"p{n}": {"$ref": "#"} for n in range(50)}}
    assert misfit(of_schema(wide), of_schema(wide)) is None


MISFITS: dict[str, tuple[Any, dict[str, Any], str | None]] = {
    "a text for a number": ("x", {"type": "number"}, "must be a number, not a text"),
    "a whole number for a number": (1, {"type": "number"}, None),
    "a fraction for a whole number": (1.5, {"type": "integer"}, "must be a whole number, not a number"),
    "two for a whole number": (2.0, {"type": "integer"}, None),
    "null for a text": (None, {"type": "string"}, "must be a text, not null"),
    "null for a text or null": (None, {"type": ["string", "null"]}, None),
    "a key that is missing": ({}, {"type": "object", "required": ["a"]}, "must have the key 'a'"),
    "a key too many": ({"b": 1}, {"type": "object", "properties": {}}, None),
    "a value inside": (
        {"a": 1},
        {"properties": {"a": {"type": "string"}}},
        "must be a text, not a whole number",
    ),
    "an element": ([1], {"items": {"type": "string"}}, "must be a list in which each element must be a text"),
    "one of several": ("a", {"enum": [1, 2]}, "must be a whole number, not a text"),
    "a list for several types": (
        [],
        {"type": ["object", "string"]},
        "must be a text or a mapping, not a list",
    ),
}


@pytest.mark.parametrize(("value", "schema", "message"), MISFITS.values(), ids=MISFITS)
def test_what_can_never_fit_is_known(value: Any, schema: dict[str, Any], message: str | None) -> None:
    found = misfit(of_value(value), of_schema(schema))
    assert (found is None) == (message is None)
    assert found is None or found[1].startswith(message or "")


def test_what_may_fit_is_not_judged() -> None:
    assert misfit(either([TEXT, plain("null")]), TEXT) is None
    assert misfit(UNKNOWN, TEXT) is None
    assert misfit(TEXT, UNKNOWN) is None


def test_kinds_are_said_as_people_say_them() -> None:
    assert described(frozenset({"integer", "number", "null"})) == "null or a number"


def test_a_name_is_found_where_it_stands() -> None:
    text = "a ${{ steps.a.output['x y'].z }} b $${{ no }} ${{ default(steps.b.c, len(s)) }}"
    found = list(paths_in(text))
    assert [(path.root, [step.key for step in path.steps]) for path in found] == [
        ("steps", ["a", "output", "x y", "z"]),
        ("steps", ["b", "c"]),
        ("s", []),
    ]
    assert [path.forgiven for path in found] == [False, True, False]
    for path in found:
        assert text[path.offset :].startswith(path.root)
        assert all(text[step.offset :].startswith(str(step.key)) for step in path.steps)


def test_a_reference_is_found_each_time_it_stands_there() -> None:
    text = "${{ steps.a.output + steps.ab.output + steps.a.output }}"
    assert offsets_of(text, ("steps", "a", "output"), 1, bare=False) == [10, 45]
    assert offsets_of("steps.a == 1", ("steps", "a"), 0, bare=True) == [0]
