"""Expressions of one document, each parsed once: for the check that its names are there, and for the model.

Parsing is most of the cost of a document. What was parsed is found again by the identity of the value that
holds it, which lives as long as this table does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowctl.document.places import Pointer
from flowctl.expressions import FUNCTIONS, Expression, Function, Template, condition, template


class Texts:
    """The parsed expressions of one document. ``functions`` is the table of all that they may call."""

    def __init__(self, functions: Mapping[str, Function] = FUNCTIONS) -> None:
        self._functions = functions
        self._templates: dict[int, tuple[Any, Template]] = {}
        self._conditions: dict[str, Expression] = {}

    def template(self, value: Any) -> Template:
        """A value with expressions in its texts; secrets may be among them. ``ExpressionError``."""
        kept = self._templates.get(id(value))
        if kept is None:
            made = template(value, secrets=True, functions=self._functions)
            kept = self._templates[id(value)] = (value, made)
        return kept[1]

    def condition(self, written: str | bool) -> Expression:
        """A condition: a bare expression, one in ``${{ }}``, or true or false. ``ExpressionError``."""
        text = str(written).lower() if isinstance(written, bool) else written
        if text not in self._conditions:
            self._conditions[text] = condition(text, functions=self._functions)
        return self._conditions[text]


def texts_in(value: Any, pointer: Pointer) -> Iterator[tuple[Pointer, str]]:
    """The texts in a value that hold an expression, and where they stand."""
    if isinstance(value, str):
        if "${{" in value:
            yield pointer, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(item, (*pointer, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_in(item, (*pointer, index))


def is_literal(value: Any) -> bool:
    """Whether a value is what it says: no text in it is an expression, or looks like one."""
    return next(texts_in(value, ()), None) is None
