"""What all backends answer alike: short answers, references that mean nothing, or too much, what is told to
those who look on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from flowctl.errors import AmbiguousRun, RunNotFound, UsageError
from flowctl.journal import Entry, Run
from flowctl.state import ENDED, RunStatus
from flowctl.status import SecretPaths, fact_line

if TYPE_CHECKING:
    from flowctl.backends import Observer
    from flowctl.machine.fitting import Misfit

LAST = "@last"
"""The reference to the run that was started last."""

FIRST = "~1"
"""After a workflow id: the first run of its chain, whose own id, the workflow id, means the latest."""

NAMED = 5
"""Runs that are named when a reference means several."""

_NEEDY = frozenset({RunStatus.BLOCKED, RunStatus.PAUSED})


def answer(run: Run) -> dict[str, Any]:
    """What is said of a run that was asked for something."""
    return {"id": run.id, "status": run.status}


def verdict(run: Run, misfit: Misfit | None) -> dict[str, Any]:
    """See ``Backend.verdict``."""
    path, reason = misfit or (None, None)
    return {"id": run.id, "fits": misfit is None, "path": path, "reason": reason}


def check_reference(reference: str) -> None:
    """``UsageError`` if it is empty."""
    if not reference:
        raise UsageError("RUN is empty", hint="give a run id, a workflow id, a prefix or @last")


def nobody_started(where: str) -> RunNotFound:
    """``@last`` means no run."""
    return RunNotFound(f"no run was started {where} yet", hint="start one with `flowctl run FILE`")


def not_found(run_id: str, where: str) -> RunNotFound:
    """No run has this id, or begins with it."""
    return RunNotFound(f"there is no run {run_id}", hint=f"`flowctl list` shows the runs of {where}")


def only_one(reference: str, found: Collection[str]) -> None:
    """``AmbiguousRun`` if several runs begin with the reference."""
    if len(found) > 1:
        names = ", ".join(list(found)[:NAMED])
        raise AmbiguousRun(f"{reference} is the beginning of several runs: {names}", hint="type more of it")


def number_of(cursor: str | None) -> int | None:
    """The number that a cursor is made of. ``UsageError``."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise UsageError("that is no place in this list", hint="take the cursor that the page before gave")
    return int(cursor)


def facts_told(observe: Observer) -> Callable[[Run, Iterable[Entry]], None]:
    """Passes new entries on, as history shows them; those of a child as part of the step that runs it."""
    secret: dict[str, SecretPaths] = {}

    def tell(run: Run, entries: Iterable[Entry]) -> None:
        _, child, within = run.id.partition("/")
        known = secret.setdefault(run.id, SecretPaths.of(run))
        for entry in entries:
            for fact in entry.facts():
                line: dict[str, Any] = fact_line(run, fact, entry.seq, known)
                if child and not line["path"]:
                    continue  # how a child begins and ends, its parent's step tells
                if child:
                    line["path"] = f"{within}/{line['path']}"
                observe({"run": run.id, "status": run.status, **line})

    return tell


def is_over(run: Run) -> bool:
    """Whether it has ended, or goes no further until somebody sees to it."""
    return run.status in ENDED | _NEEDY
