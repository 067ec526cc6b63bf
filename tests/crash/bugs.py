"""Bugs, to be seeded into the processes of a harness: does it find them?

Each is a function that changes flowctl in this process. ``find_bugs`` runs the harnesses against them.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flowctl.journal import Change, Message, files, session, sqlite
from flowctl.journal.database import Database
from flowctl.journal.sqlite import SqliteJournal
from flowctl.runtimes.embedded import EmbeddedRuntime
from flowctl.runtimes.timers import Timers

OFF, NORMAL = 0, 1
put = setattr  # what is put in place of something does not pretend to be of its type


def synchronous(level: int) -> Callable[[], None]:
    """SQLite syncs less than it has to."""

    def seed() -> None:
        files.WRITER_PRAGMAS["synchronous"] = level

    seed.__doc__ = f"`synchronous` is {level}, not 2 (`FULL`)."
    return seed


def no_fence() -> None:
    """Who was declared dead goes on writing."""
    put(session.Session, "fence", lambda *_: None)


def commit_again() -> None:
    """A COMMIT that failed is given again, and that there is nothing to commit any more counts as success."""

    @contextlib.contextmanager
    def work(database: Database) -> Iterator[sqlite3.Connection]:
        connection = database._connection
        try:
            yield connection
            for _ in range(2):
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("COMMIT")
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            raise database._fail(error) from error
        except BaseException:
            database._roll_back()
            raise
        finally:
            database._release()

    put(Database, "work", work)


def lost_tail() -> None:
    """Every third commit loses its last entry."""
    write, commits = sqlite._write, itertools.count()

    def forgetful(connection: sqlite3.Connection, batch: Any, *rows_of_runs: Any) -> None:
        if next(commits) % 3 == 2 and batch.rows:
            batch.rows.pop()
        write(connection, batch, *rows_of_runs)

    put(sqlite, "_write", forgetful)


def undo_twice() -> None:
    """What undoes a step is called twice."""
    perform = EmbeddedRuntime.perform

    def eager(runtime: EmbeddedRuntime, attempt: Any, done: Any, heard: Any) -> Any:
        if str(attempt.path).endswith(".undo"):
            perform(runtime, attempt, lambda outcome: None, heard)
        return perform(runtime, attempt, done, heard)

    put(EmbeddedRuntime, "perform", eager)


def effect_first() -> None:
    """A commit is made one commit later than it is acknowledged: effects come before what they hang on."""
    try_commit, close = SqliteJournal.try_commit, SqliteJournal.close
    late: dict[int, Sequence[Change]] = {}

    def hasty(journal: SqliteJournal, changes: Sequence[Change]) -> bool:
        before, late[id(journal)] = late.pop(id(journal), ()), changes
        return not before or try_commit(journal, before)

    def leave(journal: SqliteJournal) -> None:
        before = late.pop(id(journal), ())
        if before:
            try_commit(journal, before)
        close(journal)

    put(SqliteJournal, "try_commit", hasty)
    put(SqliteJournal, "close", leave)


def signals_forgotten() -> None:
    """Every fifth message is acknowledged and not kept."""
    deliver, messages = SqliteJournal.deliver, itertools.count()

    def forgetful(journal: SqliteJournal, message: Message) -> tuple[Message, bool]:
        return (message, True) if next(messages) % 5 == 4 else deliver(journal, message)

    put(SqliteJournal, "deliver", forgetful)


def early_timers() -> None:
    """A timer trusts the loop's clock, and does not look whether it is time."""

    def wake(timers: Timers) -> None:
        timers._handle, first = None, timers._heap[0][0]
        due = []
        while timers._heap and timers._heap[0][0] <= first:
            due.append(heapq.heappop(timers._heap)[2])
        timers._sleep()
        for timer in due:
            timer.ring()

    put(Timers, "_wake", wake)


BUGS: Mapping[str, Callable[[], None]] = {
    "synchronous-normal": synchronous(NORMAL),
    "synchronous-off": synchronous(OFF),
    "no-fence": no_fence,
    "commit-again": commit_again,
    "lost-tail": lost_tail,
    "undo-twice": undo_twice,
    "effect-first": effect_first,
    "signals-forgotten": signals_forgotten,
    "timers-trust-the-loop": early_timers,
}
