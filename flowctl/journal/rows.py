"""What a commit writes, worked out before anything is written; the same for every journal that keeps rows.

Everything here is pure. A run's **tally** (how many entries, how many bytes, the hash of the last) is kept
in memory by the session that claimed the run, so that appending an entry reads nothing and writes one row.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from flowctl.journal import (
    Change,
    Entry,
    Heartbeat,
    Message,
    Run,
    chain_hash,
    encode_entry,
    genesis,
    refusals,
)
from flowctl.journal.seals import SEALED, UNSEALED, seal_run
from flowctl.state import ENDED

Row = tuple[int, int, str, str, int, int, int, str, bytearray]
"""An entry as stored: seq, run (its key), path, kind, attempt, generation, at, data, hash.

Why no bytes: Python's sqlite3 looks for an adapter of each value that is neither number, text nor bytearray,
which takes half as long as to store the row.
"""

RUN_COLUMNS = Run.__struct_fields__
"""The columns of a run's row that a ``Run`` has, in order."""

JSON_COLUMNS = (
    *("input", "output", "error", "saga", "waiting_for", "blocked", "attributes", "pins"),
    *("inherited", "origin"),
)

_sealed = itemgetter(*map(RUN_COLUMNS.index, SEALED["runs"]))
_unsealed = itemgetter(*map(RUN_COLUMNS.index, UNSEALED))

_encode = msgspec.json.Encoder(order="sorted").encode


class Tally(msgspec.Struct, frozen=True, gc=False):
    """What the run's chain has come to. ``size`` is in bytes of encoded data."""

    entries: int
    size: int
    head: bytes


def to_json(value: Any) -> str | None:
    """A JSON column; None stays None, as SQL has it."""
    return None if value is None else _encode(value).decode()


def from_json(text: str | None) -> Any:
    """The inverse of ``to_json``."""
    return None if text is None else msgspec.json.decode(text)


def run_to_row(run: Run) -> dict[str, Any]:
    """A run's columns by name, but for those that are null, sealed."""
    values = msgspec.structs.astuple(run)
    row = _stated(SEALED["runs"], _sealed(values))
    for name in JSON_COLUMNS:
        if name in row:
            row[name] = _encode(row[name]).decode()
    row["seal"] = seal_run(row)
    row |= _stated(UNSEALED, _unsealed(values))
    row["head"] = bytearray(run.head)  # as in ``Row``
    return row


def _stated(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def run_from_row(row: Sequence[Any]) -> Run:
    """The run of a row whose values are in the order of ``RUN_COLUMNS``."""
    values = dict(zip(RUN_COLUMNS, row, strict=True))
    for name in JSON_COLUMNS:
        values[name] = from_json(values[name])
    return Run(**values)


def accepted(run: Run, key: int) -> Run:
    """A new run's row, with what is the journal's to keep at its beginning: no entries, no claim."""
    return msgspec.structs.replace(
        run, key=key, session=None, entries=0, size=0, head=genesis(run), due_at=run.created_at
    )


class Batch:
    """The rows of one commit: ``add`` the changes; then, alone with the journal, ``place`` them, write
    ``created`` and ``rows``, hand the messages of ``heirs`` on to their successors, deliver those ``told``,
    write ``updated`` and what was ``seen`` of each inbox, keep ``heartbeats`` (with the run's key) and forget
    those of runs that have ``ended``, ``settle``.

    ``tallies`` are those of the runs that ``session`` has claimed. To encode and hash takes longer than to
    write, and needs nothing that others could change: so it is done before the journal is held. Adding the
    same changes to another batch gives the same rows, as long as none was settled.
    """

    def __init__(self, session: str, tallies: dict[int, Tally]) -> None:
        self.created: list[Run] = []
        self.updated: list[Run] = []
        self.seen: list[int] = []
        self.told: list[Message] = []
        self.rows: list[Row] = []
        self.heirs: list[Change] = []
        self.heartbeats: list[tuple[int, Heartbeat]] = []
        self.ended: list[int] = []
        self._session = session
        self._before = tallies
        self._after: list[tuple[Run, Tally]] = []
        self._released: list[Run] = []
        self._lines: list[tuple[Run, Entry, str]] = []
        self._beats: list[tuple[Run, Heartbeat]] = []
        self._over: list[Run] = []

    def add(self, change: Change) -> None:
        """Work out one change. ``InternalError`` for a run that the session has not claimed."""
        run = change.run
        if change.create:
            run.due_at = run.created_at
            count, size, head = 0, 0, genesis(run)
            self.created.append(run)
        elif run.key in self._before:
            tally = self._before[run.key]
            count, size, head = tally.entries, tally.size, tally.head
            if change.state_changed or change.release:
                self.updated.append(run)
                self.seen.append(sys.maxsize if run.status in ENDED else change.seen)
        else:
            raise refusals.not_claimed(run.id)
        for entry in change.entries:
            data = encode_entry(entry)
            entry.hash = head = chain_hash(head, entry.fact, data)
            count += 1
            size += len(data)
            self._lines.append((run, entry, data.decode()))
        run.entries, run.size, run.head = count, size, head
        self._after.append((run, Tally(count, size, head)))
        run.session = None if change.release else self._session
        if change.release:
            self._released.append(run)
            if run.status in ENDED:
                run.due_at = None
                self._over.append(run)
        if change.heartbeats:
            self._beats += [(run, heartbeat) for heartbeat in change.heartbeats]
        if change.tell is not None:
            self.told.append(change.tell)
        if change.successor is not None:
            change.successor.head = genesis(change.successor)
            change.successor.due_at = change.successor.created_at
            self.created.append(change.successor)
            self.heirs.append(change)

    def place(self, last_seq: int, last_key: int) -> None:
        """Give everything its number, after the highest in use. Runs and entries are told where they will
        be.
        """
        for key, run in enumerate(self.created, last_key + 1):
            run.key = key
        self.heartbeats = [(run.key, heartbeat) for run, heartbeat in self._beats]
        self.ended = [run.key for run in self._over]
        append = self.rows.append
        for seq, (run, entry, data) in enumerate(self._lines, last_seq + 1):
            fact = entry.fact
            entry.seq = seq
            digest = bytearray(entry.hash)
            append((seq, run.key, fact.path, fact.kind, fact.attempt, fact.generation, fact.at, data, digest))

    def settle(self) -> None:
        """Keep the tallies, now that it has been written."""
        for run, tally in self._after:
            self._before[run.key] = tally
        for run in self._released:
            del self._before[run.key]
