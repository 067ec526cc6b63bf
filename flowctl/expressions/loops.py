"""What comprehensions do: each ``for`` goes through its elements, names them, keeps some, and runs the next.

Nothing else in the language repeats, so here every round pays for all that it is about to evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowctl.expressions.frame import ROUND, Code, Frame, Problem
from flowctl.values import kind_of

Bind = Callable[[Frame, Any], None]
"""Gives the names of a loop their values from one element."""

Emit = Callable[[Any, Any], None]


class Loop(msgspec.Struct, frozen=True):
    """One ``for … in … if …``. ``price`` is the number of nodes that each of its rounds evaluates."""

    elements: Code
    bind: Bind
    conditions: tuple[Code, ...]
    price: int


def run(loops: Sequence[Loop], key: Code, value: Code, frame: Frame, emit: Emit) -> None:
    """Emit key and value for every combination of elements that passes all conditions."""
    (loop, *inner), price = loops, loops[0].price + ROUND
    for element in loop.elements(frame):
        frame.spend(price)
        loop.bind(frame, element)
        for condition in loop.conditions:
            if not condition(frame):
                break
        else:
            if inner:
                run(inner, key, value, frame, emit)
            else:
                emit(key(frame), value(frame))


def bind_name(slot: int) -> Bind:
    """One name for the whole element."""

    def bind(frame: Frame, element: Any) -> None:
        frame.slots[slot] = element

    return bind


def bind_each(parts: Sequence[Bind]) -> Bind:
    """Several names, for lists of as many elements."""

    def bind(frame: Frame, element: Any) -> None:
        if type(element) is not list or len(element) != len(parts):
            found = f"a list of {len(element)}" if type(element) is list else kind_of(element)
            raise Problem(f"there are {len(parts)} names for {found}")
        for part, item in zip(parts, element, strict=True):
            part(frame, item)

    return bind
