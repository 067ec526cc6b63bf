"""Retention: discarding runs that have ended long ago, while others work on the database.

1. What belongs together is discarded together, and only when all of it has ended so long ago: a **family** is
   everything of one workflow id, its chain (``ID~2``), children (``ID/…``) and what undid them. A family that
   a run which is kept repeats (``Run.origin``) is kept as well.
2. No transaction is long, and between two of them others get their turn. A run disappears at once, with its
   row and its messages; its entries, of which there may be many, follow in portions. What a process that was
   killed has left of them is the next one's work.
3. The number of a run is never given twice, so the family of the latest run is kept, however old it is.
4. A document goes when no run needs it, no deployed version is it, and nobody has asked for it for two days:
   then nobody is about to start a run with it.
5. The row of a session that has died goes when no run names it.
6. What is freed is there for new runs; what of it is at the end of the file is given back to the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import msgspec

from flowctl.journal import files
from flowctl.journal.database import Database
from flowctl.journal.lock import LONGEST_PAUSE, is_alive
from flowctl.journal.sqlite import DAY
from flowctl.state import ENDED

PORTION = 2_000
"""Rows, about, that one transaction deletes: it takes some 20 ms."""

ROOTS = 100
"""Families that are looked at in one transaction."""

PAGES = 500
"""Pages that one transaction gives back to the disk."""

UNUSED = 2 * DAY
"""Seconds for which nobody must have asked for a document that is discarded."""

# Ids put together from names of our own, hence the exceptions from the rule against it. A family's ids are
# ranges of the index: what follows ``/`` and ``~`` in the order of characters is ``0`` and DEL.
_ENDED = ", ".join(f"'{status}'" for status in sorted(ENDED))
_ROOTS = f"""
    SELECT key, id FROM runs
    WHERE key < ? AND parent_id IS NULL AND id = workflow_id AND status IN ({_ENDED}) AND completed_at <= ?
    ORDER BY key DESC LIMIT ?
"""  # noqa: S608
_OF_FAMILY = """
    (SELECT * FROM runs WHERE id = :family
    UNION ALL SELECT * FROM runs WHERE id > :family || '/' AND id < :family || '0'
    UNION ALL SELECT * FROM runs WHERE id > :family || '~' AND id < :family || char(127))
"""
_FAMILY = f"""
    SELECT count(*), sum(entries), max(completed_at), max(key), min(status IN ({_ENDED})) FROM {_OF_FAMILY}
"""  # noqa: S608
_DISCARD = f"INSERT INTO discarded SELECT key FROM {_OF_FAMILY}"  # noqa: S608
_WITH_IT = (
    "DELETE FROM inbox WHERE run IN (SELECT run FROM discarded)",
    "DELETE FROM runs WHERE key IN (SELECT run FROM discarded)",
    "UPDATE sessions SET last_seq = 0, last_hash = zeroblob(32)"
    " WHERE (SELECT run FROM entries WHERE seq = last_seq) IN (SELECT run FROM discarded)",
)
_DISCARD_ENTRIES = (
    "DELETE FROM entries WHERE seq IN"
    " (SELECT seq FROM entries WHERE run IN (SELECT run FROM discarded) LIMIT ?)"
)
_DISCARD_DOCUMENT = "DELETE FROM documents WHERE digest = ? AND ifnull(used_at, 0) < ?"
_REPEATS = "SELECT id, json_extract(origin, '$.run') FROM runs WHERE origin IS NOT NULL"
_NEEDED = """
    SELECT '', digest FROM definitions
    UNION SELECT id, digest FROM runs
    UNION SELECT id, json_extract(origin, '$.digest') FROM runs WHERE origin IS NOT NULL
    UNION SELECT runs.id, pin.value FROM runs, json_each(runs.pins) AS pinned, json_each(pinned.value) AS pin
    UNION SELECT runs.id, json_extract(data, '$.data.from.digest')
        FROM runs CROSS JOIN entries ON run = key AND path = '' AND kind = 'migrated'
"""
Rows = Callable[..., list[Any]]


class Family(msgspec.Struct, frozen=True):
    """What is discarded together: the workflow id, when the last of it ended, and how much it is."""

    id: str
    completed_at: int
    runs: int
    entries: int


class Discarded(msgspec.Struct):
    """What was discarded, or would be. ``freed`` are bytes that are there for new runs, ``returned`` those
    that the disk has got back.
    """

    families: list[Family] = []
    runs: int = 0
    entries: int = 0
    documents: int = 0
    sessions: int = 0
    freed: int = 0
    returned: int = 0

    def add(self, families: list[Family]) -> None:
        """Count some more."""
        self.families += families
        self.runs += sum(family.runs for family in families)
        self.entries += sum(family.entries for family in families)


def preview(path: str, before: int, now: int) -> Discarded:
    """What ``discard`` would discard, as it is now. Errors as of any reader."""
    found, gone = Discarded(), set[str]()
    with files.trouble(path), contextlib.closing(files.open_reader(path)) as connection:
        connection.execute("BEGIN")

        def rows(sql: str, parameters: Any = ()) -> list[Any]:
            return connection.execute(sql, parameters).fetchall()

        key = _latest(rows)
        while key:
            key, families = _page(rows, key, before, gone)
            found.add(families)
        found.documents = len(_unused(rows, now, gone))
        found.sessions = len(_dead(rows, path + files.SESSIONS))
    return found


def discard(path: str, before: int, now: int) -> Discarded:
    """Discard what ended at ``before`` (milliseconds since the epoch) or earlier. ``NotFound`` if there is no
    database; ``UsageError`` and ``StorageError`` as of any writer.
    """
    with files.trouble(path), contextlib.closing(files.open_reader(path)):
        pass  # a slip of the pen makes no database
    with contextlib.closing(Database(path)) as database:
        return _Discarding(database).discard(before, now)


class _Discarding:
    """One go at it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._done = Discarded()

    def discard(self, before: int, now: int) -> Discarded:
        """All of it."""
        size, free = self._bytes()
        self._sweep()  # what somebody else has left
        key, gone = _latest(self._db.rows), set[str]()
        while key:
            with self._turn() as connection:
                key, families = _page(self._db.rows, key, before, gone)
                connection.executemany(_DISCARD, [{"family": family.id} for family in families])
                for statement in _WITH_IT:
                    connection.execute(statement)
            self._done.add(families)
            self._sweep()
        self._discard_documents(now)
        self._discard_sessions()
        self._give_back()
        size_now, free_now = self._bytes()
        self._done.returned, self._done.freed = max(0, size - size_now), max(0, free_now - free)
        return self._done

    @contextlib.contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """A transaction; then others, who look every few milliseconds, get theirs."""
        begun = monotonic()
        with self._db.transaction() as connection:
            yield connection
        sleep(max(LONGEST_PAUSE, monotonic() - begun))

    def _sweep(self) -> None:
        """Delete the entries of runs that are gone."""
        while self._db.rows("SELECT 1 FROM discarded LIMIT 1"):
            with self._turn() as connection:
                if connection.execute(_DISCARD_ENTRIES, (PORTION,)).rowcount < PORTION:
                    connection.execute("DELETE FROM discarded")

    def _discard_documents(self, now: int) -> None:
        """Who uses one anew notes that first: so whether anything needs it can be found out beforehand."""
        unused = [(digest, now // 1000 - UNUSED) for digest in _unused(self._db.rows, now, set())]
        if unused:
            with self._turn() as connection:
                connection.executemany(
                    "DELETE FROM documents WHERE digest = ? AND ifnull(used_at, 0) < ?", unused
                )
                connection.execute("DELETE FROM sources WHERE digest NOT IN (SELECT digest FROM documents)")
            self._done.documents = len(unused)

    def _discard_sessions(self) -> None:
        dead = [(session,) for session in _dead(self._db.rows, self._db.sessions)]
        if dead:
            with self._turn() as connection:
                connection.executemany("DELETE FROM sessions WHERE id = ?", dead)
            self._done.sessions = len(dead)

    def _give_back(self) -> None:
        """Shorten the file. One that was made before flowctl did this keeps its length."""
        while self._db.rows("PRAGMA freelist_count")[0][0] and self._db.rows("PRAGMA auto_vacuum") == [(2,)]:
            with self._turn() as connection:
                for _ in range(PAGES):  # Python's module makes one step of this statement, and that is a page
                    connection.execute("PRAGMA incremental_vacuum(1)")

    def _bytes(self) -> tuple[int, int]:
        """Size of the database, and how much of it is free."""
        names = ("page_size", "page_count", "freelist_count")
        size, pages, free = (self._db.rows(f"PRAGMA {name}")[0][0] for name in names)
        return size * pages, size * free


# --- what is to go. ``rows`` answers a query, of a reader or in a transaction.


def _latest(rows: Rows) -> int:
    return int(rows("SELECT ifnull(max(key), 0) FROM runs")[0][0])


def _page(rows: Rows, below: int, before: int, gone: set[str]) -> tuple[int, list[Family]]:
    """Some of the families that are to go, latest first, of those numbered ``below``; and the number to go on
    from, 0 after the last. They are added to ``gone``: what is gone repeats nothing any more.
    """
    latest, repeats = _latest(rows), _repeats(rows)
    found: list[Family] = []
    roots = rows(_ROOTS, (below, before, ROOTS))
    for number, root in roots:
        below = number
        [(runs, entries, completed_at, last, ended)] = rows(_FAMILY, {"family": root})
        if ended and completed_at <= before and last != latest and repeats.get(root, gone) <= gone:
            found.append(Family(root, completed_at, runs, entries))
            gone.add(root)
        if sum(family.runs for family in found) >= PORTION:
            break
    return below if roots else 0, found


def _repeats(rows: Rows) -> dict[str, set[str]]:
    """By family, the families that repeat runs of it."""
    repeats: dict[str, set[str]] = {}
    for run, origin in rows(_REPEATS):
        repeats.setdefault(_family_of(origin), set()).add(_family_of(run))
    return repeats


def _family_of(run_id: str) -> str:
    return run_id.partition("/")[0].partition("~")[0]


def _unused(rows: Rows, now: int, gone: set[str]) -> list[str]:
    """Documents that nothing needs once these families are gone."""
    old = rows("SELECT digest FROM documents WHERE ifnull(used_at, 0) < ?", (now // 1000 - UNUSED,))
    needed = {digest for run, digest in (rows(_NEEDED) if old else ()) if _family_of(run) not in gone}
    return [digest for (digest,) in old if digest not in needed]


def _dead(rows: Rows, folder: str) -> list[str]:
    """Sessions that have died and that no run names."""
    named = set(rows("SELECT DISTINCT session FROM runs WHERE session IS NOT NULL"))
    sessions = [session for session in rows("SELECT id FROM sessions") if session not in named]
    return [session for (session,) in sessions if not is_alive(folder, session)]
