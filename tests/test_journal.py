"""Both journals keep the contract; addresses lead to the right one."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowctl.errors import NotFound, UsageError
from flowctl.journal import Change, Journal
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.urls import connect
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
