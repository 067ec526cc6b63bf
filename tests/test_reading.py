"""What is read of a run is kept, and only gone on with: whoever asks later sees what a new reader would."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import reading
from flowctl.backends.local import LocalBackend
from flowctl.backends.reading import Readings, lines_before
from flowctl.errors import RunNotFound
from flowctl.journal import Change, Entry, Fact
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.retention import discard
from flowctl.journal.sqlite import SqliteJournal
from flowctl.status import Fold, SecretPaths, folded, history_lines, status_document
from flowctl.testing.journal_conformance import NOW, append, claimed, new_run


class Watched(MemoryJournal):
    """Counts how often it was asked for entries, and how many it gave."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.read = self.asked = 0

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        found = super().entries(run_id, after)
        self.read += len(found)
        self.asked += 1
        return found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def journal(store: MemoryStore) -> Watched:
    return Watched(store)


def test_each_entry_is_read_once_however_often_somebody_asks(store: MemoryStore, journal: Watched) -> None:
    writer, readings = MemoryJournal(store), Readings()
    run = claimed(writer, "r")
    for name in "abc":
        append(writer, run, name)
        for _ in range(2):
            with readings.of(journal, "r") as known:
                assert folded(known.run, known.fold) == status_document(
                    journal.run("r") or run, known.entries
                )
                assert len(known.entries) == journal.read


def test_a_run_that_nobody_has_is_not_read_again(store: MemoryStore, journal: Watched) -> None:
    writer, readings = MemoryJournal(store), Readings()
    run = claimed(writer, "r")
    append(writer, run, "a")
    writer.commit([Change(run, [], release=True)])
    for _ in range(3):
        with readings.of(journal, "r"):
            pass
    assert (journal.asked, journal.read) == (1, 1)


def test_after_a_while_a_run_that_goes_on_is_read_anew(
    store: MemoryStore, journal: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, readings = MemoryJournal(store), Readings()
    run = claimed(writer, "r")
    append(writer, run, "a")
    with readings.of(journal, "r"):
        pass
    monkeypatch.setattr(reading, "FRESH", -1.0)
    append(writer, run, "b")
    with readings.of(journal, "r") as known:
        assert (len(known.entries), journal.read) == (2, 3)


def test_only_so_many_are_kept_and_those_asked_for_last(store: MemoryStore, journal: Watched) -> None:
    writer, readings = MemoryJournal(store), Readings(kept=2)
    for name in ("r", "s", "t"):
        append(writer, claimed(writer, name), "a")
    for name in ("r", "s", "r", "t", "r"):
        with readings.of(journal, name):
            pass
    assert journal.read == 3
    with readings.of(journal, "s"):
        assert journal.read == 4


def test_what_is_too_large_is_not_kept(
    store: MemoryStore, journal: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WEIGHT", reading.ENTRY)
    writer, readings = MemoryJournal(store), Readings()
    append(writer, claimed(writer, "r"), "a", "b")
    for times in (1, 2):
        with readings.of(journal, "r"):
            assert journal.read == 2 * times


def test_a_reading_that_fails_halfway_is_begun_anew(
    store: MemoryStore, journal: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, readings = MemoryJournal(store), Readings()
    append(writer, claimed(writer, "r"), "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "add_entry", lambda fold, entry: 1 / 0)
        with pytest.raises(ZeroDivisionError), readings.of(journal, "r"):
            pass
    with readings.of(journal, "r") as known:
        assert [step.path for step in known.fold.steps] == ["a", "a_next", "b", "b_next"]


def test_a_run_that_is_discarded_and_another_of_its_name_are_two(tmp_path: Path) -> None:
    path = str(tmp_path / "f.db")
    journal, readings = SqliteJournal.open(path), Readings()
    try:
        first = claimed(journal, "r")
        append(journal, first, "old")
        first.status, first.completed_at = "completed", NOW
        journal.commit(
            [Change(first, [Entry(Fact("", "ended", NOW, data={"status": "completed"}), [])], release=True)]
        )
        journal.create(new_run("later"))
        with readings.of(journal, "r") as known:
            assert known.fold.step("old") is not None
        discard(path, NOW, NOW)
        with pytest.raises(RunNotFound), readings.of(journal, "r"):
            pass
        append(journal, claimed(journal, "r"), "new")
        with readings.of(journal, "r") as known:
            assert [step.path for step in known.fold.steps] == ["new", "new_next"]
    finally:
        journal.close()


def test_threads_that_ask_at_once_see_what_there_is_and_read_it_once(store: MemoryStore) -> None:
    writer, readings = MemoryJournal(store), Readings()
    run = claimed(writer, "r")
    append(writer, run, *(f"s{number}" for number in range(50)))
    onlookers = [Watched(store) for _ in range(4)]
    together = threading.Barrier(len(onlookers))
    seen: list[int] = []

    def ask(journal: Watched) -> None:
        together.wait()
        with readings.of(journal, "r") as known:
            seen.append(len(known.fold.steps))

    threads = [threading.Thread(target=ask, args=(each,)) for each in onlookers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [100] * 4
    assert sum(each.read for each in onlookers) == 50


def test_readers_of_one_database_share_what_they_have_read_and_its_owner_keeps_nothing(
    store: MemoryStore,
) -> None:
    journal = MemoryJournal(store)
    append(journal, claimed(journal, "r"), "a")
    owner = LocalBackend(journal, None)
    one, other = owner.another(read_only=True), owner.another(read_only=True)
    assert one.status("r")["steps"] == other.status("r")["steps"] == owner.status("r")["steps"]
    assert one._readings is other._readings is not owner._readings
    assert not owner._readings._places
    assert one.another()._readings is not one._readings


def test_a_history_is_read_backwards_in_whole_entries_from_any_place(store: MemoryStore) -> None:
    journal = MemoryJournal(store)
    run = claimed(journal, "r")
    entries = append(journal, run, *"abcdef")
    everything, secret = [*history_lines(run, entries)], SecretPaths.of(run)
    for limit in (1, 2, 3, 100):
        lines, before = list[dict[str, Any]](), None
        while True:
            page, before = lines_before(run, entries, secret, before, limit)
            assert len(page) <= limit + 2
            lines[:0] = page
            if before is None:
                break
        assert lines == everything
