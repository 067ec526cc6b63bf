"""What operators mean on JSON: as in Python, where Python's meaning is one of JSON's.

So ``1 == true`` is false, a boolean is no number, and nothing is "truthy". Numbers stay within 64 bits and
finite. Every operator takes the frame first, to pay for what it does, and raises ``Problem`` for what it
refuses.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from flowctl import values
from flowctl.expressions.frame import CHARACTERS, Frame, Problem
from flowctl.values import MAX_INT, MIN_INT, kind_of

NUMBERS = frozenset((int, float))
MAX_EXPONENT = 63
"""A whole number beyond 1 to a higher power is beyond 64 bits: refused before it is computed."""

_INFINITY = float("inf")

Operator = Callable[[Frame, Any, Any], Any]


def finite(number: Any) -> Any:
    """A number that JSON can hold; Problem otherwise."""
    if type(number) is int:
        if MIN_INT <= number <= MAX_INT:
            return number
        raise Problem(
            "the result is beyond 64 bits", "use a number with a decimal point, which is approximate"
        )
    if -_INFINITY < number < _INFINITY:
        return number
    raise Problem("the result is not a finite number")


def add(frame: Frame, one: Any, other: Any) -> Any:
    kind, other_kind = type(one), type(other)
    if kind in NUMBERS and other_kind in NUMBERS:
        return finite(one + other)
    if kind is other_kind is str:
        frame.spend_text(len(one) + len(other))
    elif kind is other_kind is list:
        frame.spend(len(one) + len(other))
    else:
        hint = (
            "to join texts, write str(…) or one text with '${{ }}' in it"
            if str in (kind, other_kind)
            else None
        )
        raise Problem(f"cannot add {kind_of(one)} and {kind_of(other)}", hint)
    return one + other


def multiply(frame: Frame, one: Any, other: Any) -> Any:
    kind, other_kind = type(one), type(other)
    if kind in NUMBERS and other_kind in NUMBERS:
        return finite(one * other)
    if kind is int:  # as in Python, 3 * "ab" is "ab" * 3
        one, other, kind, other_kind = other, one, other_kind, kind
    if other_kind is not int or kind not in (str, list):
        raise Problem(f"cannot multiply {kind_of(one)} by {kind_of(other)}")
    length = len(one) * max(other, 0)
    frame.spend_text(length) if kind is str else frame.spend(length)
    return one * other if length else kind()


def power(one: Any, other: Any) -> Any:
    if type(one) is type(other) is int and abs(one) > 1 and other > MAX_EXPONENT:
        raise Problem(
            "the result is beyond 64 bits", "use a number with a decimal point, which is approximate"
        )
    result = one**other
    if isinstance(result, complex):
        raise Problem("a root of a negative number is not a number")
    return result


def _arithmetic(verb: str, compute: Callable[[Any, Any], Any]) -> Operator:
    def apply(_: Frame, one: Any, other: Any) -> Any:
        if type(one) not in NUMBERS or type(other) not in NUMBERS:
            raise Problem(f"cannot {verb} {kind_of(one)} and {kind_of(other)}")
        try:
            return finite(compute(one, other))
        except ZeroDivisionError:
            raise Problem("division by zero") from None
        except OverflowError:
            raise Problem("the result is not a finite number") from None

    return apply


def equal(frame: Frame, one: Any, other: Any) -> bool:
    kind, other_kind = type(one), type(other)
    if kind is list or kind is dict:
        if kind is not other_kind or len(one) != len(other):
            return False
        frame.spend_walk(one)
        return values.equal(one, other)
    if kind is str:
        if other_kind is not str or len(one) != len(other):
            return False
        frame.spend(len(one) >> CHARACTERS)
        return bool(one == other)
    return bool(one == other) and (kind is bool) == (other_kind is bool)


def less(frame: Frame, one: Any, other: Any) -> bool:
    """Whether ``one`` comes first. Numbers, texts by code point, and lists by their first difference."""
    kind, other_kind = type(one), type(other)
    if kind in NUMBERS and other_kind in NUMBERS:
        return bool(one < other)
    if kind is other_kind is str:
        frame.spend(min(len(one), len(other)) >> CHARACTERS)
        return bool(one < other)
    if kind is other_kind is list:
        frame.spend(1 + min(len(one), len(other)))
        for left, right in zip(one, other, strict=False):
            if not equal(frame, left, right):
                return less(frame, left, right)
        return len(one) < len(other)
    raise Problem(f"cannot order {kind_of(one)} and {kind_of(other)}")


def contains(frame: Frame, container: Any, item: Any) -> bool:
    """``item in container``: a part of a text, an element of a list, a key of a mapping."""
    kind = type(container)
    if kind is list:
        frame.spend(len(container))
        return any(equal(frame, item, element) for element in container)
    if kind not in (str, dict):
        raise Problem(f"'in' looks into a text, a list or a mapping, not {kind_of(container)}")
    if type(item) is not str:
        raise Problem(f"{kind_of(item)} is never in {kind_of(container)}, whose {_PARTS[kind]} are strings")
    if kind is str:
        frame.spend(len(container) >> CHARACTERS)
    return item in container


_PARTS = {str: "parts", dict: "keys"}

ARITHMETIC: dict[type[ast.operator], Operator] = {
    ast.Add: add,
    ast.Sub: _arithmetic("subtract", operator.sub),
    ast.Mult: multiply,
    ast.Div: _arithmetic("divide", operator.truediv),
    ast.FloorDiv: _arithmetic("divide", operator.floordiv),
    ast.Mod: _arithmetic("take the remainder of", operator.mod),
    ast.Pow: _arithmetic("raise to a power", power),
}

COMPARISONS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: equal,
    ast.NotEq: lambda frame, one, other: not equal(frame, one, other),
    ast.Lt: less,
    ast.Gt: lambda frame, one, other: less(frame, other, one),
    ast.LtE: lambda frame, one, other: not less(frame, other, one),
    ast.GtE: lambda frame, one, other: not less(frame, one, other),
    ast.In: lambda frame, item, container: contains(frame, container, item),
    ast.NotIn: lambda frame, item, container: not contains(frame, container, item),
}


def negative(number: Any) -> Any:
    if type(number) not in NUMBERS:
        raise Problem(f"{kind_of(number)} has no sign")
    return finite(-number)


def elements(frame: Frame, value: Any) -> Any:
    """What a comprehension goes through: a list, the keys of a mapping in order, the characters of a text."""
    kind = type(value)
    if kind is list or kind is str:
        return value
    if kind is dict:
        frame.spend(len(value))
        return sorted(value)
    raise Problem(f"cannot go through {kind_of(value)}", "it takes a list, a mapping or a text")


def truth(value: Any, text: str) -> bool:
    """A condition is true or false, nothing else; ``text`` is how its author wrote it."""
    if value is True or value is False:
        return bool(value)
    hint = "use default(…, …) or has(…)" if value is None else "compare it, for example with '==' or '>'"
    raise Problem(f"{text} is {kind_of(value)}, not true or false", hint)


def no_such_element(container: Any, key: Any, text: str) -> Problem:
    """Why ``container[key]`` is nothing, where the container was written as ``text``."""
    kind = type(container)
    if kind in (list, str) and type(key) is int:
        return Problem(f"index {key} is out of range: {text} has {len(container)} elements")
    if kind is dict:
        return Problem(f"the keys of {text} are strings, not {kind_of(key)}")
    if kind is list:
        hint = "for every element, write [x… for x in …]" if type(key) is str else None
        return Problem(f"{text} is a list; its elements have numbers, not {_quoted(key)}", hint)
    return Problem(f"{text} is {kind_of(container)} and has no {_quoted(key)}")


def _quoted(key: Any) -> str:
    if type(key) is str:
        return repr(key[:80])
    return f"element {key}" if type(key) is int else kind_of(key)


def cut(frame: Frame, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """``value[start:stop:step]`` of a list or a text."""
    if type(value) not in (list, str):
        raise Problem(f"{kind_of(value)} cannot be sliced; a list or a text can")
    for bound in (start, stop, step):
        if bound is not None and type(bound) is not int:
            raise Problem(f"a slice goes between whole numbers, not {kind_of(bound)}")
    if step == 0:
        raise Problem("the step of a slice cannot be 0")
    part = value[start:stop:step]
    frame.spend(len(part) if type(part) is list else len(part) >> CHARACTERS)
    return part
