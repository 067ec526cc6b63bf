"""What the checks of a document know of it: they all look at the same document, and report to one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flowctl.clock import parse_duration
from flowctl.document.children import Children
from flowctl.document.diagnostics import Report
from flowctl.document.places import Pointer
from flowctl.document.signatures import Signature, Signatures
from flowctl.document.structure import DEFAULT_TIMEOUT, mapping
from flowctl.document.texts import Texts
from flowctl.document.world import World


class Subject:
    """A document that is being checked. ``input_schema`` is None until it is known to be one. The rest is
    what was seen so far: entries that are ``used`` and activities that are ``unknown``, signals that are
    ``awaited``, and the first place of each of the ``changes``, with its versions.
    """

    def __init__(self, data: Mapping[str, Any], report: Report, texts: Texts, world: World) -> None:
        self.data = data
        self.report = report
        self.texts = texts
        self.world = world
        self.signatures = Signatures(world.activities or {})
        self.children = Children(world)
        self.entries = mapping(data.get("activities"))
        self.signals = mapping(data.get("signals"))
        self.life = duration(data.get("timeout")) or parse_duration(DEFAULT_TIMEOUT)
        self.input_schema: Mapping[str, Any] | None = None
        self.used: set[str] = set()
        self.unknown: set[str] = set()
        self.awaited: set[str] = set()
        self.changes: dict[str, tuple[Pointer, int, int]] = {}

    def entry(self, name: Any) -> Mapping[str, Any]:
        """The entry that a step calls, {} if it calls none."""
        return mapping(self.entries.get(name)) if isinstance(name, str) else {}

    def signature(self, name: Any) -> Signature | None:
        """How an activity is called, by its own name or that of its entry; None if that is not known."""
        registered = self.entry(name).get("uses", name)
        return self.signatures.of(registered) if isinstance(registered, str) else None


class Inside(NamedTuple):
    """What a step stands in, at any depth."""

    undoing: bool = False
    """A compensation."""
    cleaning: bool = False
    """The ``finally`` of a ``try``."""
    concurrent: bool = False
    """A branch of ``parallel``, or a ``foreach`` that runs several iterations at once."""


def duration(value: Any) -> int | None:
    """Milliseconds of a written duration; None if it is not one (the schema says so)."""
    try:
        return parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        return None
