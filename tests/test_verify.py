"""``verify``: what is wrong with a database is found, named and placed, whoever works on it meanwhile."""

# ruff: noqa: E501 - a table is read by the line
from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from flowctl.errors import NotFound, StorageError, UsageError
from flowctl.journal import Run, files
from flowctl.journal import audit as auditing
from flowctl.journal.audit import Problem, audit
from flowctl.journal.database import Database
from flowctl.journal.rows import RUN_COLUMNS, run_to_row
from flowctl.journal.seals import SEALED, UNSEALED, seal
from flowctl.journal.sqlite import SqliteJournal
from flowctl.testing.journal_conformance import append, new_run
from tests.cli_helpers import Flowctl, caller
from tests.keeping.population import populate


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a bit of everything, complete in its file."""
    path = tmp_path_factory.mktemp("sound") / "flowctl.db"
    populate(path)
    Database(str(path)).close()
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    path = tmp_path / "flowctl.db"
    shutil.copy(sound, path)
    return path


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path) -> Flowctl:
    monkeypatch.setenv("FLOWCTL_DB", str(path))
    return caller(capsys)


def edit(path: Path, sql: str) -> None:
    """As somebody does with a shell."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql).rowcount > 0


def problems(path: Path) -> list[Problem]:
    return audit(str(path)).problems


OF_LINE = "run = (SELECT key FROM runs WHERE id = 'line')"

EDITS = {
    "data of an entry": (f"UPDATE entries SET data = replace(data, 'zw', 'Zw') WHERE {OF_LINE}", "line", "entry", "was changed"),
    "an entry in the middle": (f"DELETE FROM entries WHERE {OF_LINE} AND path = 'b'", "line", "entry", "or what came before it"),
    "the end of a run": (f"DELETE FROM entries WHERE {OF_LINE} AND seq = (SELECT max(seq) FROM entries WHERE {OF_LINE})", "line", "entry", "1 of 4 entries are missing at the end"),
    "all entries of a run": (f"DELETE FROM entries WHERE {OF_LINE}", "line", "entry", "4 of 4 entries are missing"),
    "an entry too many": (f"INSERT INTO entries SELECT 999, run, 'x', kind, attempt, generation, at, data, hash FROM entries WHERE {OF_LINE} AND path = 'b'", "line", "entry", "entry 999 (completed at x)"),
    "an input": ("UPDATE runs SET input = '{\"n\":9}' WHERE id = 'line'", "line", "run", "its input, or what else it was accepted with"),
    "a state": ("UPDATE runs SET status = 'failed' WHERE id = 'line'", "line", "run", "its state, or what came of it"),
    "an output": ("UPDATE runs SET output = '1' WHERE id = 'line'", "line", "run", "its state, or what came of it"),
    "how far a run had come": ("UPDATE runs SET size = size + 1 WHERE id = 'line'", "line", "entry", "do not agree"),
    "who has a run": ("UPDATE runs SET session = 'somebody' WHERE id = 'line'", "line", "end", "a session that has left"),
    "that a run is never due": ("UPDATE runs SET due_at = NULL WHERE id = 'wait-too'", "wait-too", "run", "nobody would take it up"),
    "when a run is due": ("UPDATE runs SET due_at = due_at + 9000000000000 WHERE id = 'wait-too'", "wait-too", "run", "nobody would take it up"),
    "a row that is no run's": ("UPDATE runs SET input = '{' WHERE id = 'line'", "line", "run", "what no run can"),
    "a whole run": ("DELETE FROM runs WHERE id = 'line'", None, "entry", "belong to a run (number 1) that is not there"),
    "a message": ("UPDATE inbox SET data = '1' WHERE name = 'never'", "wait-too", "message", "was changed"),
    "how far an attempt has come": ("INSERT INTO heartbeats VALUES (1, 'a', 1, '{}', 0)", "line", "heartbeat", "was changed"),
    "whose attempt that is": ("INSERT INTO heartbeats VALUES (999, 'a', 1, '{}', 0)", None, "heartbeat", "number 999) that is not there"),
    "a document": ("UPDATE documents SET body = replace(body, 'zw', 'Zw') WHERE rowid = 1", None, "document", "was changed"),
    "the text of a document": ("UPDATE documents SET source = '' WHERE rowid = 1", None, "document", "was changed"),
    "a deployed version": ("UPDATE definitions SET deprecated = NULL", None, "definition", "the deployed deployed@1 was changed"),
    "an index": ("DROP INDEX runs_by_status", None, "schema", "runs_by_status is not defined"),
    "the end that a session noted": ("UPDATE sessions SET last_seq = last_seq + 1", None, "end", "the end is lost"),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "run", "what", "message"), EDITS.values(), ids=EDITS)
def test_what_somebody_changed_is_named(
    path: Path, sql: str, run: str | None, what: str, message: str
) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)
    found = problems(path)
    assert [(problem.run, problem.what) for problem in found if message in problem.message] == [
        (run, what)
    ], found


def test_an_entry_that_was_changed_is_placed(path: Path) -> None:
    edit(path, f"UPDATE entries SET data = replace(data, 'zw', 'Zw') WHERE {OF_LINE}")
    [problem] = problems(path)
    assert (problem.run, problem.path) == ("line", "a")
    with contextlib.closing(SqliteJournal.open(path, read_only=True)) as journal:
        assert problem.seq in [entry.seq for entry in journal.entries("line")]


def test_a_document_that_is_missing_is_named_by_who_needs_it(path: Path) -> None:
    edit(path, "DELETE FROM documents WHERE digest = (SELECT digest FROM runs WHERE id = 'parent/kid')")
    edit(path, "DELETE FROM sources WHERE digest NOT IN (SELECT digest FROM documents)")
    found = problems(path)
    assert {problem.run for problem in found} == {"parent", "parent/kid"}
    assert {problem.what for problem in found} == {"document"}


def test_an_end_that_the_disk_lost_is_found(path: Path) -> None:
    """Whole transactions are gone, but not the note of the session that wrote them."""
    edit(path, "DELETE FROM entries WHERE seq = (SELECT max(last_seq) FROM sessions)")
    assert "end" in [problem.what for problem in problems(path)]


def test_a_page_that_sqlite_cannot_read_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    path.write_bytes(content)
    assert "file" in [problem.what for problem in problems(path)]


def test_a_checksum_is_found_to_be_wrong_whatever_the_value_became(path: Path) -> None:
    edit(path, "UPDATE runs SET principal = CAST(x'ff' AS TEXT) WHERE id = 'line'")
    assert [problem.run for problem in problems(path)] == ["line"]


def no_database(path: Path) -> None:
    path.write_text("my thesis " * 1_000)


def another_programs(path: Path) -> None:
    edit_header(path, "application_id = 7")


def newer(path: Path) -> None:
    edit_header(path, f"user_version = {files.SCHEMA + 1}")


def edit_header(path: Path, pragma: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_database, "not an SQLite database"),
        (another_programs, "another program"),
        (newer, "newer flowctl"),
    ],
    ids=["no database", "another program's", "newer"],
)
def test_what_is_no_database_of_ours_is_said_and_left_alone(
    path: Path, flowctl: Flowctl, change: Callable[[Path], None], message: str
) -> None:
    change(path)
    before = path.read_bytes()
    said = flowctl("verify")
    assert (said.code, message in said.err) == (2, True)
    assert path.read_bytes() == before
    with pytest.raises(UsageError):
        audit(str(path))


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        audit(str(tmp_path / "slip.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_read_is_not_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> list[Problem]:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr(auditing._Audit, "_runs", broken)
    with pytest.raises(StorageError, match="cannot be read"):
        audit(str(path))


# --- while others work


def test_nothing_is_wrong_while_somebody_writes(path: Path) -> None:
    """Between two commits, in the middle of a run whose row is some entries behind."""
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        run = claimed_with_document(journal)
        for step in range(5):
            append(journal, run, f"s{step}")
            report = audit(str(path))
            assert (report.problems, report.entries) == ([], 42 + step + 1)


def claimed_with_document(journal: SqliteJournal) -> Run:
    """A new run of a document that the database has."""
    digest = journal.definitions()[0].digest
    journal.create(new_run("new", digest=digest))
    run = journal.claim("new")
    assert run is not None
    return run


def test_one_moment_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed meanwhile is not seen, so that its parts cannot contradict each other."""
    look = auditing._Audit._schema

    def meanwhile(self: auditing._Audit) -> object:
        with contextlib.closing(SqliteJournal.open(path)) as journal:
            append(journal, claimed_with_document(journal), "a")
        return look(self)

    monkeypatch.setattr(auditing._Audit, "_schema", meanwhile)
    report = audit(str(path))
    assert (report.problems, report.entries) == ([], 42)


def test_what_was_left_by_a_process_that_died_is_right(sound: Path) -> None:
    with contextlib.closing(SqliteJournal.open(sound, read_only=True)) as journal:
        gone = journal.run("gone")
        assert gone is not None
        assert gone.session is not None
        assert len(journal.entries("gone")) >= 1
    assert problems(sound) == []


# --- the command


def test_what_is_right_is_counted(flowctl: Flowctl, path: Path) -> None:
    said = flowctl("verify", "--json")
    assert said.code == 0
    assert said.json == {
        "database": str(path),
        "runs": 13,
        "entries": 42,
        "messages": 2,
        "documents": 11,
        "problems": [],
    }
    assert (
        flowctl("verify").out
        == f"✓  {path}: 13 runs, 42 entries, 2 messages and 11 documents, all as it was written\n"
    )


def test_what_is_wrong_is_listed_with_what_to_do(flowctl: Flowctl, path: Path) -> None:
    edit(path, f"UPDATE entries SET data = replace(data, 'zw', 'Zw') WHERE {OF_LINE}")
    said = flowctl("verify")
    assert said.code == 1
    assert "1 problem in 13 runs" in said.out
    assert "line  entry" in said.out
    assert "put a backup in its place" in said.out
    [problem] = flowctl("verify", "--json").json["problems"]
    assert (problem["what"], problem["run"], problem["path"]) == ("entry", "line", "a")


def test_looking_changes_nothing(flowctl: Flowctl, path: Path) -> None:
    before = path.read_bytes()
    flowctl("verify")
    assert path.read_bytes() == before
    assert set(os.listdir(path.parent)) <= {"flowctl.db", "flowctl.db-wal", "flowctl.db-shm"}


def test_a_journal_in_memory_is_nothing_to_verify(flowctl: Flowctl) -> None:
    assert flowctl("verify", "--db", "memory:").code == 2


# --- seals


def test_rows_from_before_there_were_seals_are_sealed(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for table in ("runs", "inbox", "definitions"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN seal")
        connection.execute("ALTER TABLE documents DROP COLUMN used_at")
        connection.execute("DROP TABLE discarded")
        connection.execute("DROP INDEX runs_by_origin")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm006_keeping'")
        connection.execute(f"PRAGMA user_version = {files.SCHEMA - 1}")
    SqliteJournal.open(path).close()
    assert [problem for problem in problems(path) if problem.what != "schema"] == []


def test_a_seal_is_the_same_for_ever(path: Path) -> None:
    """Old databases have them."""
    run = new_run(output=None, principal="ada")
    assert run_to_row(run)["seal"] == 826994820
    row = run_to_row(run)
    assert seal("runs", [row.get(name) for name in SEALED["runs"]]) == row["seal"]


def test_every_column_of_a_run_is_sealed_or_is_known_not_to_be() -> None:
    assert sorted([*SEALED["runs"], *UNSEALED]) == sorted(RUN_COLUMNS)
