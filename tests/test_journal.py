"""Both journals keep the contract; addresses lead to the right one; the chain tells of tampering."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowctl.errors import NotFound, UsageError
from flowctl.journal import Change, Journal
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.opening import connect
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.testing.journal_conformance import JournalConformance, completed, new_run


class Files:
    """SQLite journals on one file."""

    def __init__(self, path: Path, closing: contextlib.ExitStack) -> None:
        self.path = path
        self._closing = closing

    def open(self) -> Journal:
        return self._closing.enter_context(contextlib.closing(SqliteJournal.open(self.path)))

    def kill(self, session: str) -> None:
        Path(f"{self.path}.sessions", session).unlink()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        with open(f"{self.path}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class TestSqliteJournal(JournalConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Files]:
        with contextlib.ExitStack() as closing:
            yield Files(tmp_path / "flowctl.db", closing)


class Memory:
    """Memory journals on one store."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.kill = self._store.kill

    def open(self) -> Journal:
        return MemoryJournal(self._store)

    def busy(self) -> contextlib.AbstractContextManager[object]:
        return self._store.lock


class TestMemoryJournal(JournalConformance):
    @pytest.fixture
    def store(self) -> Memory:
        return Memory()


@pytest.mark.parametrize("address", ["{}", "sqlite:///{}"])
def test_a_path_with_or_without_scheme_is_a_file(address: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with contextlib.closing(connect(address.format(path))) as journal:
        assert journal.url == str(path)
    assert path.exists()


def test_three_slashes_begin_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(connect("sqlite:///orders.db")) as journal:
        assert journal.url == str(tmp_path / "orders.db")


def test_memory_is_a_new_journal_each_time() -> None:
    connect("memory:").create(new_run())
    assert connect("memory:").last_started() is None


@pytest.mark.parametrize("address", ["", "sqlite:///", "postgresql://host/db", "sqlite://host/db"])
def test_an_address_that_is_no_journal_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        connect(address)


def test_what_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        connect(str(tmp_path / "orders.db"), read_only=True)
    assert list(tmp_path.iterdir()) == []


TAMPERING = {
    "an entry was changed": "UPDATE entries SET data = replace(data, 'null', '1') WHERE path = 'b'",
    "an entry was moved to another time": "UPDATE entries SET at = at + 1 WHERE path = 'b'",
    "an entry is missing": "DELETE FROM entries WHERE path = 'b'",
    "the last entry is missing": "DELETE FROM entries WHERE path = 'c'",
    "all entries are missing": "DELETE FROM entries",
    "the input was changed": "UPDATE runs SET input = '{}'",
    "the row does not count an entry": "UPDATE runs SET entries = 2",
    "an entry was repeated": (
        "INSERT INTO entries SELECT 9, run, 'd', kind, attempt, generation, at, data, hash"
        " FROM entries LIMIT 1"
    ),
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING)
def test_the_chain_shows_when(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "flowctl.db"
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        journal.commit([Change(new_run(), [completed(step) for step in "abc"], create=True)])
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        assert verify_chain(journal, "order-1") is None
        with contextlib.closing(sqlite3.connect(path)) as other, other:
            other.execute(statement)
        assert verify_chain(journal, "order-1") is not None
