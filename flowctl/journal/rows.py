"""What a commit writes, worked out before anything is written; the same for every journal that keeps rows.

Everything here is pure. A run's **tally** (how many entries, how many bytes, the hash of the last) is kept
in memory by the session that claimed the run, so that appending an entry reads nothing and writes one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from flowctl.journal import Change, Entry, Run, chain_hash, encode_entry, genesis, refusals

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
    """The rows of one commit: ``add`` the changes, write ``created``, ``rows`` and ``updated``, ``settle``.

    ``tallies`` are those of the runs that ``session`` has claimed; ``last_seq`` and ``last_key`` are the
    highest in use.
    """

    def __init__(self, session: str, tallies: Mapping[int, Tally], last_seq: int, last_key: int) -> None:
        self.created: list[Run] = []
        self.updated: list[Run] = []
        self.rows: list[Row] = []
        self._session = session
        self._before = tallies
        self._seq = last_seq
        self._key = last_key
        self._after: list[tuple[Change, int, Tally]] = []

    def add(self, change: Change) -> None:
        """Work out one change. ``InternalError`` for a run that the session has not claimed."""
        run = change.run
        if change.create:
            self._key += 1
            run = accepted(run, self._key)
            before = Tally(0, 0, run.head)
        elif run.key in self._before:
            before = self._before[run.key]
        else:
            raise refusals.not_claimed(run.id)
        after = self._append(change.entries, run.key, before)
        if change.create or change.state_changed or change.release:
            row = _written(run, None if change.release else self._session, after)
            (self.created if change.create else self.updated).append(row)
        self._after.append((change, run.key, after))

    def _append(self, entries: Sequence[Entry], key: int, tally: Tally) -> Tally:
        count, size, head = tally
        for entry in entries:
            fact = entry.fact
            data = encode_entry(entry)
            head = chain_hash(head, fact, data)
            size += len(data)
            self._seq += 1
            identity = (self._seq, key, fact.path, fact.kind, fact.attempt, fact.generation)
            self.rows.append((*identity, fact.at, data.decode(), head))
        return Tally(count + len(entries), size, head)

    def settle(self, tallies: dict[int, Tally]) -> None:
        """Make the callers' objects and ``tallies`` say what has been written."""
        rows = iter(self.rows)
        for change, key, tally in self._after:
            for entry, row in zip(change.entries, rows, strict=False):
                entry.seq, entry.hash = row[0], row[-1]
            run = change.run
            run.key = key
            run.entries, run.size, run.head = tally
            if change.release:
                run.session = None
                tallies.pop(key, None)
            else:
                run.session = self._session
                tallies[key] = tally


def _written(run: Run, session: str | None, tally: Tally) -> Run:
    """The run with what is the journal's to keep, as it is to be stored."""
    return msgspec.structs.replace(run, session=session, **tally._asdict())
