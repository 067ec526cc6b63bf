"""Reading an SQLite journal: everything that a command which only looks may ask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from flowctl.journal import (
    STIRRING,
    Definition,
    Document,
    Entry,
    Heartbeat,
    Mark,
    Message,
    Run,
    Statistics,
    Where,
    decode_entry,
)
from flowctl.journal.database import Database
from flowctl.journal.lock import is_alive
from flowctl.journal.rows import RUN_COLUMNS, from_json, run_from_row

_ENDS = """
    SELECT ifnull((SELECT max(seq) FROM entries), 0), ifnull((SELECT max(key) FROM runs), 0),
        ifnull((SELECT max(seq) FROM inbox), 0)
"""
_TOUCHED = """
    SELECT id FROM runs WHERE key IN (
        SELECT run FROM entries WHERE seq > ?1 UNION SELECT run FROM inbox WHERE seq > ?3
        UNION SELECT key FROM runs WHERE key > ?2)
"""
_STIRS = """
    SELECT id, seal FROM runs WHERE session IS NOT NULL AND due_at IS NOT NULL
    UNION SELECT id, seal FROM (
        SELECT id, seal FROM runs WHERE session IS NULL AND due_at <= ?1 ORDER BY due_at LIMIT ?2)
"""

_LAST_CHARACTER = "\U0010ffff"

_IS_LATEST = "key = (SELECT max(key) FROM runs AS chain WHERE chain.workflow_id = runs.workflow_id)"

_RUN = "SELECT " + ", ".join(RUN_COLUMNS) + " FROM runs "  # noqa: S608  # names of our own
_KEY = "(SELECT key FROM runs WHERE id = ?)"
_ENTRY = "SELECT seq, path, kind, attempt, generation, at, data, hash FROM entries "
MESSAGE = "SELECT kind, name, data, at, principal, dedup_id, seq FROM inbox "
_HEARTBEATS = f"SELECT path, attempt, details FROM heartbeats WHERE run = {_KEY} ORDER BY path"  # noqa: S608

# Names and values are parameters; what is put together is which types are looked for. There is no index:
# attributes are looked at run by run, newest first, until enough have been found.
_ATTRIBUTE = "EXISTS (SELECT 1 FROM json_each(attributes, '$.search') WHERE key = ? AND ({}))"
_NUMBER = "(type IN ('integer', 'real') AND value = ?)"
_MATCHES: Mapping[type, str] = {
    str: "(type = 'text' AND value = ?)",
    int: _NUMBER,
    float: _NUMBER,
    bool: "(type IN ('true', 'false') AND value = ?)",
    type(None): "(type = 'null' AND ? IS NULL)",
}


class SqliteReader:
    """The reading half of ``SqliteJournal``."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._version = database.data_version()

    @property
    def url(self) -> str:
        """The real path of the database."""
        return self._db.path

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """The database and its log: closing one of them drops SQLite's locks."""
        return self._db.files

    # --- documents and the registry

    def document(self, digest: str) -> Document | None:
        row = self._db.row(
            "SELECT digest, name, version, body, source FROM documents WHERE digest = ?", (digest,)
        )
        if row is None:
            return None
        digest, name, version, body, source = row
        return Document(digest, name, version, body.encode(), source)

    def document_of_source(self, source: str) -> Document | None:
        row = self._db.row("SELECT digest FROM sources WHERE sha256 = ?", (fingerprint(source),))
        return None if row is None else self.document(row[0])

    def definitions(self, name: str | None = None) -> list[Definition]:
        rows = self._db.rows(
            "SELECT name, version, digest, deployed_at, deprecated FROM definitions"
            " WHERE ?1 IS NULL OR name = ?1 ORDER BY name, version DESC",
            (name,),
        )
        return [Definition(*row) for row in rows]

    # --- runs

    def run(self, run_id: str) -> Run | None:
        return self._run("WHERE id = ?", run_id)

    def runs_with_prefix(self, prefix: str, limit: int = 10) -> list[Run]:
        whose = "" if "/" in prefix else "AND parent_id IS NULL "
        named = "id BETWEEN ?1 AND ?2" if "~" in prefix else f"workflow_id BETWEEN ?1 AND ?2 AND {_IS_LATEST}"
        return self._runs(
            f"WHERE {named} {whose}ORDER BY key DESC LIMIT ?3", prefix, prefix + _LAST_CHARACTER, limit
        )

    def latest_of(self, workflow_id: str) -> Run | None:
        return self._run("WHERE workflow_id = ? ORDER BY key DESC LIMIT 1", workflow_id)

    def last_started(self) -> Run | None:
        last = self._run("WHERE parent_id IS NULL AND id = workflow_id ORDER BY key DESC LIMIT 1")
        return self.latest_of(last.workflow_id) if last is not None else None

    def list_runs(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
        before: int | None = None,
    ) -> list[Run]:
        conditions, parameters = ["TRUE"], list[Any]()
        if statuses:
            conditions.append(f"status IN ({', '.join('?' * len(statuses))})")
            parameters += statuses
        if workflow is not None:
            conditions.append("workflow = ?")
            parameters.append(workflow)
        for name, wanted in where:
            conditions.append(
                _ATTRIBUTE.format(" OR ".join(_MATCHES[type(value)] for value in wanted) or "FALSE")
            )
            parameters += [name, *wanted]
        if before is not None:
            conditions.append("key < ?")
            parameters.append(before)
        return self._runs(f"WHERE {' AND '.join(conditions)} ORDER BY key DESC LIMIT ?", *parameters, limit)

    def touched(self, mark: Mark | None, now: int) -> tuple[Mark, list[str]]:
        [(entry, run, message)] = self._db.rows(
            _ENDS
        )  # first: what comes while we look is found again the next time
        stirring = dict(self._db.rows(_STIRS, (now, STIRRING)))
        found = Mark(entry, run, message, stirring)
        if mark is None:
            return found, []
        touched = {run for (run,) in self._db.rows(_TOUCHED, (mark.entry, mark.run, mark.message))}
        return found, sorted(touched | mark.moved(stirring))

    def statistics(self, now: int) -> Statistics:
        rows = self._db.rows("SELECT workflow, status, count(*) FROM runs GROUP BY workflow, status")
        [(due,)] = self._db.rows(
            "SELECT count(*) FROM runs WHERE session IS NULL AND due_at IS NOT NULL AND due_at <= ?", (now,)
        )
        return Statistics(rows, due, self.workers(), self._db.size())

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        if after:  # the latest few, by seq: the index leads to all of a run, which may be long, and sorts it
            rows = self._db.rows(_ENTRY + f"WHERE seq > ? AND +run = {_KEY} ORDER BY seq", (after, run_id))
        else:
            rows = self._db.rows(_ENTRY + f"WHERE run = {_KEY} ORDER BY seq", (run_id,))
        return [decode_entry(row) for row in rows]

    def inbox(self, run_id: str, after: int = 0) -> list[Message]:
        rows = self._db.rows(MESSAGE + f"WHERE run = {_KEY} AND seq > ? ORDER BY seq", (run_id, after))
        return [message_from_row(run_id, row) for row in rows]

    def heartbeats(self, run_id: str) -> list[Heartbeat]:
        rows = self._db.rows(_HEARTBEATS, (run_id,))
        return [Heartbeat(path, attempt, details.encode()) for path, attempt, details in rows]

    def attended(self, run_id: str) -> bool:
        row = self._db.row("SELECT session FROM runs WHERE id = ?", (run_id,))
        return row is not None and row[0] is not None and is_alive(self._db.sessions, row[0])

    def next_due(self) -> int | None:
        [(when,)] = self._db.rows("SELECT min(due_at) FROM runs WHERE session IS NULL AND due_at >= 0")
        return None if when is None else int(when)

    def due(self, now: int) -> int:
        [(count,)] = self._db.rows("SELECT count(*) FROM runs WHERE session IS NULL AND due_at <= ?", (now,))
        return int(count)

    def workers(self) -> int:
        rows = self._db.rows("SELECT id FROM sessions WHERE worker AND NOT fenced")
        return sum(is_alive(self._db.sessions, session) for (session,) in rows)

    def changed(self) -> bool:
        before, self._version = self._version, self._db.data_version()
        return before != self._version

    def _run(self, condition: str, *parameters: Any) -> Run | None:
        row = self._db.row(_RUN + condition, parameters)
        return None if row is None else run_from_row(row)

    def _runs(self, condition: str, *parameters: Any) -> list[Run]:
        return [run_from_row(row) for row in self._db.rows(_RUN + condition, parameters)]


def message_from_row(run_id: str, row: Sequence[Any]) -> Message:
    """A message of ``MESSAGE``'s columns."""
    kind, name, data, at, principal, dedup_id, seq = row
    return Message(run_id, kind, name, from_json(data), at, principal, dedup_id, seq)


def fingerprint(source: str) -> str:
    """What a document's text is found by."""
    return hashlib.sha256(source.encode()).hexdigest()
