"""The database file: whose it is, before anything that could change it; then how we want it.

1. A file that is not a journal of ours is left exactly as it was: no pragma that writes, no lock file, no
   sidecars. What is looked at first is the header, read by SQLite as an immutable file.
2. Never ``open()`` the file: closing it would drop the locks of every connection this process has to it.
3. A new database is made under another name and renamed when it is complete. So a file that is there is a
   whole journal, whatever was killed when, and an empty file is somebody else's.
4. What durability hangs on is set and read back: distributions compile other defaults into SQLite.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from urllib.parse import quote

from flowctl import guard
from flowctl.errors import NotFound, StorageError, UsageError
from flowctl.journal.lock import Mutex, is_alive

APPLICATION_ID = 0x6663746C
"""``fctl``: what ``file`` and other tools may know the database by."""

SCHEMA = 7
"""The number of migrations; that of a database is its ``user_version``."""

DEFAULT_FOLDER = ".flowctl"
"""The one folder that is made when it is missing. Any other missing folder is a slip of the pen."""

PATIENCE = 30.0
"""Seconds to wait for other processes before giving up."""

LOG, SHARED_MEMORY, MUTEX, SESSIONS = "-wal", "-shm", ".lock", ".sessions"
"""What is beside a database, by the end of its name: SQLite's, then ours."""

DISK_ERRORS = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT})
"""What is the disk's fault, and nobody's who gave a path."""

NOTHING_DONE = "nothing was done; mend that, then give the command again"

WRITER_PRAGMAS = {
    "busy_timeout": 0,  # waiting is done in one place, ``Database.begin``, together with the mutex
    "synchronous": 2,  # FULL: NORMAL loses acknowledged commits when the power goes
    "fullfsync": 1,  # on macOS fsync alone does not reach the disk
    "checkpoint_fullfsync": 1,
    "wal_autocheckpoint": 0,  # checkpoints take the mutex, see ``Database``
    "journal_size_limit": 64 << 20,  # bytes of the log that are kept when it starts over
    "trusted_schema": 0,
    "cell_size_check": 1,
}
READER_PRAGMAS = {"query_only": 1, "trusted_schema": 0, "cell_size_check": 1}


def open_writer(path: str) -> sqlite3.Connection:
    """A connection for writing too. The database is made if it is not there, and migrated if it is old."""
    if not os.path.lexists(path):
        _create(path)
    _check_file(path, os.R_OK | os.W_OK)
    with closed_on_error(connect(path, "rw")) as connection:
        if _schema(connection, path) < SCHEMA:
            _upgrade(connection, path)
        _configure(connection, path, WRITER_PRAGMAS)
    return connection


def open_reader(path: str) -> sqlite3.Connection:
    """A connection that cannot write and never checkpoints. ``NotFound`` if there is no database."""
    if not os.path.lexists(path):
        raise NotFound(f"there is no journal at {path}", hint="flowctl run or start makes one")
    _check_file(path, os.R_OK)
    with closed_on_error(connect(path, "ro")) as connection:
        if _schema(connection, path) < SCHEMA:
            raise UsageError(
                f"the journal {path} was written by an older flowctl",
                hint="any command that writes brings it up to date",
            )
        _configure(connection, path, READER_PRAGMAS)
    return connection


@contextlib.contextmanager
def trouble(path: str) -> Iterator[None]:
    """What goes wrong while opening, as one of our errors."""
    try:
        yield
    except OSError as error:
        problem = f"the journal {path} cannot be opened: {error.strerror}"
        if error.errno in DISK_ERRORS:
            raise StorageError(problem, hint=NOTHING_DONE) from error
        raise UsageError(problem) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes damaged text in its messages
        raise StorageError(f"the journal {path} cannot be opened: {error}", hint=NOTHING_DONE) from error


# --- whose it is


def _check_file(path: str, access: int) -> None:
    """Refuse what is not a journal of ours, without touching it."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _not_ours(path, "is not a file")
    if status.st_size == 0:
        raise _not_ours(path, "is an empty file")
    if not os.access(path, access):
        raise UsageError(f"the journal {path} cannot be opened: permission denied")
    try:
        with contextlib.closing(connect(path, "ro", "&immutable=1")) as connection:
            # Or SQLite refuses a database that is shorter than its header says, as one is whose process died
            # in the middle of a checkpoint. What is missing is in the log, which is not looked at here.
            connection.execute("PRAGMA writable_schema = ON")
            identity = _pragma(connection, "application_id")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_NOTADB:
            raise  # it is damaged, or could not be read, which SQLite does not tell apart
        raise _not_ours(path, "is not an SQLite database") from error
    if identity != APPLICATION_ID:
        raise _not_ours(path, "is a database of another program")


def _not_ours(path: str, what: str) -> UsageError:
    return UsageError(f"{path} {what}, not a journal of flowctl", hint="give another path with --db")


def _schema(connection: sqlite3.Connection, path: str) -> int:
    version = _pragma(connection, "user_version")
    if version > SCHEMA:
        raise UsageError(
            f"the journal {path} was written by a newer flowctl (schema {version}, this one knows {SCHEMA})",
            hint="upgrade flowctl",
        )
    return version


# --- making and migrating it


def _create(path: str) -> None:
    """Make the database, unless somebody else is quicker."""
    folder = os.path.dirname(path)
    if os.path.basename(folder) == DEFAULT_FOLDER and os.path.isdir(os.path.dirname(folder)):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    if not os.path.isdir(folder):
        raise UsageError(f"the folder {folder} is not there", hint="make it, or give another path with --db")
    with _mutex(path):
        if os.path.lexists(path):
            return
        unfinished = f"{path}.new"
        for suffix in ("", LOG, SHARED_MEMORY):  # of somebody who was killed here
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished + suffix)
        create_empty(unfinished)
        with contextlib.closing(connect(unfinished, "rw")) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # for ``retention``; later is too late
            if connection.execute("PRAGMA journal_mode = WAL").fetchone() != (
                "wal",
            ):  # not an error to SQLite
                raise StorageError(f"SQLite cannot keep a log for {path}", hint=NOTHING_DONE)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(connection)
            # Closing copies the log as well, but does not tell if that fails; the log is not renamed along.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        os.rename(unfinished, path)
        sync_folder(folder)


def _upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Migrate an older database, keeping a copy, while nobody else works on it."""
    with _mutex(path):
        version = _pragma(connection, "user_version")
        if version >= SCHEMA:
            return
        sessions = connection.execute("SELECT id, pid FROM sessions WHERE fenced = 0").fetchall()
        pids = [str(pid) for session, pid in sessions if is_alive(path + SESSIONS, session)]
        if pids:
            raise UsageError(
                f"the journal {path} must be migrated, but an older flowctl uses it (pid {', '.join(pids)})",
                hint="stop it first",
            )
        copy = f"{path}.v{version}"
        if not os.path.lexists(copy):
            create_empty(copy)
            connection.execute("VACUUM INTO ?", (copy,))
        _migrate(connection)


def _migrate(connection: sqlite3.Connection) -> None:
    from flowctl.journal import migrations  # it imports sqlite_utils, which takes its time

    migrations.apply(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


@contextlib.contextmanager
def _mutex(path: str) -> Iterator[None]:
    with contextlib.closing(Mutex(path + MUTEX)) as mutex:
        if not mutex.acquire(PATIENCE):
            raise StorageError(f"another process has been writing to {path} for {PATIENCE:g} s")
        yield


def create_empty(path: str) -> None:
    """An empty file that only we can read: SQLite would ask the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def sync_folder(folder: str) -> None:
    """Make the names in it durable. ``OSError``."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- connections


def connect(path: str, mode: str, options: str = "") -> sqlite3.Connection:
    """A connection to a file that is there, as SQLite opens it: ``ro`` or ``rw``, with more options of its
    URI.
    """
    with guard.engine():
        return sqlite3.connect(
            f"file:{quote(path)}?mode={mode}{options}",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,  # transactions are begun and ended by hand
            check_same_thread=False,  # one thread at a time, but not always the same one
        )


@contextlib.contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A new connection that is closed if the body, which does the rest of opening, fails."""
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _configure(connection: sqlite3.Connection, path: str, pragmas: dict[str, int]) -> None:
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}")
    refused = [name for name, value in pragmas.items() if _pragma(connection, name) != value]
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        refused.append("journal_mode")
    if refused:
        raise StorageError(
            f"SQLite does not accept these settings for {path}: {', '.join(refused)}", hint=NOTHING_DONE
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
