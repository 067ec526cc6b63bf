"""Auditing a database: that what is there is what was written, all of it, and nothing else.

Everything is read in one snapshot, so it may be done while others write. What is looked at, and what damage
shows by:

==================  ================================================================================
the file            SQLite's own ``integrity_check``: its trees, and that rows and indexes agree
the schema          the same statements as the migrations make anew
entries             the hash chain of each run (``verify``); none belongs to no run
rows of runs        their seals (``seals``), and the chain, which begins at the input; each will be due
the end             the last entry that each session has written, as the session noted it
messages            their seals; none belongs to no run
heartbeats          the same
documents           their digests, and those of their texts; all that runs have pinned are there
deployed versions   their seals, and their documents
==================  ================================================================================

What no look at a database can find: that it is, as a whole, as it was some time ago (an old copy, or a log
that was removed), and what somebody has changed who computed every hash anew.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from flowctl import values
from flowctl.errors import StorageError
from flowctl.journal import Fact, Run, as_accepted, decode_entry, files, genesis
from flowctl.journal.reader import fingerprint
from flowctl.journal.rows import RUN_COLUMNS, run_from_row
from flowctl.journal.seals import SEALED, seal
from flowctl.journal.verify import Break, Link, check_chain
from flowctl.state import ENDED
from flowctl.wall_clock import wall_clock

_MOST_FINDINGS = 100
"""Findings of SQLite's own check that are asked for: a broken page has thousands."""

LATE = 120_000
"""Milliseconds. What hinders a run is looked at again every minute; it cannot be due much later than that."""

_RUNS = f"SELECT {', '.join(RUN_COLUMNS)}, seal FROM runs ORDER BY key"  # noqa: S608  # names of our own
_SEALED_OF_RUN = [RUN_COLUMNS.index(name) for name in SEALED["runs"]]
_ENTRY = "SELECT seq, path, kind, attempt, generation, at, data, hash FROM entries WHERE run = ? "
_DEFINITIONS = f"SELECT {', '.join(SEALED['definitions'])}, seal FROM definitions"  # noqa: S608
_INBOX = f"""
    SELECT id, seq, inbox.seal, {", ".join(f"inbox.{name}" for name in SEALED["inbox"])}
    FROM inbox LEFT JOIN runs ON runs.key = inbox.run ORDER BY seq
"""  # noqa: S608
_HEARTBEATS = f"""
    SELECT id, beat.run, beat.seal, {", ".join(f"beat.{name}" for name in SEALED["heartbeats"])}
    FROM heartbeats AS beat LEFT JOIN runs ON runs.key = beat.run ORDER BY beat.run, path
"""  # noqa: S608
_LOST_ENTRIES = (
    "SELECT run, count(*) FROM entries WHERE run NOT IN (SELECT key FROM runs)"
    " AND run NOT IN (SELECT run FROM discarded) GROUP BY run"
)
_STRAYS = "SELECT id FROM runs WHERE session IS NOT NULL AND session NOT IN (SELECT id FROM sessions)"
_NEVER_DUE = f"""
    SELECT id FROM runs
    WHERE session IS NULL AND status NOT IN ({", ".join(f"'{status}'" for status in sorted(ENDED))})
        AND (due_at IS NULL AND (wake_at IS NOT NULL OR status IN ('created', 'running', 'compensating'))
            OR due_at > max(ifnull(wake_at, 0), ?) + {LATE})
"""  # noqa: S608
_SESSIONS = """
    SELECT last_seq, last_hash, hash, pid FROM sessions LEFT JOIN entries ON seq = last_seq
    WHERE last_seq > 0 ORDER BY last_seq
"""


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it was written. ``what`` is a word for programs (``audit``'s table);
    ``run`` is None for what is of no single run, ``seq`` and ``path`` for what is no single entry.
    """

    what: str
    message: str
    run: str | None = None
    seq: int | None = None
    path: str | None = None


class Report(msgspec.Struct):
    """What was looked at, how much of it, and what is wrong."""

    database: str
    runs: int = 0
    entries: int = 0
    messages: int = 0
    documents: int = 0
    problems: list[Problem] = []


def audit(path: str) -> Report:
    """Audit the database at ``path``, read-only. Errors as of any reader, for a file that is none of ours;
    ``StorageError`` if it cannot be read.
    """
    with files.trouble(path):
        try:
            with contextlib.closing(files.open_reader(path)) as connection:
                return audit_connection(connection, path)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
            return Report(path, problems=[_damage(error)])


def audit_connection(connection: sqlite3.Connection, path: str) -> Report:
    """The same for a database that is open."""
    return _Audit(connection, Report(path)).report()


class _Audit:
    """One audit: a snapshot, and what was found in it."""

    def __init__(self, connection: sqlite3.Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._documents: set[str] = set()

    def report(self) -> Report:
        """Look at everything. Where SQLite cannot read on, that is a finding, and the next thing is looked
        at.
        """
        self._connection.text_factory = _as_stored
        self._connection.execute("BEGIN")
        looks: tuple[Callable[[], Iterable[Problem]], ...] = (
            *(self._file, self._schema, self._texts, self._runs, self._due, self._end),
            *(self._inbox, self._heartbeats, self._registry),
        )
        for look in looks:
            try:
                self._report.problems += look()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise StorageError(f"{self._report.database} cannot be read: {error}") from error
                if (found := _damage(error)) not in self._report.problems:
                    self._report.problems.append(found)
        self._connection.execute("ROLLBACK")
        return self._report

    def _rows(self, sql: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        return iter(self._connection.execute(sql, parameters))

    # --- the file

    def _file(self) -> Iterator[Problem]:
        for (message,) in self._rows(f"PRAGMA integrity_check({_MOST_FINDINGS})"):
            if message != "ok":
                yield Problem("file", f"SQLite: {message}")

    def _schema(self) -> Iterator[Problem]:
        there = set(self._rows(_SCHEMA))
        for _, name, *_ in sorted(_wanted_schema() ^ there, key=str):
            yield Problem("schema", f"{name} is not defined as flowctl defines it")

    # --- documents and the registry

    def _texts(self) -> Iterator[Problem]:
        """Documents, and the texts that they are known by."""
        texts = {(sha256, digest) for sha256, digest in self._rows("SELECT sha256, digest FROM sources")}
        for digest, name, version, body, source in self._rows(
            "SELECT digest, name, version, body, source FROM documents"
        ):
            self._documents.add(digest)
            self._report.documents += 1
            if not (_is_body(digest, name, version, body) and (_fingerprint(source), digest) in texts):
                what = f"the document {_cut(name)}@{_cut(version)} ({_cut(digest)}) was changed"
                yield Problem("document", what)
        for digest in sorted({_cut(digest) for _, digest in texts if digest not in self._documents}):
            yield Problem("document", f"a text is known of a document that is not there ({digest})")

    def _registry(self) -> Iterator[Problem]:
        for *row, sealed in self._rows(_DEFINITIONS):
            name, version, digest, *_ = row
            if not _is_sealed("definitions", row, sealed):
                yield Problem("definition", f"the deployed {_cut(name)}@{_cut(version)} was changed")
            elif digest not in self._documents:
                yield Problem("definition", f"the document of the deployed {name}@{version} is missing")

    # --- runs

    def _runs(self) -> Iterator[Problem]:
        for *row, sealed in self._rows(_RUNS):
            self._report.runs += 1
            name = _cut(row[RUN_COLUMNS.index("id")])
            intact = _is_sealed("runs", [row[place] for place in _SEALED_OF_RUN], sealed)
            try:
                run = run_from_row(row)
                broken = check_chain(run, self._start(run), self._links(run.key))
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                yield msgspec.structs.replace(_damage(error), run=name)
                continue
            except (
                msgspec.MsgspecError,
                ValueError,
                TypeError,
                LookupError,
            ):  # no JSON, or not what it is of
                yield Problem("run", "its row holds what no run can", name)
                continue
            if not intact:
                yield Problem("run", _changed_row(broken), name)
                continue
            if broken is not None:
                yield Problem("entry", broken.message, name, broken.seq, broken.path)
            yield from self._pinned(run)
        for key, count in self._rows(_LOST_ENTRIES):
            self._report.entries += count
            yield Problem("entry", f"{count} entries belong to a run (number {key}) that is not there")

    def _pinned(self, run: Run) -> Iterator[Problem]:
        children = [digest for pins in (run.pins or {}).values() for digest in pins.values()]
        for digest in dict.fromkeys([run.digest, *children]):
            if digest not in self._documents:
                yield Problem("document", f"its document {digest} is missing", run.id)

    def _start(self, run: Run) -> bytes:
        """Where its chain begins: at the document that it was accepted with."""
        migrated = self._rows(_ENTRY + "AND path = '' AND kind = 'migrated' ORDER BY seq LIMIT 1", run.key)
        return genesis(as_accepted(run, [decode_entry(row) for row in migrated]))

    def _links(self, key: int) -> Iterator[Link]:
        for seq, path, kind, attempt, generation, at, data, digest in self._rows(
            _ENTRY + "ORDER BY seq", key
        ):
            self._report.entries += 1
            stored = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else b""
            yield Link(seq, Fact(path, kind, at, attempt, generation), stored, digest)

    def _due(self) -> Iterator[Problem]:
        """When a run is to be taken up changes without the rest of its row, and has no seal."""
        for (run,) in self._rows(_NEVER_DUE, wall_clock()):
            yield Problem(
                "run", "nobody would take it up in time: when it is due is not what was written", run
            )

    def _end(self) -> Iterator[Problem]:
        """What each session has written last must be there."""
        for seq, noted, found, pid in self._rows(_SESSIONS):
            if found is None:
                yield Problem("end", f"the end is lost: process {pid} has written up to entry {seq}")
            elif found != noted:
                yield Problem("end", f"entry {seq} is not the one that process {pid} has written", seq=seq)
        for (run,) in self._rows(_STRAYS):
            yield Problem("end", "its row is older than the rest: it names a session that has left", run)

    def _inbox(self) -> Iterator[Problem]:
        for run_id, seq, sealed, *row in self._rows(_INBOX):
            self._report.messages += 1
            if run_id is None:
                yield Problem("message", f"message {seq} belongs to a run that is not there")
            elif not _is_sealed("inbox", row, sealed):
                yield Problem("message", f"its message {seq} was changed", run_id)

    def _heartbeats(self) -> Iterator[Problem]:
        for run_id, key, sealed, *row in self._rows(_HEARTBEATS):
            if run_id is None:
                yield Problem("heartbeat", f"a heartbeat belongs to a run (number {key}) that is not there")
            elif not _is_sealed("heartbeats", row, sealed):
                yield Problem("heartbeat", "how far its attempt in flight had come was changed", run_id)


_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'"


@functools.cache
def _wanted_schema() -> frozenset[tuple[Any, ...]]:
    from flowctl.journal import migrations  # it imports sqlite_utils, which takes its time

    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        migrations.apply(fresh)
        return frozenset(fresh.execute(_SCHEMA))


def _as_stored(raw: bytes) -> str:
    """Text as it is, also where it is none: to be found out by hash, not by an exception."""
    return raw.decode("utf-8", "surrogateescape")


def _cut(value: Any) -> str:
    """Something of a row to name it by: if it is damaged, it may be anything, and long."""
    return str(value)[:1000]


def _changed_row(broken: Break | None) -> str:
    """What to say of a row without its seal, whose run has this chain."""
    if broken is None:
        return "its row was changed: its state, or what came of it, is not what was written"
    if not broken.before:
        return "its row was changed: its input, or what else it was accepted with, is not what was written"
    return f"its row was changed, and {broken.message}"


def _is_sealed(table: str, values: Sequence[Any], sealed: Any) -> bool:
    try:
        return bool(seal(table, values) == sealed)
    except UnicodeEncodeError:
        return False


def _is_body(digest: Any, name: Any, version: Any, body: Any) -> bool:
    """Whether that is the document of this digest, and its name and version are its."""
    try:
        if f"sha256:{values.digest(body.encode())}" != digest:
            return False
        document = msgspec.json.decode(body)
        return bool((document["name"], document.get("version", 1)) == (name, version))
    except (ValueError, LookupError, AttributeError, msgspec.MsgspecError):
        return False


def _fingerprint(source: Any) -> str:
    try:
        return fingerprint(source)
    except (ValueError, AttributeError):
        return ""


_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)


def _is_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """Whether the file could be read, but not understood. Some errors have no code: a message that quotes
    damaged text is not even text.
    """
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE


def _damage(error: Exception) -> Problem:
    what = str(error) if isinstance(error, sqlite3.Error) else "its schema is not text"
    return Problem("file", f"SQLite: {what}")
