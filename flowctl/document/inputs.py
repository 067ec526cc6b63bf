"""What comes into a run and goes out of it, held against the schemas of its document.

Gates are made for every document that is built, and most are never used: what applies schemas is imported
when the first value comes that does not plainly fit.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from flowctl import values
from flowctl.document.quick import surely_fits
from flowctl.errors import InvalidInput

_SHARING = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref"})
"""Keywords with which other schemas may name properties of the same value."""


class InputGate:
    """What the input of a run passes: its defaults are filled in, then it is checked."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema = schema or {}
        self._gate = Gate(None if schema is None else closed(schema), "input")

    def __call__(self, value: Any) -> dict[str, Any]:
        """The input of a run: a copy with its defaults. ``InvalidInput`` or ``PayloadTooLarge`` otherwise."""
        values.sized(value, "the input")
        if not isinstance(value, dict):
            raise InvalidInput(f"the input must be a mapping, not {values.kind_of(value)}")
        filled: dict[str, Any] = with_defaults(self._schema, value)
        problem = self._gate(filled)
        if problem is not None:
            raise InvalidInput(f"the input does not fit: {problem}")
        if filled != value:
            values.sized(filled, "the input")
        return filled


class Gate:
    """What a payload or an output passes: a call returns what is wrong with it, or None."""

    def __init__(self, schema: Mapping[str, Any] | bool | None, name: str) -> None:
        self._schema = schema
        self._name = name

    def __call__(self, value: Any) -> str | None:
        if self._schema is None or surely_fits(self._schema, value):
            return None
        return self._check(value, self._name)

    @functools.cached_property
    def _check(self) -> Callable[[Any, str], str | None]:
        from flowctl.document.json_schema import checker

        assert self._schema is not None
        return checker(self._schema)


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """An input schema that names properties allows no others, unless it says what they may be."""
    if "properties" not in schema or "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return schema
    shared = any(keyword in schema for keyword in _SHARING)  # there other schemas may name properties too
    return {**schema, "unevaluatedProperties" if shared else "additionalProperties": False}


def with_defaults(schema: Any, value: Any) -> Any:
    """A copy of ``value`` with the defaults of missing properties, at every level that is there."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    filled = dict(value)
    for name, inner in properties.items():
        if not isinstance(inner, dict):
            continue
        if name not in filled and "default" in inner:
            filled[name] = copy.deepcopy(inner["default"])
        if name in filled:
            filled[name] = with_defaults(inner, filled[name])
    return filled
