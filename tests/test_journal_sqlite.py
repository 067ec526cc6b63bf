"""The SQLite journal: its files, its settings, and what it does when something goes wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from flowctl.errors import InternalError, NotFound, StorageError, UsageError
from flowctl.journal import Change, Fenced, database, files, lock, migrations
from flowctl.journal.database import Database
from flowctl.journal.lock import Mutex
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.testing.journal_conformance import append, claimed, completed, new_run, paths, signal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowctl.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    with opened(path) as journal:
        yield journal


def opened(path: Path, **options: bool) -> contextlib.closing[SqliteJournal]:
    return contextlib.closing(SqliteJournal.open(path, **options))


@contextlib.contextmanager
def another_program(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that keeps none of our rules."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with another_program(path) as connection:
        return connection.execute(sql).fetchall()


# --- files and settings


def test_a_database_whose_process_died_in_the_middle_of_a_checkpoint_opens(path: Path) -> None:
    SqliteJournal.open(path).close()
    child = os.fork()
    if child == 0:
        journal = SqliteJournal.open(path)
        append(journal, claimed(journal), *(f"s{i}" for i in range(50)))  # in the log, and only there
        os._exit(0)
    os.waitpid(child, 0)
    with path.open("r+b") as file:
        file.seek(28)  # the number of pages: copied with the first of them, before the others are
        file.write((1_000).to_bytes(4, "big"))
    for read_only in (True, False):
        with opened(path, read_only=read_only) as journal:
            assert len(paths(journal)) == 50
            assert verify_chain(journal, "order-1") is None


def test_a_disk_that_fails_while_opening_is_not_the_fault_of_who_gave_the_path(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str) -> Mutex:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(database, "Mutex", fails)
    with pytest.raises(StorageError, match="nothing was done"):
        SqliteJournal.open(path)


def test_a_log_whose_name_may_be_lost_is_not_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteJournal.open(path).close()

    def fails(folder: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", fails)
        with pytest.raises(StorageError, match="nothing was done"):
            SqliteJournal.open(path)
    with opened(path) as journal:
        claimed(journal)


def test_a_sign_of_life_that_cannot_be_removed_holds_nobody_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, opened(path) as journal:
        claimed(journal)
        patch.setattr(os, "unlink", fails)
        journal.close()
    with opened(path) as journal:
        assert journal.claim("order-1") is not None


def test_a_sign_of_life_that_cannot_be_given_holds_nobody_up(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = claimed(journal)
    monkeypatch.setattr(os, "pwrite", fails)
    journal.beat()
    append(journal, run, "a")
    with opened(path) as other:
        assert other.claim("order-1") is None


def test_commits_are_durable_and_checkpoints_are_ours(journal: SqliteJournal, path: Path) -> None:
    with contextlib.closing(files.open_writer(str(path))) as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "trusted_schema",
                "cell_size_check",
            )
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }


def test_a_setting_that_sqlite_does_not_take_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(files.WRITER_PRAGMAS, "synchronous", 7)
    with pytest.raises(StorageError, match="synchronous"):
        SqliteJournal.open(path)


def test_all_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".flowctl" / "flowctl.db"
    with opened(path) as journal:
        claimed(journal)
        modes = {
            str(file.relative_to(tmp_path)): stat.S_IMODE(file.stat().st_mode)
            for file in (path.parent, *path.parent.iterdir())
        }
        (sign_of_life,) = Path(f"{path}.sessions").iterdir()
        assert stat.S_IMODE(sign_of_life.stat().st_mode) == 0o600
    assert modes == {
        ".flowctl": 0o700,
        ".flowctl/flowctl.db": 0o600,
        ".flowctl/flowctl.db-wal": 0o600,
        ".flowctl/flowctl.db-shm": 0o600,
        ".flowctl/flowctl.db.lock": 0o600,
        ".flowctl/flowctl.db.sessions": 0o700,
    }


def test_a_missing_folder_is_not_made_for_any_other_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        SqliteJournal.open(tmp_path / "orders" / "flowctl.db")
    assert list(tmp_path.iterdir()) == []


def test_two_names_of_a_file_are_one_journal(journal: SqliteJournal, path: Path) -> None:
    other_name = path.with_name("link.db")
    other_name.symlink_to(path)
    with opened(other_name) as other:
        assert other.url == journal.url == str(path)
        assert other.protected_paths == (str(path), f"{path}-wal", f"{path}-shm")


def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=ro&x=%41#é.db"
    with opened(path) as journal:
        claimed(journal)
    assert path.exists()


def test_what_is_kept_can_be_read_by_people(journal: SqliteJournal, path: Path) -> None:
    journal.commit([Change(new_run(), [completed("a", {"city": "Zürich"})], create=True)])
    assert query(path, "SELECT path, kind, data ->> '$.data.output.city' FROM entries") == [
        ("a", "completed", "Zürich")
    ]
    assert query(path, "SELECT input ->> '$.name' FROM runs") == [("Zoë",)]


def test_the_last_to_close_leaves_one_file_with_everything(journal: SqliteJournal, path: Path) -> None:
    append(journal, claimed(journal), "a")
    journal.close()
    assert names(path) == {"flowctl.db", "flowctl.db.lock", "flowctl.db.sessions"}
    assert list(Path(f"{path}.sessions").iterdir()) == []
    assert query(path, "SELECT path FROM entries") == [("a",)]
    assert query(path, "SELECT * FROM sessions") == []


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@pytest.mark.parametrize("text", ["", "x" * 100_000], ids=["small rows", "large rows"])
def test_the_log_does_not_grow_for_ever(
    text: str, journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", 100)
    run = claimed(journal)
    sizes = []
    for i in range(400):
        journal.commit([Change(run, [completed(f"s{i}", text)])])
        sizes.append(log_size(path))
    assert sizes[-1] == sizes[200]


def test_a_reader_who_looks_on_does_not_stop_checkpoints_for_ever(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", 50)
    run = claimed(journal)
    append(journal, run, "a")
    before = path.stat().st_size
    with another_program(path) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        append(journal, run, *(f"s{i}" for i in range(database.FIRST_CHECKPOINT)))
        assert path.stat().st_size == before
    for i in range(database.FIRST_CHECKPOINT):
        append(journal, run, f"t{i}")
    assert path.stat().st_size > before


# --- files that are not ours


def text(path: Path) -> None:
    path.write_text("steps: []\n" * 100)


def database_of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs (id)")


def newer(path: Path) -> None:
    SqliteJournal.open(path).close()
    with another_program(path) as connection:
        connection.execute(f"PRAGMA user_version = {files.SCHEMA + 1}")


def damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4_000)


NOT_OURS: dict[str, Callable[[Path], object]] = {
    "is an empty file": Path.touch,
    "is not an SQLite database": text,
    "is not a file": Path.mkdir,
    "is not a file, but a pipe": os.mkfifo,
    "is a database of another program": database_of_another_program,
    "was written by a newer flowctl": newer,
    "is not an SQLite database, but begins like one": damaged,
}


@pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
@pytest.mark.parametrize("what", NOT_OURS)
def test_it_is_left_alone_because_it(what: str, read_only: bool, path: Path) -> None:
    make = NOT_OURS[what]
    make(path)
    before = contents(path)
    with pytest.raises(UsageError, match=what.partition(",")[0]) as caught:
        SqliteJournal.open(path, read_only=read_only)
    assert str(path) in caught.value.message
    after = contents(path)
    if make is newer:  # a journal of ours: SQLite itself may leave its empty files beside it
        after = {name: kept for name, kept in after.items() if name in before}
    assert after == before


def contents(path: Path) -> dict[str, tuple[int, bytes]]:
    return {
        file.name: (file.stat().st_mtime_ns, file.read_bytes() if file.is_file() else b"")
        for file in path.parent.iterdir()
    }


# --- reading only


def test_reading_what_is_not_there_makes_nothing(path: Path) -> None:
    with pytest.raises(NotFound, match=r"flowctl\.db"):
        SqliteJournal.open(path, read_only=True)
    assert names(path) == set()


def test_a_reader_sees_what_is_committed_meanwhile(journal: SqliteJournal, path: Path) -> None:
    run = claimed(journal)
    with opened(path, read_only=True) as reader:
        assert not reader.changed()
        append(journal, run, "a")
        assert reader.changed()
        assert paths(reader) == ["a"]
        assert reader.attended("order-1")


def test_a_reader_changes_nothing(path: Path) -> None:
    with opened(path) as journal:
        append(journal, claimed(journal), "a")
    before = path.stat()
    with opened(path, read_only=True) as reader:
        assert paths(reader) == ["a"]
        for write in (lambda: reader.create(new_run("x")), lambda: reader.claim("order-1")):
            with pytest.raises(InternalError):
                write()
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert query(path, "SELECT * FROM sessions") == []


def test_a_session_knows_the_last_entry_it_wrote(journal: SqliteJournal, path: Path) -> None:
    run = claimed(journal)
    (entry,) = append(journal, run, "a")
    with pytest.raises(InternalError):
        append(journal, run, "b", "a")
    claimed(journal, "other")
    assert query(path, "SELECT last_seq, last_hash FROM sessions") == [(entry.seq, entry.hash)]


def test_only_who_claims_is_a_session(journal: SqliteJournal, path: Path) -> None:
    journal.create(new_run())
    journal.deliver(signal("order-1"))
    assert query(path, "SELECT * FROM sessions") == []
    assert not Path(f"{path}.sessions").exists()
    run = journal.claim("order-1")
    assert run is not None
    assert query(path, "SELECT id, pid, fenced FROM sessions") == [(run.session, os.getpid(), 0)]


# --- other programs, and other names for trouble


def test_nobody_waits_for_another_program_but_who_said_so(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    changes = [Change(claimed(journal), [completed("a")])]
    with another_program(path) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not journal.try_commit(changes)
        assert paths(journal) == []
        with pytest.raises(StorageError, match="somebody else has been writing"):
            journal.commit(changes)
    with pytest.raises(StorageError):
        journal.run("order-1")


def test_opening_a_journal_again_keeps_the_locks_of_the_first(path: Path) -> None:
    first = Database(str(path))
    with contextlib.closing(first), first.transaction():
        files.open_writer(str(path)).close()
        files.open_reader(str(path)).close()
        script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
        )
    assert "database is locked" in other.stderr


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    SqliteJournal.open(path.with_name("new.db")).close()
    path.with_name("new.db").replace(path)


def without_its_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("harm", [removed, replaced, without_its_log])
def test_nothing_is_acknowledged_when_the_file_was(
    harm: Callable[[Path], None], journal: SqliteJournal, path: Path
) -> None:
    run = claimed(journal)
    harm(path)
    with pytest.raises(StorageError, match="removed or replaced"):
        append(journal, run, "a")


def test_nothing_has_an_id_that_is_no_text(journal: SqliteJournal) -> None:
    claimed(journal)
    assert journal.run("\udcff") is None
    assert journal.runs_with_prefix("\udcff") == []
    assert journal.entries("\udcff") == []


def test_a_name_from_the_database_is_not_used_as_a_path(journal: SqliteJournal, path: Path) -> None:
    journal.create(new_run())
    with another_program(path) as other:
        other.execute("UPDATE runs SET session = '../flowctl.db.lock'")
    assert not journal.attended("order-1")
    assert journal.claim("order-1") is not None


# --- when something goes wrong


def test_a_full_disk_is_an_error_that_says_so(path: Path) -> None:
    database = Database(str(path))
    with contextlib.closing(SqliteJournal(database)) as journal:
        run = claimed(journal)
        append(journal, run, "a")
        with database.transaction() as connection:
            connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StorageError, match=r"disk is full.*make room"):
            journal.commit([Change(run, [completed("b", "x" * 100_000)])])
        with pytest.raises(StorageError, match="disk is full"):
            paths(journal)
    with opened(path) as journal:
        assert paths(journal) == ["a"]
        taken = journal.claim("order-1")
        assert taken is not None
        append(journal, taken, "b")
        assert verify_chain(journal, "order-1") is None


def test_a_commit_that_fails_ends_the_journal_with_its_outcome_unknown(path: Path) -> None:
    database = Database(str(path))
    with contextlib.closing(SqliteJournal(database)) as journal:
        run = claimed(journal)
        with database.transaction() as connection:
            ...
        connection.set_authorizer(
            lambda _, what, *__: sqlite3.SQLITE_DENY if what == "COMMIT" else sqlite3.SQLITE_OK
        )
        with pytest.raises(StorageError, match="unknown"):
            append(journal, run, "a")
        for use in (lambda: append(journal, run, "b"), lambda: journal.run("order-1"), journal.changed):
            with pytest.raises(StorageError):
                use()


def test_an_interruption_ends_the_journal(path: Path) -> None:
    database = Database(str(path))
    with pytest.raises(KeyboardInterrupt), database.transaction():
        raise KeyboardInterrupt
    assert not database.usable


def test_an_ordinary_exception_undoes_the_transaction_only(path: Path) -> None:
    with contextlib.closing(Database(str(path))) as database:
        with pytest.raises(LookupError), database.transaction() as connection:
            raise LookupError(connection.execute("INSERT INTO sources VALUES ('a', 'b')"))
        with database.transaction():
            assert database.rows("SELECT * FROM sources") == []


def test_a_value_that_is_not_json_undoes_the_commit_only(journal: SqliteJournal) -> None:
    run = claimed(journal)
    with pytest.raises(TypeError):
        journal.commit([Change(run, [completed("a"), completed("b", object())])])
    append(journal, run, "a")
    assert verify_chain(journal, "order-1") is None


# --- the schema


def test_the_schema_is_as_many_versions_old_as_there_are_migrations(
    path: Path, journal: SqliteJournal
) -> None:
    assert len(migrations.migrations.pending(sqlite_utils.Database(memory=True))) == files.SCHEMA
    assert query(path, "PRAGMA user_version") == [(files.SCHEMA,)]
    assert query(path, "PRAGMA application_id") == [(files.APPLICATION_ID,)]


def test_an_existing_database_is_opened_without_what_makes_new_ones(path: Path) -> None:
    SqliteJournal.open(path).close()
    script = (
        "import sys; from flowctl.journal.opening import connect\n"
        "connect(sys.argv[1]).close(); assert 'sqlite_utils' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)


def test_a_database_appears_complete_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "create_sessions", lambda db: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            SqliteJournal.open(path)
    assert not path.exists()
    with opened(path) as journal:
        claimed(journal)
    assert not Path(f"{path}.new").exists()


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flowctl that knows one more migration."""
    later = sqlite_utils.Migrations("flowctl")
    for known in migrations.migrations.pending(sqlite_utils.Database(memory=True)):
        later(name=known.name)(known.fn)
    later(name="m999_later")(lambda db: db.create_table("later", {"id": int}))
    monkeypatch.setattr(migrations, "migrations", later)
    monkeypatch.setattr(files, "SCHEMA", files.SCHEMA + 1)


@pytest.fixture
def old_database(path: Path) -> None:
    with opened(path) as journal:
        append(journal, claimed(journal), "a")


@pytest.mark.usefixtures("old_database", "next_version")
def test_an_older_database_is_migrated_and_a_copy_kept(path: Path) -> None:
    with pytest.raises(UsageError, match="older"):
        SqliteJournal.open(path, read_only=True)
    with opened(path) as journal:
        assert paths(journal) == ["a"]
    assert query(path, "SELECT * FROM later") == []
    copy = path.with_name(f"flowctl.db.v{files.SCHEMA - 1}")
    assert query(copy, "SELECT path FROM entries") == [("a",)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_runs_from_before_there_were_attributes_have_none(path: Path) -> None:
    with opened(path) as journal:
        journal.create(new_run("old"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE runs DROP COLUMN attributes")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'm002_attributes'")
        connection.execute("PRAGMA user_version = 1")
    with opened(path) as journal:
        journal.create(new_run("new", attributes={"search": {"customer": "c-1"}, "memo": {}}))
        assert [(run.id, run.attributes) for run in journal.list_runs()] == [
            ("new", {"search": {"customer": "c-1"}, "memo": {}}),
            ("old", None),
        ]
        assert [run.id for run in journal.list_runs(where=[("customer", ["c-1"])])] == ["new"]


def test_a_database_that_is_in_use_is_not_migrated(path: Path, request: pytest.FixtureRequest) -> None:
    with opened(path) as journal:
        run = claimed(journal)
        request.getfixturevalue("next_version")
        with pytest.raises(UsageError, match=str(os.getpid())):
            SqliteJournal.open(path)
        append(journal, run, "a")


def test_who_waits_in_vain_for_the_mutex_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    with contextlib.closing(Mutex(f"{path}.lock")) as mutex:
        assert mutex.try_acquire()
        with pytest.raises(StorageError, match="another process"):
            SqliteJournal.open(path)
    assert not path.exists()


# --- sessions that were silent


def silent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody else declare all sessions dead."""
    with monkeypatch.context() as patch, opened(path) as other:
        patch.setattr(lock, "LEASE", -1)
        assert other.reap()


def given_back(journal: SqliteJournal) -> None:
    journal.commit([Change(claimed(journal), [], release=True)])


def test_a_session_that_was_declared_dead_when_it_had_nothing_goes_on_as_another(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back(journal)
    silent(path, monkeypatch)
    run = journal.claim("order-1")
    assert run is not None
    append(journal, run, "a")
    assert paths(journal) == ["a"]
    silent(path, monkeypatch)
    with pytest.raises(Fenced):
        append(journal, run, "b")


def test_a_worker_hears_that_it_was_declared_dead_although_it_had_nothing(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back(journal)
    journal.enlist()
    silent(path, monkeypatch)
    with pytest.raises(Fenced):
        journal.claim("order-1")


def test_a_run_is_accepted_and_claimed_by_a_session_that_was_silent(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back(journal)
    silent(path, monkeypatch)
    run, created = journal.create(new_run("order-2"), claim=True)
    assert created
    append(journal, run, "a")
    assert paths(journal, "order-2") == ["a"]
