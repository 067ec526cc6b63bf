"""Where each step of a document stands: by its *place* (``Path.place``), the path without iterations.

Whoever compares a run with a document, or tells which of two steps comes first, asks here. Document order is
that of the text: what is inside a step comes after its beginning and before the next step, clauses come as
``try``, ``catch_1``, ``catch_2``, ``finally``, and what undoes a step right after the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flowctl.model import (
    BlockStep,
    ForeachStep,
    ParallelStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WhileStep,
    Workflow,
)
from flowctl.path import ROOT, Path

BRANCH, CLAUSE = "branch", "clause"
"""What stands for a verb at the places of branches of ``parallel``, and of clauses: ``case_1``, ``try``, …"""


class Place(NamedTuple):
    """``number`` grows in document order; ``step`` is None for branches and clauses."""

    number: int
    verb: str
    step: Step | None


Outline = Mapping[str, Place]
"""All steps, branches and clauses of a document by their places."""

Lists = Iterator[tuple[Path, Sequence[Step]]]


def outline(workflow: Workflow) -> Outline:
    """The outline of a document."""
    places: dict[str, Place] = {}
    _add(places, ROOT, workflow.steps)
    return places


def _add(places: dict[str, Place], around: Path, steps: Sequence[Step]) -> None:
    for step in steps:
        path = around / step.segment
        places[path] = Place(len(places), step.verb, step)
        for inner, listed in _INSIDE.get(type(step), _nothing)(path, step):
            if inner != path:
                places[inner] = Place(len(places), BRANCH if isinstance(step, ParallelStep) else CLAUSE, None)
            _add(places, inner, listed)
        if step.compensation is not None:
            _add(places, path.undo, step.compensation.steps)


def _nothing(path: Path, step: Any) -> Lists:
    yield from ()


def _body(path: Path, step: Any) -> Lists:
    yield path, step.steps


def _cases(path: Path, step: SwitchStep) -> Lists:
    for case in step.cases:
        yield path / case.segment, case.steps


def _branches(path: Path, step: ParallelStep) -> Lists:
    for branch in step.branches:
        yield path / branch.name, branch.steps


def _clauses(path: Path, step: TryStep) -> Lists:
    yield path / "try", step.steps
    for catch in step.catches:
        yield path / catch.segment, catch.steps
    yield path / "finally", step.cleanup


_INSIDE: Mapping[type[Step], Callable[[Path, Any], Lists]] = {
    BlockStep: _body,
    ForeachStep: _body,
    WhileStep: _body,
    UntilStep: _body,
    SwitchStep: _cases,
    ParallelStep: _branches,
    TryStep: _clauses,
}
"""The lists of steps that a step is made of, in document order, and the places they are at."""
