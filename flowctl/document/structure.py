"""The shape of documents as tables: which verbs there are, and where in a step other steps stand.

Whoever walks a document (shape, meaning, model) walks it by these tables, so that a verb is added in one
place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from flowctl.document.places import Pointer

DEFAULT_TIMEOUT = "24h"
"""The longest life of a run whose document does not say."""

DEFAULT_ITERATIONS = 1_000
"""Iterations of a ``while`` or ``until`` that does not say."""

Parts = Iterator[tuple[Pointer, Any]]
"""Pointers, relative to a step, and what stands there: a list of steps, if the author wrote one."""


def _at(*keys: str) -> Callable[[Mapping[str, Any]], Parts]:
    def parts(step: Mapping[str, Any]) -> Parts:
        for key in keys:
            if key in step:
                yield (key,), step[key]

    return parts


def _branches(step: Mapping[str, Any]) -> Parts:
    for name, branch in _items(step["parallel"]):
        if isinstance(branch, dict):
            if "steps" in branch:
                yield ("parallel", name, "steps"), branch["steps"]
        elif isinstance(branch, list):
            yield ("parallel", name), branch


def _cases(step: Mapping[str, Any]) -> Parts:
    for index, case in _items(step["switch"]):
        for key in ("steps", "else"):
            if isinstance(case, dict) and key in case:
                yield ("switch", index, key), case[key]


def _clauses(step: Mapping[str, Any]) -> Parts:
    yield ("try",), step["try"]
    for pointer, catch in catches_of(step):
        if "steps" in catch:
            yield (*pointer, "steps"), catch["steps"]
    if "finally" in step:
        yield ("finally",), step["finally"]


def _none(step: Mapping[str, Any]) -> Parts:
    return iter(())


class Verb(msgspec.Struct, frozen=True):
    """A verb: where its lists of steps stand, and what holds for the names in them.

    ``scope``: the lists are scopes of their own, of which only the result is seen outside. ``effect``: it
    does something that a journal must be able to name, so it needs an id. ``ends``: nothing after it runs.
    """

    parts: Callable[[Mapping[str, Any]], Parts] = _none
    scope: bool = False
    effect: bool = False
    ends: bool = False


VERBS: Mapping[str, Verb] = {
    "activity": Verb(effect=True),
    "sleep": Verb(),
    "wait_for_signal": Verb(),
    "send_signal": Verb(effect=True),
    "steps": Verb(_at("steps")),
    "parallel": Verb(_branches, scope=True),
    "foreach": Verb(_at("steps"), scope=True),
    "while": Verb(_at("steps"), scope=True),
    "until": Verb(_at("steps"), scope=True),
    "switch": Verb(_cases),
    "try": Verb(_clauses),
    "workflow": Verb(effect=True),
    "set": Verb(),
    "patch": Verb(),
    "attributes": Verb(),
    "fail": Verb(ends=True),
    "return": Verb(ends=True),
    "continue_as_new": Verb(ends=True),
    "rollback": Verb(),
}

LOOPS = frozenset({"foreach", "while", "until"})
"""Verbs in which ``steps`` is an attribute."""


def verbs_of(step: Mapping[str, Any]) -> list[str]:
    """The verbs of a step; exactly one, if it is right."""
    found = [key for key in step if key in VERBS]
    if "steps" in found and any(verb in LOOPS for verb in found):
        found.remove("steps")
    return found


def verb_of(step: Any) -> str | None:
    """The verb of a step that has exactly one."""
    found = verbs_of(step) if isinstance(step, dict) else []
    return found[0] if len(found) == 1 else None


def parts_of(step: Mapping[str, Any], verb: str) -> Parts:
    """Where the verb's lists of steps stand, in document order. A list that is missing is no part."""
    return VERBS[verb].parts(step)


def catches_of(step: Mapping[str, Any]) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    """The catches of a ``try``, one or a list of them, and where they stand."""
    written = step.get("catch")
    if isinstance(written, dict):
        yield ("catch",), written
    for index, catch in enumerate(written if isinstance(written, list) else ()):
        if isinstance(catch, dict):
            yield ("catch", index), catch


def patch_of(patch: Mapping[str, Any]) -> tuple[str, int, int]:
    """The change of a ``patch``, and its oldest and newest version."""
    return patch["id"], patch.get("min", 1), patch.get("max", 2)


def compensating_steps(holder: Mapping[str, Any]) -> Parts:
    """The same for the ``compensate`` of a step or an activity entry."""
    compensate = holder.get("compensate")
    if isinstance(compensate, dict) and "steps" in compensate:
        yield ("compensate", "steps"), compensate["steps"]


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping; whoever looks into it need not ask."""
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
