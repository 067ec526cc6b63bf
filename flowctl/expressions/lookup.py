"""Names and paths: ``input.customer.name``, ``rows[0]["id"]``.

A path is walked in one go, because almost every expression is one. Only when that fails is it walked again,
key by key, to say what was missing where. Lookups that ``default`` and ``has`` may absorb end in ``Absent``,
all others in errors.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NoReturn

from flowctl.errors import ExpressionError
from flowctl.expressions import operators
from flowctl.expressions.frame import Absent, Code, Frame
from flowctl.expressions.functions import SPECIAL_FORMS
from flowctl.expressions.hints import did_you_mean
from flowctl.expressions.places import Place

Key = str | int
Steps = list[tuple[Key, int]]
"""Constant keys, each with the offset at which it ends."""

_DASHED = re.compile(r"(?:-[A-Za-z_]\w*)+")
_BEFORE_DASH = re.compile(r"(\w+)-$")


def from_root(name: str, place: Place, steps: Steps, functions: Collection[str]) -> Code:
    """The path that starts at a root such as ``input``, written at ``place``."""
    keys = tuple(key for key, _ in steps)

    def walk(frame: Frame) -> Any:
        try:
            root = value = frame.names.resolve(name)
        except KeyError:
            raise _unknown_name(name, place, frame, functions) from None
        try:
            for key in keys:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            _explain(root, place, steps)
        return value

    return walk


def from_value(start: Code, place: Place, steps: Steps) -> Code:
    """The path that starts at any other value, written at ``place``."""
    if not steps:
        return start
    keys = tuple(key for key, _ in steps)

    def walk(frame: Frame) -> Any:
        root = value = start(frame)
        try:
            for key in keys:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            _explain(root, place, steps)
        return value

    return walk


def index(container: Any, key: Any, place: Place, end: int) -> Any:
    """``container[key]``, where ``place`` is the container's and the key ends at ``end``."""
    kind, key_kind = type(container), type(key)
    if kind is dict and key_kind is str:
        if key in container:
            return container[key]
        raise Absent(lambda: _missing(container, key, place, end))
    if container is None:
        raise Absent(lambda: _null(key, place))
    if kind in (list, str) and key_kind is int and -len(container) <= key < len(container):
        return container[key]
    problem = operators.no_such_element(container, key, place.text)
    raise place.error(problem.message, problem.hint)


def _explain(value: Any, place: Place, steps: Steps) -> NoReturn:
    """Walk again, slowly, to the key that is not there."""
    for key, end in steps:
        value = index(value, key, place, end)
        place = place.until(end)
    raise place.error("the data changed while the expression read it")


def _null(key: Any, place: Place) -> ExpressionError:
    wanted = repr(key[:80]) if type(key) is str else f"element {key}"
    hint = "if it may be null, write default(…, …) or has(…)"
    return place.error(f"{place.text} is null and has no {wanted}", hint)


def _missing(container: dict[str, Any], key: str, place: Place, end: int) -> ExpressionError:
    dashed = _DASHED.match(place.source, end)
    if dashed:
        hint: str | None = f'a key with a dash is written {place.text}["{key}{dashed[0]}"]'
    else:
        hint = did_you_mean(key, container, "it has")
    return place.error(f"{place.text} has no key {key[:80]!r}", hint)


def _unknown_name(name: str, place: Place, frame: Frame, functions: Collection[str]) -> ExpressionError:
    dashed = _BEFORE_DASH.search(place.source[: place.start])
    if dashed:
        hint: str | None = f'a key with a dash is written ["{dashed[1]}-{name}"]'
    elif name in functions or name in SPECIAL_FORMS:
        hint = f"{name} is a function: write {name}(…)"
    else:
        hint = did_you_mean(name, [*frame.names.known(), "true", "false", "null"], "names here are")
    return place.error(f"unknown name {name!r}", hint)
