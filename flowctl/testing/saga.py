"""Whether a run that did not go well has put back what it took.

What a run that ended undone has left is a breach, unless somebody said so:

- the run itself: what is in doubt, what could not be undone, what is irreversible is in its saga, or in that
  of a parent, and an operator will see it;
- the document: a pivot was passed, or a child is detached and goes its own way;
- the test: the effect is ``lasting``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flowctl.journal import Entry, Run
from flowctl.model import Workflow, WorkflowStep
from flowctl.outline import outline
from flowctl.path import Path
from flowctl.state import RunStatus
from flowctl.testing.effects import Ledger, Standing

UNDONE = frozenset(
    {RunStatus.COMPENSATED, RunStatus.COMPENSATION_FAILED, RunStatus.FAILED, RunStatus.CANCELLED}
)
"""How runs end that leave nothing behind but what they tell of."""

Moment = tuple[int, int]
"""The number of an entry, which only grows, and that of a fact in it."""

_OWNED_UP = ("failed", "in_doubt", "not_undone", "skipped")


def breaches(
    ledger: Ledger, runs: Sequence[tuple[Run, list[Entry]]], documents: Mapping[str, Workflow]
) -> Iterator[str]:
    """What is wrong with the effects of a run that has ended. ``document`` finds documents by digest."""
    yield from ledger.problems
    family = _Family(runs, documents)
    for standing in ledger.standings.values():
        if standing.left and not standing.lasting and not family.excuses(standing):
            yield f"{standing} is left: the run ended {family.ended(standing.run_id)} and does not say so"


class _Family:
    """The runs of a test: the chain, and children."""

    def __init__(self, runs: Sequence[tuple[Run, list[Entry]]], documents: Mapping[str, Workflow]) -> None:
        self._runs = {run.id: run for run, _ in runs}
        self._documents = documents
        self._latest = {run.workflow_id: run for run, _ in runs}
        self._over: dict[tuple[str, str], Moment] = {}
        self._pivots: dict[str, list[tuple[Moment, str, bool]]] = {}
        for run, entries in runs:
            self._note(run, entries)

    def ended(self, run_id: str) -> str:
        """How the run ended that decides about another's effects."""
        return self._decides(run_id)[0].status

    def excuses(self, standing: Standing) -> bool:
        """Whether what is left may be, or is owned up to."""
        if self._is_final(standing.run_id, standing.path):
            return True
        return self._excused(standing.run_id, standing.path, implied=standing.implied)

    def _note(self, run: Run, entries: Sequence[Entry]) -> None:
        """When steps were over, and when pivots were passed."""
        places = outline(self._documents[run.digest])
        for entry in entries:
            for number, fact in enumerate(entry.facts()):
                moment = (entry.seq, number)
                if fact.kind in ("completed", "failed", "cancelled"):
                    self._over[run.id, fact.path] = moment
                here = places.get(Path(fact.path).place)
                if (
                    fact.kind == "completed"
                    and here is not None
                    and here.step is not None
                    and here.step.pivot
                ):
                    passed = (moment, str(fact.path), here.step.compensation is None)
                    self._pivots.setdefault(run.workflow_id, []).append(passed)

    def _is_final(self, run_id: str, path: str) -> bool:
        """Whether a pivot was passed after the step, in its chain or that of a parent. What a pivot itself
        has done is final if nothing undoes it.
        """
        over = self._over.get((run_id, path), (0, 0))
        while True:
            run = self._runs[run_id]
            for passed, pivot, final in self._pivots.get(run.workflow_id, ()):
                if over < passed or (final and over == passed and pivot == path):
                    return True
            if run.parent_id is None or run.parent_id not in self._runs:
                return False
            run_id, path = run.parent_id, ""

    def _excused(self, run_id: str, path: str, *, implied: bool) -> bool:
        if _owns_up(self._runs[run_id], path):
            return True
        run, path = self._decides(run_id, path)
        if _owns_up(run, path):
            return True
        saga, around = run.saga or {}, set(Path(path).ancestors())
        if implied and any(each in saga.get("undone", ()) for each in around - {path}):
            return True  # a block that was undone as a whole
        if run.status in UNDONE:
            return False
        if run.parent_id is None or run.parent_id not in self._runs:
            return True  # it completed, or still goes on
        step = run.workflow_id.removeprefix(f"{run.parent_id}/").partition("#")[0]
        return self._is_detached(run.parent_id, step) or self._excused(run.parent_id, step, implied=implied)

    def _decides(self, run_id: str, path: str = "") -> tuple[Run, str]:
        """The last run of a chain undoes what those before it have registered, under longer paths."""
        run = self._runs[run_id]
        last = self._latest[run.workflow_id]
        if last.id == run.id:
            return last, path
        number = run.id.removeprefix(run.workflow_id).removeprefix("~") or "1"
        return last, f"_run{number}.{path}"

    def _is_detached(self, run_id: str, path: str) -> bool:
        workflow = self._documents[self._runs[run_id].digest]
        here = outline(workflow).get(Path(path).place)
        return here is not None and isinstance(here.step, WorkflowStep) and here.step.detached


def _owns_up(run: Run, path: str) -> bool:
    """Whether a run tells of a step, or of one around it, that it was not undone, or may not have been."""
    around = set(Path(path).ancestors())
    return any(around.intersection((run.saga or {}).get(name, ())) for name in _OWNED_UP)
