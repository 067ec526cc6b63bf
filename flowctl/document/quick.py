"""Values that surely fit their schema, and schemas that surely are some, found without a JSON Schema library.

Importing one costs a tenth of a second, more than all else that starting a run does, and most inputs are
right and their schemas simple. So the common keywords are looked at here first. "No" means "not sure":
whoever hears it asks the library, which has the last word and the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.document.patterns import compiled
from flowctl.values import equal

DURATION = "flowctl-duration"
"""The one format that is more than a remark: a text that ``clock.parse_duration`` reads."""

_ANNOTATIONS = frozenset(
    {"$comment", "$defs", "$schema", "default", "deprecated", "description", "examples", "readOnly", "title"}
    | {"patternErrorMessage", "writeOnly"}
)


def surely_fits(schema: Any, value: Any) -> bool:
    """Whether a value fits a schema, if that can be told from common keywords alone."""
    if not isinstance(schema, dict):
        return schema is True
    for keyword, wanted in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        fits = _KEYWORDS.get(keyword)
        if fits is None or not fits(wanted, value, schema):
            return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def _type(wanted: Any, value: Any, schema: Any) -> bool:
    return any(_TYPES[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted))


def _properties(wanted: Any, value: Any, schema: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(surely_fits(inner, value[name]) for name, inner in wanted.items() if name in value)


def _additional(wanted: Any, value: Any, schema: Any) -> bool:
    if not isinstance(value, dict):
        return True
    known = schema.get("properties", {})
    return all(surely_fits(wanted, item) for name, item in value.items() if name not in known)


def _format(wanted: Any, value: Any, schema: Any) -> bool:
    if wanted != DURATION or not isinstance(value, str):
        return True
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


def _pattern(wanted: Any, value: Any, schema: Any) -> bool:
    return not isinstance(value, str) or compiled(wanted).search(value) is not None


def _measured(kind: Any, fits: Callable[[int, Any], bool]) -> Callable[[Any, Any, Any], bool]:
    return lambda wanted, value, schema: not isinstance(value, kind) or fits(len(value), wanted)


def _compared(fits: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Any], bool]:
    return lambda wanted, value, schema: not _is_number(value) or fits(value, wanted)


_KEYWORDS: Mapping[str, Callable[[Any, Any, Any], bool]] = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda wanted, value, schema: (
        not isinstance(value, dict) or all(name in value for name in wanted)
    ),
    "items": lambda wanted, value, schema: (
        not isinstance(value, list) or all(surely_fits(wanted, item) for item in value)
    ),
    "propertyNames": lambda wanted, value, schema: (
        not isinstance(value, dict) or all(surely_fits(wanted, key) for key in value)
    ),
    "uniqueItems": lambda wanted, value, schema: (
        not isinstance(value, list) or (all(map(_is_text, value)) and len(set(value)) == len(value))
    ),
    "dependentRequired": lambda wanted, value, schema: (
        not isinstance(value, dict)
        or all(name in value for key, names in wanted.items() if key in value for name in names)
    ),
    "anyOf": lambda wanted, value, schema: any(surely_fits(inner, value) for inner in wanted),
    "format": _format,
    "pattern": _pattern,
    "enum": lambda wanted, value, schema: any(equal(value, option) for option in wanted),
    "const": lambda wanted, value, schema: equal(value, wanted),
    "minimum": _compared(lambda value, wanted: value >= wanted),
    "maximum": _compared(lambda value, wanted: value <= wanted),
    "exclusiveMinimum": _compared(lambda value, wanted: value > wanted),
    "exclusiveMaximum": _compared(lambda value, wanted: value < wanted),
    "minLength": _measured(str, lambda length, wanted: length >= wanted),
    "maxLength": _measured(str, lambda length, wanted: length <= wanted),
    "minItems": _measured(list, lambda length, wanted: length >= wanted),
    "maxItems": _measured(list, lambda length, wanted: length <= wanted),
    "minProperties": _measured(dict, lambda length, wanted: length >= wanted),
    "maxProperties": _measured(dict, lambda length, wanted: length <= wanted),
}
"""What each keyword asks. ``additionalProperties`` and ``items`` lean on a keyword that is not here to be
unsure: ``patternProperties`` and ``prefixItems``.
"""


# --- is it a schema at all?


def surely_schema(schema: Any) -> bool:
    """Whether a value is a JSON Schema, if that can be told from common keywords alone. What its references
    and patterns lead to is not looked at.
    """
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    return all(keyword in _SHAPES and _SHAPES[keyword](value) for keyword, value in schema.items())


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(map(surely_schema, value.values()))


def _choices(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(surely_schema, value))


def _is_type(value: Any) -> bool:
    names = [value] if _is_text(value) else value
    return names != [] and _names(names) and _TYPES.keys() >= {*names}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _anything(value: Any) -> bool:
    return True


_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("const", "default"), _anything),
    **dict.fromkeys(("description", "title", "format", "pattern", "$ref", "$comment"), _is_text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_count),
    **dict.fromkeys(("minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("properties", "$defs"), _schemas),
    **dict.fromkeys(("items", "additionalProperties", "not", "propertyNames"), surely_schema),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _choices),
    "enum": lambda value: isinstance(value, list),
    "examples": lambda value: isinstance(value, list),
    "required": _names,
    "type": _is_type,
    "uniqueItems": lambda value: isinstance(value, bool),
}
"""What the value of each keyword must be."""
