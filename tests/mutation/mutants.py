"""Mutants of a document: the same with one thing missing, or two steps swapped.

A mutant is a mistake that somebody could make, or have made, without noticing. Tests that notice it are worth
something; those that do not are missing something, or the thing was not needed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from flowctl.document.places import Pointer
from flowctl.document.structure import compensating_steps, parts_of, verb_of


@dataclasses.dataclass(frozen=True)
class Mutant:
    """``what`` was done to the document, and ``data``, what came of it."""

    what: str
    data: Mapping[str, Any]


def mutants(document: Mapping[str, Any]) -> Iterator[Mutant]:
    """All of them: without each compensation, argument, retry and condition; with each pair of neighbours
    swapped.
    """
    if "retry" in document.get("defaults", {}):
        yield _without(document, ("defaults", "retry"), "the defaults")
    for name, entry in document.get("activities", {}).items():
        yield from _of_holder(document, entry, ("activities", name), f"the entry {name}")
    yield from _of_steps(document, document["steps"], ("steps",), "")


def _of_steps(document: Mapping[str, Any], steps: Any, pointer: Pointer, around: str) -> Iterator[Mutant]:
    names = [step.get("id") or f"{verb_of(step)} {number}" for number, step in enumerate(steps, 1)]
    for index, step in enumerate(steps):
        here, name = (*pointer, index), f"{around}{names[index]}"
        yield from _of_holder(document, step, here, name)
        if "if" in step:
            yield _without(document, (*here, "if"), name)
        for argument in step.get("with", {}) if isinstance(step.get("with"), dict) else ():
            yield _without(document, (*here, "with", argument), name)
        if index + 1 < len(steps):
            yield _swapped(document, here, f"{name} and {names[index + 1]}")
        verb = verb_of(step)
        assert verb is not None
        for relative, inside in parts_of(step, verb):
            yield from _of_steps(document, inside, here + relative, f"{name}.")


def _of_holder(
    document: Mapping[str, Any], holder: Mapping[str, Any], pointer: Pointer, name: str
) -> Iterator[Mutant]:
    if "retry" in holder:
        yield _without(document, (*pointer, "retry"), name)
    compensate = holder.get("compensate")
    if compensate is None:
        return
    yield _without(document, (*pointer, "compensate"), name)
    for argument in compensate.get("with", {}) if isinstance(compensate, dict) else ():
        yield _without(document, (*pointer, "compensate", "with", argument), name)
    for relative, inside in compensating_steps(holder):
        yield from _of_steps(document, inside, pointer + relative, f"{name}.undo.")


def _without(document: Mapping[str, Any], pointer: Pointer, name: str) -> Mutant:
    data, (*way, last) = copy.deepcopy(document), pointer
    place: Any = data
    for key in way:
        place = place[key]
    del place[last]
    keys = [str(key) for key in pointer if isinstance(key, str)]
    if "compensate" in keys:
        keys = keys[keys.index("compensate") :]
    elif "with" in keys:
        keys = keys[-2:]
    else:
        keys = keys[-1:]
    return Mutant(f"{name} without {'.'.join(keys)}", data)


def _swapped(document: Mapping[str, Any], pointer: Pointer, name: str) -> Mutant:
    data, (*way, index) = copy.deepcopy(document), pointer
    steps: Any = data
    for key in way:
        steps = steps[key]
    assert isinstance(index, int)
    steps[index], steps[index + 1] = steps[index + 1], steps[index]
    return Mutant(f"{name} swapped", data)
