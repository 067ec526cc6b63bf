"""What is known of runs, kept from one look to the next: reading a long run takes a while, going on does not.

1. A **reading** is a run's row, its entries and what they add up to. Entries never change, so a reading is
   only ever added to; the row, which does, is read each time, and before the entries.
2. Several threads share them, one at a time each: whoever comes meanwhile waits for what is being read
   instead of reading it again.
3. Only those that were asked for last are kept, and no more than so much of them.
4. A journal finds what is new by going through all that anybody has written since. After a while that is more
   than the run, which is then read anew.
"""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from flowctl.errors import RunNotFound
from flowctl.journal import Entry, Journal, Run
from flowctl.status import Fold, SecretPaths, fact_line, history_lines

KEPT = 16
"""Readings."""

WEIGHT = 64 << 20
"""What they may weigh together: bytes of the journal."""

ENTRY = 1_000
"""Bytes that an entry counts for at least; a row may not know yet how large its run has become."""

FRESH = 60.0
"""Seconds after which a run that goes on is read anew."""

_seq = attrgetter("seq")


class Reading:
    """A run as far as it was read. ``entries`` and ``fold`` grow; ``run`` is the row as it was just before
    they were read.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.entries: list[Entry] = []
        self.fold = Fold(SecretPaths.of(run))
        self.at = 0.0

    @property
    def weight(self) -> int:
        """About how much it is."""
        return max(self.run.size, ENTRY * len(self.entries))

    def is_of(self, run: Run) -> bool:
        """Whether it can go on with this row."""
        return run.key == self.run.key and (self.has_all_of(run) or time.monotonic() < self.at + FRESH)

    def has_all_of(self, run: Run) -> bool:
        """Whether there is nothing new for certain. Of a run that somebody has, its row does not tell."""
        return run.session is None and run.entries == len(self.entries)

    def read(self, journal: Journal, run: Run) -> None:
        """Go on reading."""
        if not self.has_all_of(run):
            new = journal.entries(run.id, self.entries[-1].seq if self.entries else 0)
            for entry in new:
                self.fold.add_entry(entry)
            self.entries += new
        self.run, self.at = run, time.monotonic()

    def after(self, seq: int) -> list[Entry]:
        """The entries after this one."""
        return self.entries[bisect_right(self.entries, seq, key=_seq) :]


class Readings:
    """Those that are kept: so many (``kept``), for backends that share them; 0 for one that looks once."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @contextlib.contextmanager
    def of(self, journal: Journal, run_id: str) -> Iterator[Reading]:
        """The run as it is now, until the end of the block nobody else's. ``RunNotFound``."""
        with self._lock:
            place = self._places.setdefault(run_id, _Place())
            self._places.move_to_end(run_id)
        try:
            with place.lock:
                yield place.read(journal, run_id)
        finally:
            self._trim()

    def _trim(self) -> None:
        with self._lock:
            weight = sum(place.weight for place in self._places.values())
            while len(self._places) > self._kept or (weight > WEIGHT and self._places):
                weight -= self._places.popitem(last=False)[1].weight


class _Place:
    """Where a reading is, or will be. One that was trimmed meanwhile is for those who have it already."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.weight = 0
        self._reading: Reading | None = None

    def read(self, journal: Journal, run_id: str) -> Reading:
        reading, self._reading = self._reading, None  # if this fails, it is half done
        run = journal.run(run_id)
        if run is None:
            raise RunNotFound(f"there is no run {run_id}")
        if reading is None or not reading.is_of(run):
            reading = Reading(run)
        reading.read(journal, run)
        self._reading, self.weight = reading, reading.weight
        return reading


# --- windows on a history


def lines_of(
    run: Run, entries: Iterable[Entry], secret: SecretPaths, *, begins: bool
) -> Iterator[dict[str, Any]]:
    """The lines of these entries; if the run ``begins`` with them, first that it was created."""
    if begins:
        yield from history_lines(run, entries)
        return
    for entry in entries:
        for fact in entry.facts():
            yield fact_line(run, fact, entry.seq, secret)


def lines_before(
    run: Run, entries: list[Entry], secret: SecretPaths, seq: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The last lines before this entry, or of all, in order: whole entries, as many as ``limit`` or a little
    more; and the entry that the page before ends before, None if there is none.
    """
    end = len(entries) if seq is None else bisect_left(entries, seq, key=_seq)
    begin, count = end, 0
    while begin and count < limit:
        begin -= 1
        count += 1 + len(entries[begin].riders)
    lines = list(lines_of(run, entries[begin:end], secret, begins=False))
    if begin:
        return lines, entries[begin].seq
    created = next(history_lines(run, entries))  # later entries may tell with which document
    return [created, *lines], None
