"""What ``flowctl doctor`` wants to know about the storage. Looks, and changes nothing.

A database is opened as any reader opens it. How a *writer* would open one is tried on a database in memory:
closing a writer's connection may checkpoint, and that is more than looking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3

from flowctl.journal import files


def sqlite_version() -> str:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version


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
    """Whether a lock that one open file has keeps another from taking it, on the file system of ``folder``.

    Tried on the folder itself, so that no file is made and no lock that means something is touched.
    ``OSError``.
    """
    one = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(other)
    finally:
        os.close(one)
    return False


def _read_back(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchone()[0])
