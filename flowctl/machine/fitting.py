"""Whether a document fits what a run has done: the one answer behind ``migrate``, ``deploy`` and tests that
replay.

The document is walked with the run's record, by a machine in which no time passes, nothing is performed, and
whose record takes nothing new. It fits if it asks for exactly the recorded paths, verbs and calls, up to
where the run is. Each task of the run stops where its record ends; after that

1. whatever was recorded and not asked for is something that the document would not have done;
2. a task that stopped although the record goes on has come to something that the run has not done.

What is not a misfit: anything inside a part that is over and summed up; a new ``patch``; a new step that is
skipped, because nothing is asked for it; a condition, an output or a timeout that was added to a step that
the run has done, or taken from it, if it makes no difference; and what comes after a step that a retry lets
begin anew, such as the compensations after one that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from flowctl.activities import Attempt, Outcome
from flowctl.errors import Blocked, safe_text
from flowctl.journal import Entry, Run
from flowctl.machine.host import Handle
from flowctl.machine.machine import Interpret, Machine
from flowctl.machine.record import Record
from flowctl.model import NO_POLICY, PatchStep, Policy, Workflow
from flowctl.outline import BRANCH, Outline, outline
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer
from flowctl.state import RunStatus

log = logging.getLogger("flowctl.machine")

_PLACELESS = frozenset({"iteration", "close"})
"""Verbs of what has no place in the document: its loop has, or the end of the run."""

_ADDED = frozenset({"condition", "deadline", "output"})
"""What a document may decide anew of a step that the run has done. A condition that holds leads on to its
verb, so any step may."""

_TAKEN_AWAY = _ADDED | {"read"}
"""What it need not ask for, of a step that it asks for otherwise."""

_OF_THE_RUN = frozenset({"compensating", "held"})
"""What was decided about the run as a whole and must be asked for; the rest are notes."""

_CHOICES = frozenset({"started", "case", "caught", "first_failed", "winner", "held"})
"""What a document decides of a step that it has in common with the run; all else follows from earlier."""


class Misfit(NamedTuple):
    """Where a document first differs from what the run has done, and how. ``path`` is empty for the run as a
    whole.
    """

    path: str
    reason: str


class Fitting:
    """What runs are held against: a document, and the interpreter with it."""

    def __init__(self, workflow: Workflow, interpret: Callable[[Run], Interpret]) -> None:
        self._workflow = workflow
        self._interpret = interpret
        self._outline = outline(workflow)

    def misfit(self, run: Run, entries: Iterable[Entry]) -> Misfit | None:
        """None if the document fits the run, else the first path that does not."""
        workflow = self._workflow
        moved = msgspec.structs.replace(
            run,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            started_at=run.started_at or run.created_at,
            status=RunStatus.CREATED.value,
        )
        walk = _Walk(moved, entries, self._outline)
        return walk.record.displaced() or walk.misfit(self._interpret(moved))


class _Stop(NamedTuple):
    """A task has come to something that is not on record."""

    path: Path
    kind: str


class _Frontier(Blocked):
    """Ends a task at its stop. The others go on."""

    def __init__(self, stop: _Stop) -> None:
        super().__init__("Frontier", f"{stop.kind} of {stop.path or 'the run'} is not on record", stop.path)


class _SealedRecord(Record):
    """A record that takes nothing new. ``stops`` are where tasks came to its end, in order; ``anew`` the
    steps that a retry lets begin anew, and that are not over yet.
    """

    def __init__(self, entries: Iterable[Entry], document: Outline) -> None:
        super().__init__(entries, _no_time, _nothing)
        self.standing.paused = self.standing.ended = False  # nothing keeps the walk from where it comes to
        self.stops: list[_Stop] = []
        self._document = document
        self._reached = frozenset(path for path, _, _ in self._facts)
        self._asked: set[str] = set()
        over = {path for (path, kind, _), fact in self._facts.items() if _is_end(kind, fact)}
        self.anew = self.made.keys() - over

    def take(self, path: str, kind: str, attempt: int = 0) -> Answer | None:
        """As in any record."""
        found = super().take(path, kind, attempt)
        if found is not None:
            self._asked.add(path)
        return found

    def primary(self, path: str, kind: str, data: dict[str, Any], attempt: int = 0) -> Answer:
        """Not taken: the walk ends here, unless this may be new."""
        if self._may_be_new(path, kind):
            return Answer(data, 0, self.order)
        stop = _Stop(Path(path), kind)
        self.stops.append(stop)
        raise _Frontier(stop)

    rider = primary

    def _may_be_new(self, path: str, kind: str) -> bool:
        if path == ROOT:
            return kind.startswith("patch.")
        here = self._document.get(Path(path).place)
        if here is not None and isinstance(here.step, PatchStep):
            return True
        return kind == "condition" or (kind in _ADDED and path in self._reached)

    def knows(self, path: str) -> bool:
        """Whether the run has been there."""
        return path in self._reached

    # --- what does not fit

    def displaced(self) -> Misfit | None:
        """The first recorded step that the document has not, or has as something else."""
        over = {path for (path, kind, _), fact in self._facts.items() if _sums_up(kind, fact)}
        for (path, _, _), fact in self._facts.items():
            verb = fact.value.get("verb", "close")
            if verb in _PLACELESS or path.endswith(".undo") or not over.isdisjoint(Path(path).ancestors()):
                continue
            here = self._document.get(Path(path).place)
            if here is None:
                return Misfit(path, f"the run came to {path}, which the document does not have")
            if here.verb != verb:
                return Misfit(path, f"{path} was recorded as {verb}, and is {here.verb} in the document")
        return None

    def left(self) -> Iterator[_Stop]:
        """What was recorded and not asked for, in order."""
        for path, kind, _ in self._facts:
            needed = kind in _OF_THE_RUN if path == ROOT else self.passed.isdisjoint(Path(path).ancestors())
            if needed and not (kind in _TAKEN_AWAY and path in self._asked):
                yield _Stop(Path(path), kind)


class _Walk(Machine):
    """A machine that only looks how far it comes."""

    def __init__(self, run: Run, entries: Iterable[Entry], document: Outline) -> None:
        self._document = document
        self.record: _SealedRecord
        super().__init__(run, entries, _Stillness())

    def _recall(self, entries: Iterable[Entry]) -> Record:
        self.record = _SealedRecord(entries, self._document)
        return self.record

    def misfit(self, interpret: Interpret) -> Misfit | None:
        """Walk, and tell what does not fit."""
        try:
            self.begin(interpret)
        except Blocked as blocked:
            return Misfit(blocked.path, blocked.reason)
        except Exception as error:
            log.exception("the interpreter failed while run %s was held against a document", self.run.id)
            return Misfit(ROOT, f"flowctl failed: {safe_text(error)}")
        finally:
            self.drop()
        left = next((left for left in self.record.left() if not self._is_excused(left)), None)
        return None if left is None else self._blame(left)

    def advance(self) -> None:
        """Let every task come to its stop."""
        while True:
            try:
                self._core.trampoline.run()
            except _Frontier:
                continue
            return

    def _blame(self, left: _Stop) -> Misfit:
        """Why the walk did not come to what is left on record: mostly because it came to something new."""
        where = left.path or f"being {left.kind}"
        if left.kind == "condition" and any(stop.path == left.path for stop in self.record.stops):
            return Misfit(left.path, f"{where} was skipped, and the document would run it")
        for stop in self.record.stops:
            if stop.path and not self.record.knows(stop.path) and self._holds_up(stop.path, left.path):
                return Misfit(stop.path, f"{stop.path} is new, and the run is past it: it came to {where}")
        for stop in self.record.stops:
            if stop.path and stop.kind in _CHOICES and self._holds_up(stop.path, left.path):
                return Misfit(stop.path, f"{stop.path} would take another course than it did")
        return Misfit(left.path, f"the run came to {where}, and with the document it would not")

    def _is_excused(self, left: _Stop) -> bool:
        """Whether the walk could not come to it, because a retry lets a step before it begin anew."""
        return any(self._holds_up(Path(path), left.path) for path in self.record.anew)

    def _holds_up(self, stop: Path, left: Path) -> bool:
        """Whether a task that stopped at ``stop`` keeps the walk from ``left``. One in another part of the
        same join or loop does not.
        """
        return not any(
            left.is_within(around) and left != around and not left.is_within(part)
            for part, around in _parts(stop, self._document)
        )


def _parts(path: Path, document: Outline) -> Iterator[tuple[Path, Path]]:
    """The branches and iterations that a path is in, each with what it is a part of."""
    levels = list(path.ancestors())
    for part, around in zip(levels, [*levels[1:], ROOT], strict=True):
        here = document.get(part.place)
        if part.endswith("]") or (here is not None and here.verb == BRANCH):
            yield part, around


def _is_end(kind: str, fact: Answer) -> bool:
    return kind == "completed" or (kind == "failed" and "retry_at" not in fact.value)


def _sums_up(kind: str, fact: Answer) -> bool:
    return kind in ("completed", "failed") and fact.value.get("verb") in (BRANCH, "iteration")


def _no_time() -> int:
    return 0


def _nothing() -> None:
    """There is no news."""


class _Never:
    """Something that does not happen."""

    def cancel(self) -> None:
        """Nothing to call off."""


class _Stillness:
    """A host in which no time passes and nothing is performed, and that has every activity and secret."""

    settings = NO_POLICY
    task_queue = namespace = "default"

    def now(self) -> int:
        """See ``Host``."""
        return 0

    def chance(self) -> float:
        """See ``Host``."""
        return 0.0

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        return _Never()

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``. Never asked: nothing is committed."""
        return _Never()

    def declared(self, activity: str) -> Policy | None:
        """See ``Host``."""
        return None

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """See ``Host``."""

    def wake(self, machine: Machine) -> None:
        """See ``Host``."""
