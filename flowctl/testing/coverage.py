"""What of a document tests have come to: its steps, its branches, its retries, its compensations.

=============  =============================================================================================
step           it began, or was called
branch         both ways of an ``if``, every case of a ``switch`` and its having none, every ``catch``
retry          a second attempt of a step that has retries
compensation   what undoes a step was called, and came to its end
=============  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from flowctl.journal import Entry, Fact, Run
from flowctl.model import ActivityStep, Policy, Step, SwitchStep, TryStep, Workflow
from flowctl.outline import outline
from flowctl.path import Path
from flowctl.plugins import Plugins

KINDS = ("step", "branch", "retry", "compensation")


class Item(NamedTuple):
    """One thing to come to. ``what`` tells the branches of a step apart."""

    kind: str
    place: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.what}".rstrip()


class Coverage:
    """Of all documents that were tested, what was come to so far."""

    def __init__(self) -> None:
        self._documents: dict[str, Workflow] = {}
        self._items: dict[str, dict[Item, bool]] = {}

    def add(self, documents: Mapping[str, Workflow], plugins: Plugins, settings: Policy) -> None:
        """Documents that are tested, by digest."""
        for digest, workflow in documents.items():
            if digest not in self._documents:
                self._documents[digest] = workflow
                self._items[digest] = dict.fromkeys(_items(workflow, plugins, settings), False)

    def see(self, runs: Iterable[tuple[Run, list[Entry]]]) -> None:
        """Take notice of what runs came to."""
        for run, entries in runs:
            items = self._items[run.digest]
            for entry in entries:
                for fact in entry.facts():
                    for item in _shown(fact):
                        if item in items:
                            items[item] = True

    def to_json(self) -> list[dict[str, Any]]:
        """By document: ``{workflow, kinds: {KIND: {covered, total}}, missing: [{kind, what}], percent}``."""
        return [self._document(self._documents[digest], items) for digest, items in self._items.items()]

    @property
    def percent(self) -> float:
        """Of all there is to come to."""
        seen = [each for items in self._items.values() for each in items.values()]
        return percent(sum(seen), len(seen))

    def _document(self, workflow: Workflow, items: Mapping[Item, bool]) -> dict[str, Any]:
        kinds = {
            kind: {
                "covered": sum(seen for item, seen in items.items() if item.kind == kind),
                "total": sum(item.kind == kind for item in items),
            }
            for kind in KINDS
        }
        missing = [{"kind": item.kind, "what": str(item)} for item, seen in items.items() if not seen]
        return {
            "workflow": workflow.name,
            "version": workflow.version,
            "kinds": kinds,
            "missing": missing,
            "percent": percent(sum(items.values()), len(items)),
        }


def percent(covered: int, total: int) -> float:
    """Of 100, rounded down to a tenth: 100 means all."""
    return 100.0 if not total else covered * 1000 // total / 10


def _items(workflow: Workflow, plugins: Plugins, settings: Policy) -> Iterator[Item]:
    for place, here in outline(workflow).items():
        step = here.step
        if step is None:
            continue
        yield Item("step", place)
        yield from _branches(place, step)
        if isinstance(step, ActivityStep):
            known = plugins.activities.get(step.name)
            declared = known.policy if known is not None else None
            retry = step.policy.over(declared).over(workflow.defaults).over(settings).retry
            if retry is not None and retry.attempts > 1:
                yield Item("retry", place)
        if step.compensation is not None:
            yield Item("compensation", f"{place}.undo")


def _branches(place: str, step: Step) -> Iterator[Item]:
    if step.condition is not None:
        yield Item("branch", place, "if true")
        yield Item("branch", place, "if false")
    if isinstance(step, SwitchStep):
        for case in step.cases:
            yield Item("branch", place, case.segment)
        if all(case.condition is not None for case in step.cases):
            yield Item("branch", place, "no case")
    if isinstance(step, TryStep):
        for catch in step.catches:
            yield Item("branch", place, catch.segment)


def _shown(fact: Fact) -> Iterator[Item]:
    place = Path(fact.path).place
    match fact.kind:
        case "condition":
            yield Item("branch", place, "if true" if fact.data["value"] else "if false")
        case "case":
            yield Item("step", place)
            yield Item("branch", place, fact.data["case"] or "no case")
        case "caught" if fact.data["catch"]:
            yield Item("branch", place, fact.data["catch"])
        case "started":
            yield Item("step", place)
            if fact.attempt > 1:
                yield Item("retry", place)
        case "completed":
            yield Item("step", place)
            yield Item("compensation", place)
        case "failed" | "cancelled":
            yield Item("step", place)
