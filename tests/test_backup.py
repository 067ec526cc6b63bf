"""``backup``: a copy of one moment, right and complete, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from flowctl.errors import Conflict, Damaged, NotFound, StorageError, UsageError
from flowctl.journal import backup as backing_up
from flowctl.journal.audit import audit
from flowctl.journal.backup import back_up
from flowctl.journal.database import Database
from flowctl.journal.sqlite import SqliteJournal
from flowctl.testing.journal_conformance import append, paths
from tests.cli_helpers import Flowctl, caller
from tests.keeping.population import populate
from tests.test_verify import claimed_with_document


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "flowctl.db"
    populate(path)
    Database(str(path)).close()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "flowctl.db"
    shutil.copy(made, path)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "copy.db"


def test_a_copy_has_everything_in_one_file_for_its_owner_only(path: Path, target: Path) -> None:
    report = back_up(str(path), str(target))
    assert (report.runs, report.entries, report.problems) == (13, 42, [])
    assert os.listdir(target.parent) == ["copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert audit(str(target)).problems == []


def test_a_copy_is_of_one_moment_and_holds_up_nobody(path: Path, target: Path) -> None:
    """Written to by somebody who has it open, before and after, without waiting."""
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        run = claimed_with_document(journal)
        append(journal, run, "a", "b")
        back_up(str(path), str(target))
        append(journal, run, "c")
    with contextlib.closing(SqliteJournal.open(target)) as copy:
        assert paths(copy, "new") == ["a", "b"]


def test_nobody_has_a_run_in_a_copy(path: Path, target: Path) -> None:
    """Also if the copy is put back in its place while the process that had the run still lives."""
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        run = claimed_with_document(journal)
        append(journal, run, "a", "b")
        back_up(str(path), str(target))
        shutil.copytree(f"{path}.sessions", f"{target}.sessions")
        with contextlib.closing(SqliteJournal.open(target)) as copy:
            assert not copy.attended("new")
            taken = copy.claim("new")
            assert taken is not None
            append(copy, taken, "c")
    assert audit(str(target)).problems == []


def test_a_file_that_is_there_is_never_overwritten(path: Path, target: Path) -> None:
    target.write_text("my thesis")
    with pytest.raises(Conflict, match="there already"):
        back_up(str(path), str(target))
    target.unlink()
    target.symlink_to("nowhere")
    with pytest.raises(Conflict):
        back_up(str(path), str(target))
    with pytest.raises(Conflict):
        back_up(str(path), str(path))
    assert os.listdir(target.parent) == ["copy.db"]


def test_a_file_that_appears_meanwhile_is_not_overwritten_either(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = backing_up._copy

    def slow(source: sqlite3.Connection, file: str) -> None:
        copy(source, file)
        target.write_text("my thesis")

    monkeypatch.setattr(backing_up, "_copy", slow)
    with pytest.raises(Conflict):
        back_up(str(path), str(target))
    assert target.read_text() == "my thesis"
    assert os.listdir(target.parent) == ["copy.db"]


def test_where_there_are_no_hard_links_a_copy_gets_its_name_all_the_same(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    back_up(str(path), str(target))
    assert os.listdir(target.parent) == ["copy.db"]
    assert audit(str(target)).problems == []


def test_a_disk_that_is_full_leaves_nothing_behind(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: sqlite3.Connection, file: str) -> None:
        Path(file).write_bytes(b"half of it")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backing_up, "_copy", full)
    with pytest.raises(StorageError, match=r"copy\.db cannot be written: database or disk is full"):
        back_up(str(path), str(target))
    assert os.listdir(target.parent) == []


def test_a_damaged_database_gets_no_backup(path: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET status = 'failed' WHERE id = 'line'")
    with pytest.raises(Damaged, match="of run line"):
        back_up(str(path), str(target))
    assert os.listdir(target.parent) == []


def test_a_missing_folder_and_a_missing_database_are_slips_of_the_pen(path: Path, target: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        back_up(str(path), str(target.parent / "nowhere" / "copy.db"))
    with pytest.raises(NotFound):
        back_up(f"{path}x", str(target))
    assert os.listdir(target.parent) == []


def test_the_command_says_what_is_in_the_copy(
    path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flowctl: Flowctl = caller(capsys)
    said = flowctl("backup", str(target), "--db", str(path), "--json")
    assert said.json == {
        "database": str(path),
        "file": str(target),
        "runs": 13,
        "entries": 42,
        "messages": 2,
        "documents": 11,
    }
    said = flowctl("backup", str(target), "--db", str(path))
    assert said.code == 5
    target.unlink()
    assert "13 runs, 42 entries" in flowctl("backup", str(target), "--db", str(path)).out
