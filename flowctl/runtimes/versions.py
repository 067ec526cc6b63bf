"""Moving runs onto other documents: whether that fits, and what becomes of a run's row and record.

The run keeps its id, its input and its deadline, and all that it has recorded. From the ``migrated`` fact on,
its document is the new one, whose children are pinned beside those it had. A run that a live process has is
not moved: that process walks the old document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from flowctl.errors import DoesNotFit, RunBusy, RunClosed
from flowctl.interpreter import execute
from flowctl.journal import Change, Entry, Fact, Journal, Run
from flowctl.machine.fitting import Fitting, Misfit
from flowctl.model import Workflow
from flowctl.path import ROOT
from flowctl.state import ENDED, LIVE

Pins = Mapping[str, Mapping[str, str]]
"""As in ``Run.pins``."""

PAGE = 1_000
"""Runs that are read at once."""


class Versions:
    """The versions of the runs of one journal. ``clock`` is in milliseconds since the epoch."""

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int],
        committed: Callable[[Change], None] | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._committed = committed

    def misfit(self, run: Run, workflow: Workflow) -> Misfit | None:
        """None if the run could go on with this document, else where it could not, and why."""
        return _fitting(workflow).misfit(run, self._journal.entries(run.id))

    def verdicts(self, workflow: Workflow) -> Iterator[tuple[Run, Misfit | None]]:
        """The same for every live run of the workflow, newest first. Its own document always fits a run."""
        fitting = _fitting(workflow)
        for run in self._open_runs(workflow.name):
            same = run.digest == workflow.digest
            yield run, None if same else fitting.misfit(run, self._journal.entries(run.id))

    def migrate(self, run: Run, workflow: Workflow, pin: Callable[[], Pins]) -> Run:
        """Move a live run onto a document. ``pin`` keeps that and its children, and returns their pins.

        Raises ``DoesNotFit``, ``RunBusy``, ``RunClosed``.
        """
        claimed = None if self._journal.attended(run.id) else self._journal.claim(run.id)
        if claimed is None:
            raise RunBusy(
                f"another process drives run {run.id}",
                hint="stop it, or wait until the run rests, and repeat",
            )
        change = Change(claimed, [], release=True)
        try:
            if claimed.status in ENDED:
                raise RunClosed(f"run {run.id} is {claimed.status}")
            change = self._migration(claimed, workflow, pin)
        finally:
            self._commit(change)
        return change.run

    def _commit(self, change: Change) -> None:
        self._journal.commit([change])
        if self._committed is not None:
            self._committed(change)

    def _migration(self, run: Run, workflow: Workflow, pin: Callable[[], Pins]) -> Change:
        entries = self._journal.entries(run.id)
        misfit = _fitting(workflow).misfit(run, entries)
        if misfit is not None:
            raise DoesNotFit(
                f"{workflow.name}@{workflow.version} does not fit the run {run.id}: {misfit.reason}",
                hint="change only what the run has not done yet, or put the change behind a 'patch'",
                details={"id": run.id, **misfit._asdict()},
            )
        before = _document_of(run)
        run.workflow, run.version, run.digest = workflow.name, workflow.version, workflow.digest
        run.pins = {**(run.pins or {}), **pin()} or None
        data = {"from": before, "to": _document_of(run)}
        run.due_at = self._clock()
        fact = Fact(ROOT, "migrated", run.due_at, _times_migrated(entries) + 1, run.generation, data)
        return Change(run, [Entry(fact, [])], state_changed=True, release=True)

    def _open_runs(self, workflow: str) -> Iterator[Run]:
        live, before = [str(status) for status in LIVE], None
        while page := self._journal.list_runs(statuses=live, workflow=workflow, limit=PAGE, before=before):
            yield from page
            before = page[-1].key


def _fitting(workflow: Workflow) -> Fitting:
    return Fitting(workflow, lambda run: partial(execute, workflow, run.input))


def _document_of(run: Run) -> dict[str, str | int]:
    return {"workflow": run.workflow, "version": run.version, "digest": run.digest}


def _times_migrated(entries: Sequence[Entry]) -> int:
    return sum(entry.fact.kind == "migrated" for entry in entries)
