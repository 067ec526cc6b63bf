"""Sessions: which open journal writes to which runs, and how one that died is fenced out.

A session is a row and a locked file (``lock.SignOfLife``). Its id is random and nobody can configure it:
two processes that believe they are the same one destroy each other's work. It is made when a run is first
claimed, so whoever only reads or delivers leaves no trace.

The fence is one ``UPDATE`` of the session's own row in every transaction, whatever the number of runs: if
it meets no row, somebody has declared this session dead, and the transaction is rolled back. Dead is whose
file nobody has locked, or who was silent for longer than the lease. That is certain for a process that was
killed; one that was only stopped, or whose file somebody deleted, is declared dead while it is not, and then
the fence stops it. The same statement records the journal's last entry, so that a lost end can be noticed
later.

Who fences a session out gives back its runs in the same transaction. Their rows may be some entries behind,
so what they count is counted anew.
"""

from __future__ import annotations

import os
import sqlite3

from flowctl.journal import GENESIS, Fenced
from flowctl.journal.lock import SignOfLife, bury, is_alive
from flowctl.journal.rows import Row

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Session:
    """An open journal that claims runs; ``folder`` holds the signs of life. Made in a write transaction."""

    def __init__(self, folder: str) -> None:
        self.id = os.urandom(16).hex()
        self.of_worker = False
        self._life = SignOfLife(folder, self.id)

    def enter(self, connection: sqlite3.Connection) -> None:
        """Write the row."""
        connection.execute(
            "INSERT INTO sessions (id, pid, boot, last_seq, last_hash, fenced) VALUES (?, ?, ?, 0, ?, 0)",
            (self.id, os.getpid(), _boot_id(), GENESIS),
        )

    def enlist(self, connection: sqlite3.Connection) -> None:
        """Be a worker's."""
        self.of_worker = True
        connection.execute("UPDATE sessions SET worker = 1 WHERE id = ?", (self.id,))

    def beat(self) -> None:
        """Say that the session is not silent."""
        self._life.beat()

    def fence(self, connection: sqlite3.Connection, rows: list[Row] | None = None) -> None:
        """Make sure that this session may write, ``Fenced`` if not, and note the last of what it writes."""
        if rows:
            mine = connection.execute(
                "UPDATE sessions SET last_seq = ?, last_hash = ? WHERE id = ? AND fenced = 0",
                (rows[-1][0], rows[-1][-1], self.id),
            )
        else:
            mine = connection.execute(
                "UPDATE sessions SET fenced = 0 WHERE id = ? AND fenced = 0", (self.id,)
            )
        if mine.rowcount == 0:
            raise Fenced("this session was declared dead; others have taken over its runs")

    def leave(self, connection: sqlite3.Connection) -> None:
        """Remove the row."""
        connection.execute("DELETE FROM sessions WHERE id = ?", (self.id,))

    def end(self) -> None:
        """Remove the sign of life. Idempotent."""
        self._life.end()


_COUNT_ANEW = """
    UPDATE runs SET entries = counted.entries, size = counted.size, head = counted.head
    FROM (
        SELECT run, count(*) AS entries, sum(length(CAST(data AS BLOB))) AS size, hash AS head, max(seq)
        FROM entries
        WHERE run IN (SELECT key FROM runs WHERE session = ? AND due_at IS NOT NULL)
        GROUP BY run
    ) AS counted
    WHERE counted.run = runs.key
"""
_GIVE_BACK = "UPDATE runs SET session = NULL WHERE session = ? AND due_at IS NOT NULL"


def fence_dead(folder: str, connection: sqlite3.Connection, own: str | None) -> None:
    """Fence out every session that has died, give back its runs, and clear away the files that were left.
    ``own`` is the session that does it, if it is one: it lives, however long it was silent.
    """
    for (session,) in connection.execute("SELECT id FROM sessions WHERE fenced = 0").fetchall():
        if session != own and not is_alive(folder, session):
            connection.execute("UPDATE sessions SET fenced = 1 WHERE id = ?", (session,))
            connection.execute(_COUNT_ANEW, (session,))
            connection.execute(_GIVE_BACK, (session,))
    bury(folder, own)


def _boot_id() -> str:
    """Which boot of which machine this is, for people who wonder about a session; empty if unknown."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
