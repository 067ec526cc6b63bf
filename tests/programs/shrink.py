"""Cutting a program down: the smallest one that still shows the same.

A program is data, and any part of it may go: a step, an attribute, an act, an event. A step that holds others
may be replaced by them. What is no program any more is refused when it is tried, and put back.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

Place = tuple[Any, ...]
"""Keys and indexes, from the program down."""

PARTS = ("events", "workflow", "activities", "declares")
NEEDED = frozenset({"id", "steps", "at", "type", "uses"})
"""What is never worth leaving out alone."""


def cut_down(program: Any, shows: Callable[[Any], bool], seconds: float = 60) -> Any:
    """The program without whatever can be left out while it ``shows`` what it is about."""
    end = time.monotonic() + seconds
    found = True
    while found:
        found = False
        for smaller in _smaller(program):
            if time.monotonic() > end:
                return program
            if shows(smaller):
                program, found = smaller, True
                break
    return program


def _smaller(program: Any) -> Iterator[Any]:
    """Programs that are simpler by one thing, the largest things first."""
    places = [place for part in PARTS for place in _places(program.get(part), (part,))]
    for place in sorted(places, key=lambda place: (-_size(_at(program, place)), place[0])):
        for hoisted in _lists_in(_at(program, place)):
            yield _with(program, place, hoisted)
        if place[-1] not in NEEDED:
            yield _with(program, place, [])


def _places(value: Any, place: Place) -> Iterator[Place]:
    """All places beneath ``place``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from _places(inner, (*place, key))


def _lists_in(step: Any) -> Iterator[list[Any]]:
    """The lists of steps that a step holds."""
    if isinstance(step, dict):
        for key, inner in step.items():
            if isinstance(inner, list) and inner and all(isinstance(item, dict) for item in inner):
                if key == "switch" or key == "catch":
                    yield from (found for case in inner for found in _lists_in(case))
                else:
                    yield inner
            elif key in ("parallel", "compensate", "catch"):
                yield from _lists_in(inner)


def _at(program: Any, place: Place) -> Any:
    for key in place:
        program = program[key]
    return program


def _with(program: Any, place: Place, instead: list[Any]) -> Any:
    """A copy in which the elements ``instead`` stand at that place of a list, or nothing does."""
    program = copy.deepcopy(program)
    *around, last = place
    holder = _at(program, tuple(around))
    if isinstance(holder, list):
        holder[last : last + 1] = copy.deepcopy(instead)
    else:
        del holder[last]
    return program


def _size(value: Any) -> int:
    return len(str(value))
