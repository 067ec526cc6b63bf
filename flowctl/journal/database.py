"""One connection to the database file, and the rules under which it is written to.

1. Every write transaction, every checkpoint and closing the connection (the last one to close makes a
   checkpoint) happen under the mutex. SQLite before 3.51.3, which most machines have, can lose commits when
   two connections write and checkpoint at once. It also means that flowctl's own processes never meet
   SQLITE_BUSY. Readers need no mutex.
2. When SQLite or the disk reports an error, nobody knows whether the last transaction is there: a COMMIT
   whose fsync failed can come back to life after a crash. So the first error ends this object; whoever
   wants to know opens the journal again and reads. The same goes for whatever else interrupts a transaction
   (``KeyboardInterrupt``); only an ordinary exception is rolled back and survived.
3. A file that was removed or replaced behind our back must not swallow what we acknowledge: before every
   transaction, the names must still lead to the files that are open.
4. A connection never crosses a fork: SQLite does not survive it. A child finds its parent's journals ended.
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
from flowctl.journal import Fenced, files
from flowctl.journal.lock import Mutex, attempts

CHECKPOINT_PAGES = 1_000
"""Length of the log, in pages, at which it is copied: a log that is written over syncs twice as fast as one
that grows. SQLite tells the length only when it makes a checkpoint, and to ask the file system has a price: a
file whose times somebody has read gets new ones with the next write, and that takes a third longer to sync.
So rows are counted, and each checkpoint tells how many of them make how many pages."""

FIRST_CHECKPOINT = 100
"""Rows until the first, when nobody knows yet how large they are."""


class Database:
    """A journal's file, open. Links in ``path`` are resolved: two names of a file must share their locks."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = os.path.realpath(path)
        self.sessions = self.path + files.SESSIONS
        self._log = self.path + files.LOG
        self.files = (self.path, self._log, self.path + files.SHARED_MEMORY)
        self._mutex: Mutex | None = None
        self._ended: tuple[str, str] | None = None
        with files.trouble(self.path):
            if read_only:
                self._connection = files.open_reader(self.path)
            else:
                with files.closed_on_error(files.open_writer(self.path)) as self._connection:
                    self._mutex = Mutex(self.path + files.MUTEX)
        self.data_version()  # the first read opens the log, so that it can be known again
        if not read_only:
            self._keep_log()
        self._identity = self._look()
        self._rows = 0
        self._next_checkpoint = FIRST_CHECKPOINT
        _open.add(self)

    def _keep_log(self) -> None:
        """Have the log's name where a power cut does not take it. SQLite, too, syncs the folder when it has
        made the log, but does not mind if that fails; then whatever is in the log hangs on a name that may be
        gone.
        """
        with files.trouble(self.path), files.closed_on_error(self._connection):
            files.sync_folder(os.path.dirname(self.path))

    # --- reading

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        self._check_usable()
        for _ in attempts(files.PATIENCE):
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except UnicodeEncodeError:  # an id from a command line may be no text; then nothing is called so
                return []
            except sqlite3.Error as error:
                if not _is_busy(error):  # as it is while somebody mends what a dead process left
                    raise self._fail(error) from error
        raise self._fail(TimeoutError("it stayed busy"))

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        return next(iter(self.rows(sql, parameters)), None)

    def data_version(self) -> int:
        """A number that is another one after somebody else has committed."""
        version: int = self.rows("PRAGMA data_version")[0][0]
        return version

    def size(self) -> int:
        """Bytes of the database and its log; what is not there is 0."""
        sizes = []
        for file in self.files[:2]:
            with contextlib.suppress(OSError):
                sizes.append(os.stat(file).st_size)
        return sum(sizes)

    # --- writing

    def begin(self, *, wait: bool) -> bool:
        """Begin a write transaction, to be ended by ``work``; False if that would mean waiting.

        If told to wait it never returns False: waiting is bounded, then it is a ``StorageError``.
        """
        self._check_usable()
        if self._mutex is None:
            raise InternalError(f"the journal {self.path} was opened for reading only")
        for _ in attempts(files.PATIENCE if wait else 0):
            try:
                if self._mutex.try_acquire() and self._begin():
                    return True
            except OSError as error:
                raise self._fail(error) from error
        if wait:
            raise self._fail(TimeoutError(f"somebody else has been writing to it for {files.PATIENCE:g} s"))
        return False

    def busy(self) -> bool:
        """Whether somebody else is writing at this moment, so that ``begin`` would have to wait."""
        self._check_usable()
        if self._mutex is None:  # which ``begin`` has something to say about
            return False
        try:
            if not self._mutex.try_acquire():
                return True
            self._mutex.release()
        except OSError as error:
            raise self._fail(error) from error
        return False

    def _begin(self) -> bool:
        """Begin, holding the mutex; gives it back if there is nothing to hold it for."""
        begun = False
        try:
            if self._look() != self._identity:
                raise self._fail(FileNotFoundError("its files were removed or replaced while it was open"))
            self._connection.execute("BEGIN IMMEDIATE")
            begun = True
        except sqlite3.Error as error:
            if not _is_busy(error):  # as it is with a program that knows nothing of the mutex
                raise self._fail(error) from error
        finally:
            if not begun:
                self._release()
        return begun

    @contextlib.contextmanager
    def work(self) -> Iterator[sqlite3.Connection]:
        """The transaction that was begun: committed at the end, rolled back if the body raises."""
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
        if self.usable:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._fail(error) from error

    def _checkpoint_if_due(self) -> None:
        """Copy the log to the database as far as readers allow; when all is copied SQLite starts it over."""
        written = self._connection.total_changes - self._rows
        if written >= self._next_checkpoint:
            self._rows += written
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._next_checkpoint = min(written * CHECKPOINT_PAGES // max(pages, 1), 4 * CHECKPOINT_PAGES)

    # --- ending

    @property
    def usable(self) -> bool:
        """Whether this connection has not ended, in whatever way."""
        return self._ended is None

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self.usable:
            if self._mutex is not None and not self._mutex.acquire(files.PATIENCE):
                raise self._fail(TimeoutError("somebody else has been writing to it all the time"))
            self._end("it was closed", "open it again")

    def leave_behind(self) -> None:
        """End in a forked child: touch nothing, it is the parent's."""
        self._ended = ("it was opened by the parent process", "open it again after the fork")
        _left_behind.append(self._connection)

    def _check_usable(self) -> None:
        if self._ended is not None:
            reason, hint = self._ended
            raise StorageError(f"the journal {self.path} cannot be used: {reason}", hint=hint)

    def _fail(self, error: BaseException) -> StorageError:
        """End for good, because nobody knows what has become of the last transaction."""
        reason = str(error) or type(error).__name__
        hint = "whether the last write is there is unknown; open it again and look"
        if _is_full(error):
            reason, hint = "the disk is full", "make room, then go on with flowctl resume"
        if self.usable:
            self._end(reason, hint)
        return StorageError(f"the journal {self.path} failed: {reason}", hint=hint)

    def _end(self, reason: str, hint: str) -> None:
        self._ended = (reason, hint)
        _open.discard(self)
        with contextlib.suppress(sqlite3.Error):  # it may be what is broken
            self._connection.close()
        if self._mutex is not None:
            self._mutex.close()

    def _release(self) -> None:
        if self._mutex is not None and self.usable:
            self._mutex.release()

    def _look(self) -> tuple[int, int, bool] | None:
        """What the names lead to: which database, and a log or none (not which: see ``CHECKPOINT_PAGES``)."""
        try:
            database = os.stat(self.path)
        except OSError:
            return None
        return database.st_dev, database.st_ino, os.access(self._log, os.F_OK)


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else had a lock that SQLite needed. Errors of the module itself have no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _is_full(error: BaseException) -> bool:
    """Whether there was no room: SQLite says so in its way, files beside the database in the system's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL


_open: weakref.WeakSet[Database] = weakref.WeakSet()
_left_behind: list[sqlite3.Connection] = []
"""Connections of the parent process, kept: closing one would touch files that are not ours."""


def _after_fork() -> None:
    for database in list(_open):
        database.leave_behind()


os.register_at_fork(after_in_child=_after_fork)
