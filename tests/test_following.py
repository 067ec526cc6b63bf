"""Looking on while a run is written: what is there, then what comes, until it ends or rests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowctl.backends import following
from flowctl.journal import Change, Entry, Fact
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.state import RunStatus
from flowctl.testing.journal_conformance import claimed, completed, new_run


class Writer:
    """Somebody else's process: each time the onlooker pauses, it does the next thing."""

    def __init__(self, store: MemoryStore) -> None:
        self.journal = MemoryJournal(store)
        self.run = claimed(self.journal, "r")
        self.plans: list[Callable[[], object]] = []

    def writes(self, *paths: str, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.run, name, value)
        entries = [completed(path) for path in paths]
        self.journal.commit([Change(self.run, entries, state_changed=bool(changes))])

    def pause(self, seconds: float) -> None:
        self.plans.pop(0)()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def writer(store: MemoryStore) -> Writer:
    return Writer(store)


@pytest.fixture
def follow(store: MemoryStore, writer: Writer) -> Callable[..., Iterator[str]]:
    def follow(after: int = 0, rests: bool = False) -> Iterator[str]:
        onlooker = MemoryJournal(store)
        for line in following.follow(onlooker, "r", after=after, rests=rests, pause=writer.pause):
            yield line["path"]

    return follow


Follow = Callable[..., Iterator[str]]


def test_what_is_there_comes_first_then_what_comes_until_the_run_has_ended(
    writer: Writer, follow: Follow
) -> None:
    writer.writes("a")
    writer.plans = [
        lambda: writer.writes("b"),
        lambda: None,
        lambda: writer.writes("c", "d", status="completed"),
    ]
    assert list(follow()) == ["", "a", "a_next", "b", "b_next", "c", "c_next", "d", "d_next"]
    assert writer.plans == []


def test_one_can_go_on_from_a_seq(writer: Writer, follow: Follow) -> None:
    writer.writes("a")
    writer.writes("b", status="completed")
    assert list(follow(after=1)) == ["b", "b_next"]


def test_a_run_that_waits_without_a_process_rests(writer: Writer, follow: Follow) -> None:
    writer.writes("a", status="waiting")
    writer.plans = [lambda: writer.journal.close()]
    assert list(follow(rests=True)) == ["", "a", "a_next"]


def test_a_run_whose_process_was_killed_rests_though_nothing_was_written(
    writer: Writer, store: MemoryStore, follow: Follow
) -> None:
    writer.writes("a", status="running")
    session = writer.run.session
    assert session is not None
    writer.plans = [lambda: store.kill(session)]
    assert list(follow(rests=True)) == ["", "a", "a_next"]


def test_who_follows_to_the_end_is_not_content_with_rest(writer: Writer, store: MemoryStore) -> None:
    writer.writes("a", status="waiting")
    writer.journal.close()
    other = Writer(store)
    other.plans = [lambda: other.writes("b", status="completed")]
    lines = following.follow(MemoryJournal(store), "r", after=0, rests=False, pause=other.pause)
    assert [line["path"] for line in lines][-2:] == ["b", "b_next"]


def test_a_run_that_was_only_just_accepted_does_not_rest() -> None:
    journal = MemoryJournal()
    run, _ = journal.create(new_run("r"))
    assert not following.at_rest(journal, run)


@pytest.mark.parametrize("status", sorted(RunStatus))
def test_an_ended_run_rests_and_a_live_one_that_nobody_has(status: RunStatus) -> None:
    journal = MemoryJournal()
    run, _ = journal.create(new_run("r", status=str(status)))
    assert following.at_rest(journal, run) == (status != RunStatus.CREATED)


@pytest.mark.parametrize("status", ["running", "waiting", "compensating", "paused", "blocked"])
def test_where_a_worker_lives_only_what_is_paused_or_blocked_rests(store: MemoryStore, status: str) -> None:
    journal = MemoryJournal(store)
    MemoryJournal(store).enlist()
    run, _ = journal.create(new_run("r", status=status))
    assert following.at_rest(journal, run) == (status in ("paused", "blocked"))


def test_what_is_secret_stays_so_for_who_comes_later(store: MemoryStore) -> None:
    journal = MemoryJournal(store)
    run = claimed(journal, "r")
    begun = Fact("pin", "started", 0, 1, data={"verb": "activity", "secret": True, "input": {"pin": 1}})
    journal.commit([Change(run, [Entry(begun, [])])])
    run.status = "completed"
    end = Fact("pin", "completed", 0, 1, data={"output": 1})
    journal.commit([Change(run, [Entry(end, [])], state_changed=True)])
    [line] = following.follow(MemoryJournal(store), "r", after=1, rests=False)
    assert (line["kind"], "output" in line) == ("completed", False)


def test_a_run_that_is_gone_is_followed_no_longer() -> None:
    assert list(following.follow(MemoryJournal(), "r", after=0, rests=False)) == []


def test_a_tail_says_that_nothing_has_come_yet_and_ends_with_the_run(
    writer: Writer, store: MemoryStore
) -> None:
    writer.writes("a")
    lines = following.tail(MemoryJournal(store), "r", after=0)
    seen = [next(lines) for _ in range(5)]
    assert [line and line["path"] for line in seen] == ["", "a", "a_next", None, None]
    writer.writes("b", status="completed")
    assert [line and line["path"] for line in lines] == ["b", "b_next"]


def test_several_tails_through_one_journal_all_see_everything(writer: Writer, store: MemoryStore) -> None:
    onlooker = MemoryJournal(store)
    tails = [following.tail(onlooker, "r", after=0) for _ in range(2)]
    for each in tails:
        assert next(each) is not None
        assert next(each) is None
    writer.writes("a", status="completed")
    assert [[line and line["path"] for line in each] for each in tails] == [["a", "a_next"]] * 2
