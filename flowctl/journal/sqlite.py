"""The journal in an SQLite file, which many processes of one machine may share.

A commit is one transaction of few statements: the fence (``session``), the entries of all runs, many at a
time, and the rows of those runs whose state has changed. What it writes is worked out in ``rows``; when, and
what happens if that fails, is for ``database`` to say.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from flowctl.journal import Change, Document, Fenced, Heartbeat, Message, Run, refusals
from flowctl.journal.database import Database
from flowctl.journal.lock import is_alive
from flowctl.journal.reader import MESSAGE, SqliteReader, fingerprint, message_from_row
from flowctl.journal.rows import RUN_COLUMNS, Batch, Row, Tally, accepted, run_to_row, to_json
from flowctl.journal.seals import seal
from flowctl.journal.session import Session, fence_dead
from flowctl.state import ENDED

DAY = 86_400
"""Seconds. On which day a document was last asked for is noted, so that ``retention`` can tell those that
nobody needs from those that somebody is about to start a run with.
"""

FEW = 4
"""Changes that are worked out sooner than one has looked whether somebody else is writing."""

MANY = 32
"""Entries in one statement at most. By itself each would take half as long again."""

_FIXED = {
    "key",
    "id",
    "workflow_id",
    "input",
    "origin",
    "created_at",
    "parent_id",
    "principal",
    "trace_id",
}
_STATE = [name for name in (*RUN_COLUMNS, "seal") if name not in _FIXED and name != "due_at"]

_HAD_BY_SOMEBODY = "ifnull(due_at, 0)"
_GIVEN_BACK = """
    CASE WHEN EXISTS (SELECT 1 FROM inbox WHERE run = runs.key AND seq > ?) THEN 0 ELSE {} END
"""
"""When a run is due. One that is given back while a message that nobody has read waits for it is due at once.
One that somebody has will be due when he is dead: there is a moment in its row, whatever he thinks of it.
"""

# Put together from names of our own, hence the exceptions from the rule against it.
_MESSAGES_OF = (
    "SELECT seq, kind, name, data, at, principal, dedup_id, seal FROM inbox WHERE run = ? ORDER BY seq"
)
_INSERT_MESSAGE = (
    "INSERT INTO inbox (run, kind, name, data, at, principal, dedup_id, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_ENTRIES = "INSERT INTO entries (seq, run, path, kind, attempt, generation, at, data, hash) VALUES "
_ENTRY = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OF_CHAIN = "WHERE dedup_id = ? AND run IN (SELECT key FROM runs WHERE workflow_id = ?)"
_LAST_MESSAGE = "SELECT ifnull(max(seq), 0) FROM inbox"
_KEYS = "SELECT key FROM runs "
_INSERT_DOCUMENT = (
    "INSERT INTO documents (digest, name, version, body, source, used_at)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET used_at = excluded.used_at"
)
_KNOWN_LATELY = "SELECT digest FROM sources JOIN documents USING (digest) WHERE sha256 = ? AND used_at > ?"
_LAST = "SELECT ifnull((SELECT max(seq) FROM entries), 0), ifnull((SELECT max(key) FROM runs), 0)"
_IS_DUE = "WHERE session IS NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
_CLAIM = "UPDATE runs SET session = ?, due_at = ifnull(due_at, 0) WHERE key = ?"
_STIR = "UPDATE runs SET due_at = 0 WHERE key = ?"
_NEWS = """
    SELECT id, inbox.kind, name, data, at, inbox.principal, dedup_id, seq
    FROM inbox JOIN runs ON runs.key = inbox.run
    WHERE seq > ? AND session = ?
    ORDER BY seq
"""
_KEEP_HEARTBEAT = (
    "INSERT OR REPLACE INTO heartbeats (run, path, attempt, details, seal) VALUES (?, ?, ?, ?, ?)"
)
_FORGET_HEARTBEAT = "DELETE FROM heartbeats WHERE run = ? AND path = ?"
_FORGET_HEARTBEATS = "DELETE FROM heartbeats WHERE run = ?"
_RELEASE = "UPDATE runs SET session = NULL, entries = ?, size = ?, head = ? WHERE key = ?"


class SqliteJournal(SqliteReader):
    """A ``Journal`` in a file. Make one with ``open``."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._session: Session | None = None
        self._tallies: dict[int, Tally] = {}
        self._heard = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False) -> SqliteJournal:
        """Open the journal at ``path``.

        For writing it is made if it is not there, and migrated if it is old. ``UsageError`` for a file that
        is not a journal or of a newer flowctl, with nothing changed; ``NotFound`` if it is only to be read
        and not there.
        """
        return cls(Database(os.fspath(path), read_only=read_only))

    # --- documents and the registry

    def put_document(self, document: Document) -> None:
        text, now = fingerprint(document.source), int(time.time())
        if self._db.row(_KNOWN_LATELY, (text, now - DAY)) == (document.digest,):
            return
        body, source = document.body.decode(), document.source
        with self._db.transaction() as connection:
            connection.execute(
                _INSERT_DOCUMENT, (document.digest, document.name, document.version, body, source, now)
            )
            connection.execute(
                "INSERT OR REPLACE INTO sources (sha256, digest) VALUES (?, ?)", (text, document.digest)
            )

    def deploy(self, name: str, version: int, digest: str, at: int) -> bool:
        with self._db.transaction() as connection:
            known = self._db.row(
                "SELECT digest FROM definitions WHERE name = ? AND version = ?", (name, version)
            )
            if known is None:
                connection.execute(
                    "INSERT INTO definitions (name, version, digest, deployed_at, seal)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (
                        name,
                        version,
                        digest,
                        at,
                        seal("definitions", (name, version, digest, at, None)),
                    ),
                )
        if known not in (None, (digest,)):
            raise refusals.version_taken(name, version)
        return known is None

    def deprecate(self, name: str, version: int, message: str) -> None:
        with self._db.transaction() as connection:
            known = self._db.row(
                "SELECT digest, deployed_at FROM definitions WHERE name = ? AND version = ?", (name, version)
            )
            if known is None:
                raise refusals.not_deployed(name, version)
            connection.execute(
                "UPDATE definitions SET deprecated = ?, seal = ? WHERE name = ? AND version = ?",
                (message, seal("definitions", (name, version, *known, message)), name, version),
            )

    # --- runs

    def create(self, run: Run, *, claim: bool = False) -> tuple[Run, bool]:
        if claim:
            self._joined()
        with self._db.transaction() as connection:
            existing = self.run(run.id)
            if existing is not None:
                return existing, False
            created = accepted(run, connection.execute(_LAST).fetchone()[1] + 1)
            if claim:
                self._fenced(connection)
                created = self._claimed(created)
            _insert_runs(connection, [run_to_row(created)])
        return created, True

    def deliver(self, message: Message) -> tuple[Message, bool]:
        with self._db.transaction() as connection:
            run = self._db.row("SELECT key, status, workflow_id FROM runs WHERE id = ?", (message.run_id,))
            if run is None:
                raise refusals.run_not_found(message.run_id)
            key, status, chain = run
            if message.dedup_id is not None:
                known = self._db.row(MESSAGE + _OF_CHAIN, (message.dedup_id, chain))
                if known is not None:
                    return message_from_row(message.run_id, known), False
            if status in ENDED:
                raise refusals.run_closed(message.run_id, status)
            seq = _put(connection, key, message)
        return msgspec.structs.replace(message, seq=seq), True

    def claim(self, run_id: str) -> Run | None:
        run = self.run(run_id)  # before anything is written: callers may ask again and again
        if run is not None and run.session is not None:
            if self._session is not None and run.session == self._session.id:
                return self._claimed(run)
            if is_alive(self._db.sessions, run.session):
                return None
        self._joined()
        with self._db.transaction() as connection:
            session = self._fenced(connection)
            run = self.run(run_id)
            if run is None:
                raise refusals.run_not_found(run_id)
            if run.session not in (None, session.id):
                if is_alive(self._db.sessions, run.session):
                    return None
                fence_dead(self._db.sessions, connection, session.id)
                run = self.run(run_id)
                assert run is not None, "nobody deletes a run in our transaction"
            connection.execute(_CLAIM, (session.id, run.key))
        return self._claimed(run)

    def try_claim_due(self, now: int, limit: int) -> list[Run] | None:
        if not self._db.rows(_KEYS + _IS_DUE, (now, 1)):  # before anything is written
            return []
        session = self._session or self._join(wait=False)
        if session is None or not self._db.begin(wait=False):
            return None
        with self._db.work() as connection:
            session.fence(connection)
            runs = self._runs(_IS_DUE, now, limit)
            connection.executemany(_CLAIM, [(session.id, run.key) for run in runs])
        return [self._claimed(run) for run in runs]

    def _claimed(self, run: Run) -> Run:
        """A run that this session has now; if it had it before, its row may be some entries behind."""
        assert self._session is not None
        tally = self._tallies.setdefault(run.key, Tally(run.entries, run.size, run.head))
        return msgspec.structs.replace(run, session=self._session.id, **msgspec.structs.asdict(tally))

    def enlist(self) -> None:
        session = self._joined()
        with self._db.transaction() as connection:
            session.fence(connection)
            session.enlist(connection)

    def begin_anew(self) -> None:
        session, self._session = self._session, None
        self._tallies = {}
        if session is not None:
            session.end()

    def beat(self) -> None:
        if self._session is not None:
            self._session.beat()

    def reap(self) -> bool:
        own = self._session.id if self._session is not None else None
        sessions = {session for (session,) in self._db.rows("SELECT id FROM sessions WHERE fenced = 0")}
        if all(is_alive(self._db.sessions, session) for session in sessions - {own}):
            return False
        with self._db.transaction() as connection:
            fence_dead(self._db.sessions, connection, own)
        return True

    def news(self) -> list[Message]:
        if self._session is None:
            return []
        rows = self._db.rows(_NEWS, (self._heard, self._session.id))
        messages = [message_from_row(run_id, row) for run_id, *row in rows]
        self._heard = max([self._heard, *(message.seq for message in messages)])
        return messages

    # --- committing

    def try_commit(self, changes: Sequence[Change]) -> bool:
        return self._commit(changes, wait=False)

    def commit(self, changes: Sequence[Change]) -> None:
        self._commit(changes, wait=True)

    def _commit(self, changes: Sequence[Change], *, wait: bool) -> bool:
        session = self._session or self._join(wait=wait)
        if session is None or (not wait and len(changes) > FEW and self._db.busy()):
            return False
        batch = Batch(session.id, self._tallies)
        for change in changes:
            batch.add(change)
        created, updated = [run_to_row(run) for run in batch.created], _updated(batch)
        if not self._db.begin(wait=wait):
            return False
        with self._db.work() as connection:
            batch.place(*connection.execute(_LAST).fetchone())
            session.fence(connection, batch.rows)
            for run, row in zip(batch.created, created, strict=True):
                row["key"] = run.key
            _write(connection, batch, created, updated)
            batch.settle()  # before COMMIT: if that fails, this journal is never used again
        return True

    def _joined(self) -> Session:
        session = self._session or self._join(wait=True)
        assert session is not None, "whoever waits for its turn gets it, or an error"
        return session

    def _fenced(self, connection: sqlite3.Connection) -> Session:
        """The session, which may write. One that was declared dead when it had nothing has lost nothing, and
        is made anew: who claims a run for a moment, now and then, is silent in between. But a worker is to
        know. ``Fenced``.
        """
        session = self._joined()
        try:
            session.fence(connection)
        except Fenced:
            if self._tallies or session.of_worker:
                raise
            self.begin_anew()
            session = self._enter(connection)
        return session

    def _join(self, *, wait: bool) -> Session | None:
        """Become a session; None if that would mean waiting."""
        if not self._db.begin(wait=wait):
            return None
        with self._db.work() as connection:
            return self._enter(connection)

    def _enter(self, connection: sqlite3.Connection) -> Session:
        fence_dead(self._db.sessions, connection, None)
        session = self._session = Session(self._db.sessions)
        session.enter(connection)
        [(self._heard,)] = connection.execute(_LAST_MESSAGE).fetchall()
        return session

    def close(self) -> None:
        session, self._session = self._session, None
        try:
            if session is not None and self._db.usable:
                with contextlib.suppress(Fenced), self._db.transaction() as connection:
                    session.fence(connection)
                    connection.executemany(
                        _RELEASE,
                        [(*msgspec.structs.astuple(tally), key) for key, tally in self._tallies.items()],
                    )
                    session.leave(connection)
        finally:
            if session is not None:
                session.end()
            self._db.close()


Columns = Mapping[str, Any]
"""A row by the names of its columns."""

_Groups = Mapping[tuple[str, ...], Sequence[Columns]]
"""Rows by the columns that they have."""


def _write(
    connection: sqlite3.Connection, batch: Batch, created: Sequence[Columns], updated: _Groups
) -> None:
    """The rows of a batch, all entries of all runs in few statements: that makes a thousand at once cheap."""
    _insert_runs(connection, created)
    for first in range(0, len(batch.rows), MANY):
        _insert_entries(connection, batch.rows[first : first + MANY])
    for change in batch.heirs:
        _hand_on(connection, change)
    for message in batch.told:
        _tell(connection, message)
    # Last, because it matters what is in the inbox of a run that is given back.
    for names, rows in updated.items():
        statement, parameters = _update(names)
        connection.executemany(statement, map(parameters, rows))
    for key, heartbeat in batch.heartbeats:
        _keep(connection, key, heartbeat)
    connection.executemany(_FORGET_HEARTBEATS, [(key,) for key in batch.ended])


def _insert_entries(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    try:
        connection.execute(_insertion_of_entries(len(rows)), list(chain.from_iterable(rows)))
    except sqlite3.IntegrityError:
        before = connection.total_changes
        try:
            connection.executemany(_insertion_of_entries(1), rows)  # to see which of them it is
        except sqlite3.IntegrityError as error:
            _, _, path, kind, attempt, generation, *_ = rows[connection.total_changes - before]
            raise refusals.entry_exists(path, kind, attempt, generation) from error
        raise


@functools.cache
def _insertion_of_entries(count: int) -> str:
    return _INSERT_ENTRIES + ", ".join([_ENTRY] * count)


def _keep(connection: sqlite3.Connection, key: int, heartbeat: Heartbeat) -> None:
    path = str(heartbeat.path)
    if heartbeat.details is None:
        connection.execute(_FORGET_HEARTBEAT, (key, path))
    else:
        row = (path, heartbeat.attempt, heartbeat.details.decode())
        connection.execute(_KEEP_HEARTBEAT, (key, *row, seal("heartbeats", row)))


def _updated(batch: Batch) -> _Groups:
    seen = zip(batch.updated, batch.seen, strict=True)
    return _alike(run_to_row(run) | {"seen": number} for run, number in seen)


# A run has thirty columns, of which most are null. Binding a null costs Python as much as SQLite's storing a
# text, so there is a statement for every set of columns that are not.


def _insert_runs(connection: sqlite3.Connection, created: Sequence[Columns]) -> None:
    for names, rows in _alike(created).items():
        before = connection.total_changes
        try:
            connection.executemany(_insertion(names), [tuple(row.values()) for row in rows])
        except sqlite3.IntegrityError as error:
            raise refusals.run_id_taken(rows[connection.total_changes - before]["id"]) from error


def _alike(rows: Iterable[Columns]) -> _Groups:
    groups: dict[tuple[str, ...], list[Columns]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


@functools.cache
def _insertion(names: tuple[str, ...]) -> str:
    return f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


@functools.cache
def _update(names: tuple[str, ...]) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """The statement for rows that have these columns, and how to get its parameters from one."""

    def stated(name: str) -> str:
        return "?" if name in names else "NULL"

    given_back = "session" not in names
    due_at = _GIVEN_BACK.format(stated("due_at")) if given_back else _HAD_BY_SOMEBODY
    columns = [*_STATE, "seen", "due_at"] if given_back else _STATE
    values = ", ".join(f"{name} = {stated(name)}" for name in _STATE)
    statement = f"UPDATE runs SET {values}, due_at = {due_at} WHERE key = ?"  # noqa: S608
    return statement, itemgetter(*(name for name in columns if name in names), "key")


def _hand_on(connection: sqlite3.Connection, change: Change) -> None:
    """A successor gets the messages that its predecessor has not read."""
    assert change.successor is not None
    for seq, *message in connection.execute(_MESSAGES_OF, (change.run.key,)).fetchall():
        if seq not in change.received:
            connection.execute(_INSERT_MESSAGE, (change.successor.key, *message))


def _tell(connection: sqlite3.Connection, message: Message) -> None:
    """Deliver a message with a commit, to a run that may have ended meanwhile."""
    for key, status in connection.execute("SELECT key, status FROM runs WHERE id = ?", (message.run_id,)):
        if status not in ENDED:
            _put(connection, key, message)


def _put(connection: sqlite3.Connection, key: int, message: Message) -> int | None:
    """Put a message into the inbox of a live run, which is due for it; returns its number."""
    data = to_json(message.data)
    row = (message.kind, message.name, data, message.at, message.principal, message.dedup_id)
    inserted = connection.execute(_INSERT_MESSAGE, (key, *row, seal("inbox", row)))
    connection.execute(_STIR, (key,))
    return inserted.lastrowid
