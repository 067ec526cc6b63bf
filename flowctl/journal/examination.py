"""What ``flowctl doctor`` wants to know about the storage. Looks, and changes nothing.

A database is opened as any reader opens it. How a *writer* would open one is tried on a database in memory:
closing a writer's connection may checkpoint, and that is more than looking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3

import msgspec

from flowctl.journal import files
from flowctl.journal.lock import is_alive


def sqlite_version() -> str:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version


def can_lose_commits() -> bool:
    """Whether this SQLite can lose commits when two connections write and make checkpoints at once, unless
    they share a lock.
    """
    return sqlite3.sqlite_version_info < (3, 51, 3)


def journal_mode(path: str) -> str:
    """The journal mode of the database at ``path``. Errors as of any reader: ``NotFound``, ``UsageError``,
    ``StorageError``.
    """
    with files.trouble(path), contextlib.closing(files.open_reader(path)) as connection:
        return _read_back(connection, "journal_mode")


def synchronous() -> str:
    """What SQLite makes of the setting that makes commits durable: ``2`` is FULL."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA synchronous = {files.WRITER_PRAGMAS['synchronous']}")
        return _read_back(connection, "synchronous")


def locks_exclude(folder: str) -> bool:
    """Whether a lock of this process keeps another from taking it, on the file system of ``folder``.

    Tried on the folder itself, so that no file is made and no lock that means something is touched.
    ``OSError``.
    """
    folder_here = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder_here, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = os.fork()
        if pid == 0:
            os._exit(_is_locked(folder))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    except BlockingIOError:
        return True  # by another doctor
    finally:
        os.close(folder_here)


def _is_locked(folder: str) -> bool:
    """Whether somebody else has locked the folder. Asked in a child, which has nothing else to do."""
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Standing(msgspec.Struct, frozen=True):
    """Who works on a database (pids, and how many of them are workers), and which of its runs nobody moves
    (ids, the latest first).
    """

    alive: list[int]
    workers: int
    died: int
    interrupted: list[str]
    blocked: list[str]
    overdue: list[str]
    latest: int


_LATEST = (
    "SELECT max(ifnull((SELECT at FROM entries ORDER BY seq DESC LIMIT 1), 0), ifnull(max(created_at), 0))"
    " FROM runs"
)
_CLAIMED = "SELECT id, session FROM runs WHERE session IS NOT NULL ORDER BY key DESC"
_BLOCKED = "SELECT id FROM runs WHERE status = 'blocked' ORDER BY key DESC"
_OVERDUE = "SELECT id FROM runs WHERE session IS NULL AND due_at < ? ORDER BY key DESC"

PROMPTLY = 60_000
"""Milliseconds after which a run that is due has been left alone."""


def standing(path: str, now: int) -> Standing:
    """How a database stands at ``now``, in milliseconds since the epoch. Errors as of any reader."""
    with files.trouble(path), contextlib.closing(files.open_reader(path)) as connection:
        connection.execute("BEGIN")

        def first(sql: str, *parameters: object) -> list[str]:
            return [row[0] for row in connection.execute(sql, parameters)]

        sessions = connection.execute("SELECT id, pid, worker FROM sessions WHERE fenced = 0").fetchall()
        living = [each for each in sessions if is_alive(path + files.SESSIONS, each[0])]
        alive = {session for session, _, _ in living}
        claimed = connection.execute(
            "SELECT id, session FROM runs WHERE session IS NOT NULL ORDER BY key DESC"
        )
        return Standing(
            alive=sorted(pid for _, pid, _ in living),
            workers=sum(worker for _, _, worker in living),
            died=len(sessions) - len(living),
            interrupted=[run for run, session in claimed if session not in alive],
            blocked=first(_BLOCKED),
            overdue=first(_OVERDUE, now - PROMPTLY),
            latest=connection.execute(_LATEST).fetchone()[0],
        )


def _read_back(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchone()[0])
