"""One connection to the database file, and the rules under which it is written to.

1. Every write transaction and checkpoint, and closing the connection (the last one to close checkpoints),
   happens under the mutex. SQLite before 3.51.3 can lose commits when two connections write and checkpoint
   at once, and most machines have an older one. It also means that flowctl's processes never meet
   SQLITE_BUSY. Readers need no mutex.
2. When SQLite or the disk reports an error, nobody knows whether the last transaction is there: a COMMIT
   whose fsync failed can come back to life after a crash. So the first error ends this object
   (``StorageError`` for ever after); who wants to know opens the journal again and reads. The same goes for
   whatever else interrupts a transaction (``KeyboardInterrupt``); only refusals of our own are rolled back
   and survived.
3. A file that was replaced or removed behind our back must not swallow what we acknowledge: the names must
   still lead to the files that are open, before every transaction.
4. A connection never crosses a fork: SQLite does not survive it. The child finds every journal of its
   parent closed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from flowctl.errors import InternalError, StorageError
from flowctl.journal import Fenced, opening
from flowctl.journal.lock import Mutex, attempts

CHECKPOINT_ROWS = 4_000
"""Rows written between checkpoints: each is a page or two of the log, so it stays at some 16 MiB."""

CHECKPOINT_BYTES = 32 << 20
"""Growth of the log that asks for a checkpoint sooner, because rows are large."""

_open: weakref.WeakSet[Database] = weakref.WeakSet()
_left_behind: list[sqlite3.Connection] = []
"""Connections of the parent process: kept, because closing one would touch files that are not ours."""


class Database:
    """A journal's file, open. Links in ``path`` are resolved: two names of one file must share their locks."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = os.path.realpath(path)
        self.sessions = f"{self.path}.sessions"
        self.files = (self.path, *(self.path + suffix for suffix in opening.SIDECARS))
        self._mutex: Mutex | None = None
        self._failure: tuple[str, str] | None = None
        with opening.trouble(self.path):
            if read_only:
                self._connection = opening.open_reader(self.path)
            else:
                self._connection = opening.open_writer(self.path, self.mutex_path)
                self._mutex = Mutex(self.mutex_path)
        self.data_version()  # the first read opens the log, so that its identity can be known
        self._identity = self._look()[0]
        self._rows = 0
        self._log_size = 0
        _open.add(self)

    @property
    def mutex_path(self) -> str:
        """The file whose lock all writers share."""
        return f"{self.path}.lock"

    # --- reading

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        self.check_usable()
        for _ in attempts(opening.PATIENCE):
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                if not _is_busy(error):  # it is only while somebody repairs what a dead process left
                    raise self._fail(error) from error
        raise self._fail(TimeoutError("it stayed busy"))

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        return next(iter(self.rows(sql, parameters)), None)

    def data_version(self) -> int:
        """A number that is another one after somebody else has committed."""
        version: int = self.rows("PRAGMA data_version")[0][0]
        return version

    # --- writing

    def begin(self, *, wait: bool) -> bool:
        """Begin a write transaction, ended by ``work``. Without waiting, False if somebody else is writing."""
        self.check_usable() if self._mutex is None: raise InternalError(f"the journal {self.path} was opened
        for reading only") for _ in attempts(opening.PATIENCE if wait else 0): if not
        self._mutex.try_acquire(): continue try: if self._begin(): return True except BaseException:
        self._release() raise self._release() if wait: raise self._fail(TimeoutError(f"somebody else has
        been writing to it for {opening.PATIENCE:g} s")) return False

    def _begin(self) -> bool:
        identity, log_size = self._look()
        if identity != self._identity:
            raise self._fail(FileNotFoundError("its files were removed or replaced while it was open"))
        self._log_size = min(self._log_size, log_size)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if _is_busy(error):  # with a program that does not know of the mutex
                return False
            raise self._fail(error) from error
        return True

    @contextlib.contextmanager
    def work(self) -> Iterator[sqlite3.Connection]:
        """The transaction that was begun: commits at the end, rolls back if the body raises."""
        try:
            yield self._connection
            self._connection.execute("COMMIT")
            self._checkpoint_if_due()
        except (sqlite3.Error, OSError) as error:
            raise self._fail(error) from error
        except (Exception, Fenced):
            self._roll_back()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._release()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, waiting for its turn."""
        self.begin(wait=True)
        with self.work() as connection:
            yield connection

    def _roll_back(self) -> None:
        if self._failure is not None:
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def _checkpoint_if_due(self) -> None:
        """Copy the log into the database as far as readers allow; all copied, SQLite starts the log over."""
        if self._connection.total_changes - self._rows < CHECKPOINT_ROWS:
            size = os.stat(self.files[1]).st_size
            if size - self._log_size < CHECKPOINT_BYTES:
                return
            self._log_size = size
        self._rows = self._connection.total_changes
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # --- ending

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._failure is not None: return if self._mutex is not None and not
        any(self._mutex.try_acquire() for _ in attempts(opening.PATIENCE)): raise
        self._fail(TimeoutError("somebody else has been writing to it all the time")) self._end("it was
        closed", "open it again")

    @property
    def usable(self) -> bool:
        """Whether this connection has not ended."""
        return self._failure is None

    def check_usable(self) -> None:
        """Raise ``StorageError`` if this connection has ended, for whatever reason."""
        if self._failure is not None:
            reason, hint = self._failure
            raise StorageError(f"the journal {self.path} cannot be used: {reason}", hint=hint)

    def _fail(self, error: BaseException) -> StorageError:
        """End for good, because nobody knows what has become of the last transaction."""
        reason = str(error) or type(error).__name__
        if _is_full(error):
            reason, hint = "the disk is full", "make room, then go on with flowctl resume"
        else:
            hint = "whether the last write is there is unknown; open it again and look"
        if self._failure is None:
            self._end(reason, hint)
        return StorageError(f"the journal {self.path} failed: {reason}", hint=hint)

    def _end(self, reason: str, hint: str) -> None:
        self._failure = (reason, hint)
        _open.discard(self)
        with contextlib.suppress(sqlite3.Error):  # it may be what is broken
            self._connection.close()
        if self._mutex is not None:
            self._mutex.close()

    def _release(self) -> None:
        if self._mutex is not None and self._failure is None:
            self._mutex.release()

    def _look(self) -> tuple[tuple[int, ...], int]:
        """Which files the names lead to now, and the size of the log."""
        try:
            database, log = os.stat(self.files[0]), os.stat(self.files[1])
        except FileNotFoundError:
            return (), 0
        return (database.st_dev, database.st_ino, log.st_dev, log.st_ino), log.st_size

    def leave_behind(self) -> None:
        """In a forked child: touch nothing, and be closed."""
        self._failure = ("it was opened by the parent process", "open it again after the fork")
        _left_behind.append(self._connection)


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else has a lock that SQLite needed. Errors of the module itself have no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _is_full(error: BaseException) -> bool:
    """Whether there is no room: SQLite says so in its way, the files beside the database in the system's."""
    return (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(error, "errno", None) == errno.ENOSPC
    )


def _after_fork() -> None:
    for database in list(_open):
        database.leave_behind()


os.register_at_fork(after_in_child=_after_fork)
