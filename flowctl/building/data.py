"""From what was said in Python to JSON, with the calls that said it.

``Steps`` become lists, ``timedelta`` a duration, ``datetime`` a timestamp, a function declared with
``@activity`` its name. What is no JSON then is a mistake like those of the language, with its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET

from flowctl import values
from flowctl.activities import declared
from flowctl.building.sites import CallTree, Site, Sources
from flowctl.building.steps import Steps
from flowctl.clock import format_duration, format_timestamp
from flowctl.document.diagnostics import Diagnostic, diagnostic
from flowctl.document.loader import MAX_DEPTH
from flowctl.document.places import Pointer
from flowctl.errors import UsageError

_MILLISECOND = timedelta(milliseconds=1)


class Said:
    """A document being put together. ``sites`` are the calls by the pointers of what they wrote."""

    def __init__(self) -> None:
        self.sites: dict[Pointer, Site] = {}
        self.mistakes: dict[Pointer, str] = {}
        self.children: list[Steps] = []

    def data(self, value: Any, pointer: Pointer = ()) -> Any:
        """The JSON of a value that stands at ``pointer``."""
        if len(pointer) > MAX_DEPTH:
            raise UsageError(
                f"the steps are nested more than {MAX_DEPTH} deep", hint="do they contain themselves?"
            )
        if isinstance(value, Steps) and value.reference is not None:
            return self._child(value, pointer)
        if isinstance(value, Steps):
            return [self._step(value, index, pointer) for index in range(len(value))]
        if isinstance(value, Mapping):
            return self._mapping(value, pointer)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
            return [self.data(item, (*pointer, index)) for index, item in enumerate(value)]
        try:
            plain = _scalar(value)
            values.check(plain, "this value")
        except ValueError as error:
            self.mistakes[pointer] = str(error)
            return None
        return plain

    def _child(self, child: Steps, pointer: Pointer) -> str | None:
        if pointer[-1:] == ("workflow",):
            self.children.append(child)
        else:
            message = "a whole workflow cannot stand for steps; run it as a child: .workflow(ID, WORKFLOW)"
            self.mistakes[pointer] = message
        return child.reference

    def _step(self, steps: Steps, index: int, pointer: Pointer) -> Any:
        written = steps._steps[index]
        self.sites[*pointer, index] = written.site
        return self.data(written.data, (*pointer, index))

    def _mapping(self, value: Mapping[Any, Any], pointer: Pointer) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self.mistakes[pointer] = f"the key {key!r} is not a text"
            elif item is not UNSET:
                made[key] = self.data(item, (*pointer, key))
        return made

    def tree(self, data: Any, name: str) -> tuple[CallTree, list[Diagnostic], Sources]:
        """The document with its places, what is wrong already, and what the places are in."""
        sources = Sources(self.sites.values())
        placed = {pointer: sources.place(site) for pointer, site in self.sites.items()}
        starts = {pointer: place for pointer, (place, _) in placed.items()}
        ends = {pointer: end for pointer, (_, end) in placed.items()}
        broken = frozenset(self.mistakes)
        tree = CallTree(data, name, sources.lines, starts, {}, broken, ends)
        mistakes = [
            diagnostic(name, sources.lines, "error", "NotJson", message, tree.place(pointer))
            for pointer, message in self.mistakes.items()
        ]
        return tree, mistakes, sources


def _scalar(value: Any) -> Any:
    """ValueError for what there is no JSON for."""
    if isinstance(value, timedelta):
        if value % _MILLISECOND:
            raise ValueError(f"{value} is finer than a millisecond")
        return format_duration(value // _MILLISECOND)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return format_timestamp(int(value.timestamp() * 1000))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    found = declared(value)
    if found is not None:
        return found.name
    raise ValueError(f"a {type(value).__name__} has no place in a document")
