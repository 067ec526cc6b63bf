"""The history of a run while it is written: what is there, then what comes.

The row is read before the entries: if it says that the run has ended, they are all there. Between looks only
one number is asked for, and whether the run's driver still lives, because a process that is killed changes
nothing in the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from flowctl.backends.reading import Readings
from flowctl.errors import RunNotFound
from flowctl.journal import Journal, Run
from flowctl.state import ENDED, RunStatus
from flowctl.status import SecretPaths, fact_line, history_lines

INTERVAL = 0.1
"""Seconds between two looks."""


def follow(
    journal: Journal, run_id: str, *, after: int, rests: bool, pause: Callable[[float], None] = time.sleep
) -> Iterator[dict[str, Any]]:
    """The run's facts with a ``seq`` over ``after``, as ``history_lines`` has them, until the run has ended.

    Without ``after``, that it was created comes first. With ``rests``, it is over also when the run rests
    (``at_rest``). ``pause`` waits for so many seconds.
    """
    over = at_rest if rests else _has_ended
    for run, lines, last in _looks(journal, run_id, after, over):
        yield from lines
        while not (last or journal.changed() or over(journal, run)):
            pause(INTERVAL)


def tail(
    journal: Journal, run_id: str, *, after: int, readings: Readings | None = None
) -> Iterator[dict[str, Any] | None]:
    """The same until the run has ended, without waiting: None each time nothing has come yet. What was read
    before is in the ``readings``.

    ``changed`` is not asked: it tells only one of those who look on through the same journal.
    """
    for _, lines, last in _looks(journal, run_id, after, _has_ended, readings):
        yield from lines
        if not last:
            yield None


def _looks(
    journal: Journal,
    run_id: str,
    after: int,
    over: Callable[[Journal, Run], bool],
    readings: Readings | None = None,
) -> Iterator[tuple[Run, Iterator[dict[str, Any]], bool]]:
    """At each look the run, the lines that are new, and whether there is nothing to wait for after them.

    What is secret, earlier entries say: whoever has no reading begins with the first.
    """
    run, seen = journal.run(run_id), 0 if readings is None else after
    secret = SecretPaths.of(run) if run is not None else None
    if run is not None and not after:
        yield run, history_lines(run, ()), True
    while run is not None:
        last = over(journal, run)
        if readings is None:
            entries = journal.entries(run_id, seen)
        else:
            try:
                with readings.of(journal, run_id) as known:
                    entries, secret = known.after(seen), known.fold.secret
            except RunNotFound:  # it was discarded meanwhile
                return
        lines = [fact_line(run, fact, each.seq, secret) for each in entries for fact in each.facts()]
        seen = max((each.seq for each in entries), default=seen)
        yield run, (line for line in lines if line["seq"] > after), last
        if last:
            return
        run = journal.run(run_id)


def at_rest(journal: Journal, run: Run) -> bool:
    """Whether nothing more happens unless somebody acts: it has ended, or no live process has it, and no
    worker will.

    One that was only just accepted does not rest: somebody may be about to take it.
    """
    if run.status in ENDED or run.status == RunStatus.CREATED:
        return run.status in ENDED
    goes_on = run.status in _GOES_ON and journal.workers() > 0
    return not goes_on and not journal.attended(run.id)


_GOES_ON = frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.COMPENSATING})
"""States in which a worker acts by itself, sooner or later."""


def _has_ended(journal: Journal, run: Run) -> bool:
    return run.status in ENDED
