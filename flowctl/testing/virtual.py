"""Run a case in virtual time; end the world after any commit, before or after it is durable, and begin
again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

from flowctl.journal import Change, Entry
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.status import status_document
from flowctl.testing.conformance import EVERY_STEP, RUN_ID, Case, Observed
from flowctl.testing.world import World, WorldEnds

When = Literal["before", "after"]


class _DyingJournal(MemoryJournal):
    """Dies at one commit: the ``left``-th from now, from 1, before it is written, or after."""

    def __init__(self, store: MemoryStore, left: int, when: When) -> None:
        super().__init__(store)
        self._left, self._when = left, when

    def commit(self, changes: Sequence[Change]) -> None:
        """See ``Journal``."""
        self._left -= 1
        if self._left == 0 and self._when == "before":
            raise WorldEnds
        super().commit(changes)
        if self._left == 0:
            raise WorldEnds


def run_virtual(case: Case, *, die_at: int | None = None, when: When = "after") -> tuple[Observed, int]:
    """Run a case; returns what came of it and the number of changes that were committed by the worker that
    saw its end. The world ends at commit ``die_at``, from 1, once.
    """
    script = case.script()
    commits = 0

    def tick(runtime: VirtualRuntime, change: Change) -> None:
        nonlocal commits
        commits += 1

    world = World(case, script, run_id=RUN_ID, watch=tick)
    if die_at is None or not world.live(_DyingJournal(world.store, die_at, when)):
        commits = 0
        world.live(MemoryJournal(world.store))
    run = world.run()
    document = status_document(run, MemoryJournal(world.store).entries(run.id), count=EVERY_STEP)
    return Observed(document, list(script.ledger), world.elapsed), commits


def records_of(case: Case) -> list[list[Entry]]:
    """What the journal holds of the runs of the case's chain once it has been run undisturbed."""
    world = World(case, case.script(), run_id=RUN_ID)
    world.live(MemoryJournal(world.store))
    return [entries for run, entries in world.runs() if run.workflow_id == RUN_ID]


def die_everywhere(case: Case, check: Callable[[Observed, int, When], None]) -> int:
    """Run a case once for every commit and both ways of dying there, and ``check`` what came of each;
    returns how many.
    """
    _, commits = run_virtual(case)
    deaths = 0
    for commit, when in itertools.product(range(1, commits + 1), ("before", "after")):
        observed, _ = run_virtual(case, die_at=commit, when=when)  # type: ignore[arg-type]
        check(observed, commit, when)  # type: ignore[arg-type]
        deaths += 1
    return deaths
