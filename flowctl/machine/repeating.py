"""Repeating a run from one of its steps on: what the new run is served of the old one's record.

Served is what was recorded *before* that step, results and decisions alike, so that the new run comes to
the step as the old one did; the step itself and what follows is executed. The rules:

1. Before a step is what precedes it in the document; of its own loop the earlier iterations; of a
   ``parallel`` that it is in, also what the other branches have done.
2. Only what is finished is a result. Of what contains the step, or was interrupted, only how it began counts.
3. A ``commit`` step is never served, nor what would hide one: the end of whatever contains it.
4. A result that was undone, or is about to be, is never served, and neither is the failure that the run
   ended with. If one is before the step, the run must be repeated from further up (``earliest``). What a part
   of the document undid before it was over, as a race does with its losers, is in nobody's way: nothing
   outside of it has seen the result.
5. Timeouts run anew. Whatever is served registers no compensation: undoing it is the first run's business.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from flowctl.journal import Entry
from flowctl.machine.record import Record
from flowctl.machine.standing import Key
from flowctl.model import (
    ActivityStep,
    AttributesStep,
    ForeachStep,
    LoopStep,
    PatchStep,
    SendSignalStep,
    SleepStep,
    Step,
    UntilStep,
    WaitStep,
    Workflow,
    WorkflowStep,
)
from flowctl.outline import BRANCH, Place, outline
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer

_LEAVES = (ActivityStep, WorkflowStep, SendSignalStep, SleepStep, WaitStep)
"""Steps that are served whole or not at all."""

_OPENINGS = frozenset({"condition", "read", "started", "case"})
"""How a step began: what is known of it before anything inside of it."""

_OWN = frozenset({"deadline", "cancelled", "held", "withheld", "left", "not_undone", "undo_skipped"})
"""What every run decides for itself."""

_NOWHERE = Place(sys.maxsize, "", None)


class Repetition:
    """A run that is repeated, from ``start`` on. ``workflow`` is the document of both."""

    def __init__(self, workflow: Workflow, entries: Iterable[Entry], start: Path) -> None:
        self._document = outline(workflow)
        self._start = start
        self._facts = Record(entries, lambda: 0, lambda: None).facts()
        self._commits = [place for place, here in self._document.items() if here.step and here.step.commit]
        self._ends = {
            path: fact.order for (path, kind, _), fact in self._facts.items() if _is_end(kind, fact)
        }
        self._undone = self._undone_steps()
        self._failed = self._failed_steps()

    def misplaced(self) -> str | None:
        """Why no run can begin at ``start``, or None."""
        levels = _levels(self._start)
        here = self._here(self._start)
        is_step = here.step is not None or here.verb == BRANCH
        if not is_step or any(level.endswith(".undo") for level in levels):
            return f"the document has no step {self._start}"
        for level, inner in zip(levels, [*levels[1:], None], strict=True):
            looped = isinstance(self._step(level), ForeachStep | LoopStep) and not level.endswith("]")
            if looped and inner is not None and not inner.endswith("]"):
                return f"{self._start} does not say which iteration of {level}"
            if not looped and inner is not None and inner.endswith("]"):
                return f"{level} is no loop"
        return None

    def earliest(self) -> Path:
        """``start``, or, if something before it cannot be served, the last step from which that is not so."""
        start = self._start
        while hindrances := self._hindrances(start):
            first = min(hindrances, key=self._order)
            start = _common(first, start) if self._are_branches(first, start) else first
        return start

    def served(self) -> dict[Key, dict[str, Any]]:
        """The facts that the new run is served."""
        served = {
            key: _as_served(fact.value)
            for key, fact in self._facts.items()
            if key[0] and self._is_served(Path(key[0]), key[1])
        }
        for path, kind, _ in list(served):
            step = self._step(path)
            if isinstance(step, PatchStep) and kind == "completed":
                bound = ROOT, f"patch.{step.change}", 0
                served[bound] = _as_served(self._facts[bound].value)
        return served

    def attributes(self) -> dict[str, Any] | None:
        """What the served steps said about the run, as in its row."""
        merged: dict[str, Any] = {"search": {}, "memo": {}}
        for (path, kind, _), data in self.served().items():
            if kind == "completed" and isinstance(self._step(path), AttributesStep):
                for what, values in data["output"].items():
                    merged[what] |= values
        return merged if merged["search"] or merged["memo"] else None

    # --- what is served

    def _is_served(self, path: Path, kind: str) -> bool:
        levels = _levels(path)
        if kind in _OWN or any(level in self._undone or level.endswith(".undo") for level in levels):
            return False
        if any(level.place in self._commits for level in levels) or path.is_within(self._start):
            return False
        whole = isinstance(self._step(path), _LEAVES)
        unfinished = [inner for inner in (self._start, *self._failed) if inner.is_within(path)]
        if unfinished:
            return not whole and all(self._is_opening(path, kind, inner) for inner in unfinished)
        if not self._is_before(path, self._start):
            return False
        if whole:
            return path in self._ends
        return kind in _OPENINGS or not any(Path(commit).is_within(path.place) for commit in self._commits)

    def _is_opening(self, path: Path, kind: str, inner: Path) -> bool:
        """Whether it was decided, at something around ``inner``, before that began."""
        if kind == "caught":
            return not inner.is_within(path / "try")
        tested_after = path.endswith("]") and isinstance(self._step(path), UntilStep)
        return kind in _OPENINGS and not (tested_after and kind in ("condition", "read"))

    # --- what cannot be

    def _undone_steps(self) -> dict[Path, int]:
        """Steps that were undone, or are about to be, and when."""
        undone: dict[Path, int] = {}
        for (path, _, _), fact in self._facts.items():
            for level in Path(path).ancestors():
                if level.endswith(".undo"):
                    undone.setdefault(Path(level.removesuffix(".undo")), fact.order)
        if (ROOT, "compensating", 0) in self._facts and (ROOT, "ended", 0) not in self._facts:
            for path in map(Path, self._ends):
                step = self._step(path)
                if step is not None and step.compensation is not None and not path.endswith("]"):
                    undone.setdefault(path, sys.maxsize)
        return undone

    def _failed_steps(self) -> set[Path]:
        """The steps whose failure has ended the run, or keeps it from going on."""
        errors = [
            fact.value["error"]
            for (path, kind, _), fact in self._facts.items()
            if kind == "held" or (path == ROOT and kind in ("compensating", "ended"))
        ]
        return {Path(error["step"]) for error in errors if error is not None and error["step"]}

    def _hindrances(self, start: Path) -> list[Path]:
        """What a run that begins at ``start`` would be served, and cannot be."""
        failed = [path for path in self._failed if not self._are_branches(path, start)]
        undone = [path for path in self._undone if not self._is_hidden(path, start)]
        around = [path for path in self._undone if start.is_within(path) and path != start]
        return around + [path for path in (*failed, *undone) if self._is_before(path, start)]

    def _is_hidden(self, path: Path, start: Path) -> bool:
        """Whether it was undone by something around it that is over, and of which it is a separate part."""
        levels = _levels(path)
        return any(
            self._undone[path] < self._ends.get(around, 0) and not start.is_within(around)
            for around, part in pairwise(levels)
            if part.endswith("]") or self._here(part).verb == BRANCH
        )

    # --- where things are

    def _is_before(self, path: Path, start: Path) -> bool:
        """False if one of them is inside of the other."""
        for level, other in zip(_levels(path), _levels(start), strict=False):
            if level != other:
                both = self._here(level).verb == self._here(other).verb == BRANCH
                return both or self._number(level) < self._number(other)
        return False

    def _are_branches(self, path: Path, other: Path) -> bool:
        common = len(_levels(_common(path, other)))
        return any(self._here(each).verb == BRANCH for each in _levels(path)[common : common + 1])

    def _order(self, path: Path) -> tuple[int, ...]:
        return tuple(map(self._number, _levels(path)))

    def _number(self, level: Path) -> int:
        """Among what is at the same level: the iteration, or the number in the document."""
        if level.endswith("]"):
            return int(level[level.rindex("[") + 1 : -1])
        return self._here(level).number

    def _here(self, path: str) -> Place:
        return self._document.get(Path(path).place, _NOWHERE)

    def _step(self, path: str) -> Step | None:
        return self._here(path).step


def _levels(path: Path) -> list[Path]:
    """What a path is within, from the outside in, and itself."""
    return list(path.ancestors())[::-1]


def _common(one: Path, other: Path) -> Path:
    """The innermost thing that both are within."""
    within = set(other.ancestors())
    return next((level for level in one.ancestors() if level in within), ROOT)


def _is_end(kind: str, fact: Answer) -> bool:
    if kind == "condition":
        return fact.value["value"] is False
    return kind in ("completed", "timed_out") or (kind == "failed" and "retry_at" not in fact.value)


def _as_served(data: Mapping[str, Any]) -> dict[str, Any]:
    served = {**data, "served": True}
    if "left" in data:
        served["left"] = {"pivoted": True} if data["left"].get("pivoted") else {}
    return served
