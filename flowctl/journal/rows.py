"""What a commit writes, worked out before anything is written; the same for every journal that keeps rows.

Everything here is pure. A run's **tally** (how many entries, how many bytes, the hash of the last) is kept
in memory by the session that claimed the run, so that appending an entry reads nothing and writes one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from flowctl.journal import Change, Run, chain_hash, encode_entry, genesis, refusals

Row = tuple[int, int, str, str, int, int, int, str, bytes]
"""An entry as stored: seq, run (its key), path, kind, attempt, generation, at, data, hash."""

RUN_COLUMNS = Run.__struct_fields__
"""The columns of a run's row, in order."""

JSON_COLUMNS = frozenset({"input", "output", "error", "saga", "waiting_for", "blocked"})

_encode = msgspec.json.Encoder(order="sorted").encode


class Tally(NamedTuple):
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
    """A run's columns by name."""
    row = msgspec.structs.asdict(run)
    for name in JSON_COLUMNS:
        row[name] = to_json(row[name])
    return row


def run_from_row(row: Sequence[Any]) -> Run:
    """The run of a row whose values are in the order of ``RUN_COLUMNS``."""
    values = dict(zip(RUN_COLUMNS, row, strict=True))
    for name in JSON_COLUMNS:
        values[name] = from_json(values[name])
    return Run(**values)


def accepted(run: Run, key: int) -> Run:
    """A new run's row, with what is the journal's to keep at its beginning: no entries, no claim."""
    return msgspec.structs.replace(run, key=key, session=None, entries=0, size=0, head=genesis(run))


class Batch:
    """The rows of one commit. ``add`` the changes, write ``created``, ``rows`` and ``updated``, then
    ``settle``.

    ``tallies`` are those of the runs that ``session`` has claimed; ``last_seq`` and ``last_key`` the
    highest in use.
    """

    def __init__(self, session: str, tallies: Mapping[int, Tally], last_seq: int, last_key: int) -> None:
        self.created: list[Run] = []
        self.updated: list[Run] = []
        self.rows: list[Row] = []
        self._session = session
        self._tallies = tallies
        self._seq = last_seq
        self._key = last_key
        self._after: list[tuple[Change, Run, int]] = []

    def add(self, change: Change) -> None:
        """Work out one change. ``InternalError`` for a run that the session has not claimed."""
        if change.create:
            self._key += 1
            start = accepted(change.run, self._key)
            tally = Tally(0, 0, start.head)
        else:
            start = change.run
            claimed = self._tallies.get(start.key)
            if claimed is None:
                raise refusals.not_claimed(start.id)
            tally = claimed
        first = len(self.rows)
        entries, size, head = self._append(change, start.key, tally)
        session = None if change.release else self._session
        after = msgspec.structs.replace(start, session=session, entries=entries, size=size, head=head)
        if change.create:
            self.created.append(after)
        elif change.state_changed or change.release:
            self.updated.append(after)
        self._after.append((change, after, first))

    def _append(self, change: Change, key: int, tally: Tally) -> Tally:
        entries, size, head = tally
        for entry in change.entries:
            fact = entry.fact
            data = encode_entry(entry)
            head = chain_hash(head, fact, data)
            size += len(data)
            self._seq += 1
            identity = (fact.path, fact.kind, fact.attempt, fact.generation)
            self.rows.append((self._seq, key, *identity, fact.at, data.decode(), head))
        return Tally(entries + len(change.entries), size, head)

    def settle(self, tallies: dict[int, Tally]) -> None:
        """Make the callers' objects and ``tallies`` say what has been written."""
        for change, after, first in self._after:
            run = change.run
            run.key, run.session = after.key, after.session
            run.entries, run.size, run.head = after.entries, after.size, after.head
            for index, entry in enumerate(change.entries, first):
                entry.seq, entry.hash = self.rows[index][0], self.rows[index][-1]
            if change.release:
                tallies.pop(run.key, None)
            else:
                tallies[run.key] = Tally(run.entries, run.size, run.head)
