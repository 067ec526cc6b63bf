"""``gc``: what ended long ago goes, with all that belongs to it; what somebody still needs stays."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.errors import NotFound
from flowctl.journal import retention
from flowctl.journal.audit import audit
from flowctl.journal.retention import Discarded, discard, preview
from flowctl.journal.sqlite import SqliteJournal
from flowctl.model import Workflow
from flowctl.testing.journal_conformance import append
from flowctl.testing.world import START
from tests.cli_helpers import Flowctl, caller
from tests.keeping.population import CHAIN, FAIL, LINE, WAIT, Population, family
from tests.test_verify import claimed_with_document
from tests.versions_helpers import _source, workflow_of

HOUR = 3_600_000
LINES = workflow_of(LINE)
WAITS = workflow_of(WAIT, name="waits")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowctl.db"


@pytest.fixture
def world(path: Path) -> Iterator[Population]:
    with contextlib.closing(Population(path)) as world:
        yield world


def collect(path: Path, before: int = START + HOUR) -> Discarded:
    """Discard, having asked before what would be; and see that what is left is right."""
    now = before + HOUR
    expected = preview(str(path), before, now)
    done = discard(str(path), before, now)
    names = ("families", "runs", "entries", "documents", "sessions")
    assert [getattr(expected, name) for name in names] == [getattr(done, name) for name in names]
    assert [problem for problem in audit(str(path)).problems if problem.what != "document"] == []
    return done


def last(world: Population) -> None:
    """The family of the latest run is kept whatever it is: let that be one that is in nobody's way."""
    world.live_as("last", LINES, n=0)


def left(path: Path) -> list[str]:
    with contextlib.closing(SqliteJournal.open(path, read_only=True)) as journal:
        return sorted(run.id for run in journal.list_runs(limit=1_000))


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_run_that_ended_long_ago_goes_with_all_its_entries(path: Path, world: Population) -> None:
    world.live_as("old", LINES, n=1)
    last(world)
    done = collect(path)
    assert [(each.id, each.runs, each.entries) for each in done.families] == [("old", 1, 4)]
    assert left(path) == ["last"]
    assert query(path, "SELECT DISTINCT run FROM entries") == [(2,)]
    assert query(path, "SELECT * FROM discarded") == []


def test_a_run_that_ended_lately_stays(path: Path, world: Population) -> None:
    world.live_as("old", LINES, n=1)
    last(world)
    assert collect(path, START - 1).runs == 0
    assert left(path) == ["last", "old"]


def test_a_run_that_has_not_ended_stays_however_old_it_is(path: Path, world: Population) -> None:
    world.live_as("waits", WAITS, n=1)
    world.abandon("gone", LINES, n=1)
    last(world)
    assert collect(path).runs == 0
    assert world.resume("gone").status == "completed"


def test_a_chain_goes_as_a_whole_with_its_children_and_what_undid_them(path: Path, world: Population) -> None:
    world.live_as("chain", workflow_of(CHAIN), n=2)
    parent, children = family()
    world.live_as("parent", parent, children)
    last(world)
    done = collect(path)
    assert {each.id: each.runs for each in done.families} == {"chain": 3, "parent": 2}
    assert left(path) == ["last"]


def test_a_chain_stays_as_long_as_its_latest_run_lives(path: Path, world: Population) -> None:
    """A new start with its id would otherwise begin another one beside it."""
    chain = [{"if": "input.n > 0", "continue_as_new": {"input": {"n": 0}}}, *WAIT]
    world.live_as("chain", workflow_of(chain), n=1)
    last(world)
    assert collect(path).runs == 0
    assert left(path) == ["chain", "chain~2", "last"]


def test_a_parent_stays_as_long_as_a_child_of_it_lives(path: Path, world: Population) -> None:
    child = workflow_of(WAIT, name="child")
    parent = workflow_of(
        [{"id": "kid", "workflow": "child", "with": {"n": 1}, "detached": True}], name="parent"
    )
    _, closure = family()
    closure = type(closure)(
        {each.digest: each for each in (child, parent)}, {(parent.digest, "child"): child.digest}
    )
    world.live_as("parent", parent, closure)
    last(world)
    assert collect(path).runs == 0
    world.signal("parent/kid")
    world.resume("parent/kid")
    assert collect(path).runs == 2


def test_names_that_begin_alike_are_other_families(path: Path, world: Population) -> None:
    for name in ("order", "order-1", "order.1", "order:1", "order0"):
        world.live_as(name, WAITS if name != "order" else LINES, n=1)
    last(world)
    assert [each.id for each in collect(path).families] == ["order"]


def test_what_a_live_replay_repeats_stays(path: Path, world: Population) -> None:
    world.live_as("origin", workflow_of([LINE[0], *WAIT[1:]], name="waits"), n=1)
    world.signal("origin")
    world.resume("origin")
    replay = world.replay("w", "origin")
    last(world)
    assert replay.status == "waiting"
    assert collect(path).runs == 0
    world.signal(replay.id)
    assert world.resume(replay.id).status == "completed"
    assert {each.id for each in collect(path).families} == {"origin", replay.id}


def test_the_family_of_the_latest_run_stays_so_that_no_number_is_given_twice(
    path: Path, world: Population
) -> None:
    world.live_as("old", LINES, n=1)
    parent, children = family()
    world.live_as("parent", parent, children)
    collect(path)
    assert left(path) == ["parent", "parent/kid"]
    world.live_as("new", LINES, n=1)
    assert query(path, "SELECT key, id FROM runs ORDER BY key") == [
        (2, "parent"),
        (3, "parent/kid"),
        (4, "new"),
    ]


def test_messages_go_with_their_run(path: Path, world: Population) -> None:
    world.live_as("waits", WAITS, n=1)
    world.live_as("waits-too", WAITS, n=1)
    for name in ("waits", "waits-too"):
        world.signal(name, "never")
    world.signal("waits")
    world.resume("waits")
    last(world)
    assert collect(path).runs == 1
    assert len(query(path, "SELECT * FROM inbox")) == 1


# --- documents and sessions


def age(path: Path, seconds: int) -> None:
    """Let documents have been asked for so long ago."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE documents SET used_at = ?", (START // 1000 - seconds,))


def documents(path: Path) -> set[str]:
    return {name for (name,) in query(path, "SELECT name FROM documents")}


def test_documents_go_when_nothing_needs_them(path: Path, world: Population) -> None:
    """Those of discarded runs go, those that are pinned, deployed, or that a run has had before stay."""
    parent, children = family()
    world.live_as("parent", parent, children)
    world.live_as("waits", WAITS, n=1)
    world.migrate(workflow_of([*WAIT, LINE[2]], name="later", version=2), "waits")
    engine = world.engine()
    deployed = workflow_of(LINE, name="deployed")
    engine.pin(deployed, _source(deployed))
    engine.deploy(deployed)
    engine.journal.close()
    world.live_as("fails", workflow_of(FAIL, name="fails"), n=1)
    last(world)
    age(path, retention.UNUSED)
    assert collect(path).documents == 3
    assert documents(path) == {"waits", "later", "deployed", "case"}
    assert len(query(path, "SELECT * FROM sources")) == 4


def test_a_document_that_somebody_may_be_about_to_start_stays(path: Path, world: Population) -> None:
    """Between being pinned and being started, nothing refers to it."""
    engine = world.engine()
    engine.pin(LINES, _source(LINES))
    engine.journal.close()
    now = time.time_ns() // 1_000_000
    assert discard(str(path), now, now).documents == 0
    age(path, retention.UNUSED)
    engine = world.engine()
    engine.pin(LINES, _source(LINES))
    engine.journal.close()
    assert discard(str(path), now, now).documents == 0
    age(path, retention.UNUSED)
    assert discard(str(path), now, now).documents == 1


def test_a_session_that_died_goes_when_no_run_names_it(path: Path, world: Population) -> None:
    world.abandon("gone", LINES, n=1)
    assert collect(path).sessions == 0
    world.resume("gone")
    last(world)
    assert len(query(path, "SELECT * FROM sessions")) == 1
    assert collect(path).sessions == 1
    assert query(path, "SELECT * FROM sessions") == []


def test_a_session_that_lives_is_left_alone_and_its_end_is_not_taken_for_lost(
    path: Path, world: Population
) -> None:
    """The last that it wrote may have been of a run that is discarded."""
    engine = world.engine()
    engine.pin(LINES, _source(LINES))
    engine.deploy(LINES)
    engine.journal.close()
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        run = claimed_with_document(journal)
        append(journal, run, "a")
        world.live_as("old", LINES, n=1)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE sessions SET (last_seq, last_hash) ="
                " (SELECT seq, hash FROM entries WHERE run = (SELECT key FROM runs WHERE id = 'old')"
                " ORDER BY seq DESC LIMIT 1)"
            )
        last(world)
        done = discard(str(path), START + HOUR, START + HOUR)
        assert (done.runs, done.sessions) == (1, 0)
        assert audit(str(path)).problems == []
        append(journal, run, "b")
    assert audit(str(path)).problems == []


# --- while others work


def many(world: Population, workflow: Workflow, count: int) -> None:
    for number in range(count):
        world.live_as(f"old-{number}", workflow, n=1)
    last(world)


def test_it_is_done_in_portions_between_which_others_get_their_turn(
    path: Path, world: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PORTION", 3)
    many(world, LINES, 7)
    pauses: list[float] = []

    def somebody_else(seconds: float) -> None:
        pauses.append(seconds)
        world.live_as(f"meanwhile-{len(pauses)}", LINES, n=1)

    monkeypatch.setattr(retention, "sleep", somebody_else)
    assert discard(str(path), START + HOUR, START + HOUR).runs == 7
    assert len(pauses) >= 7 * 4 // 3
    assert {f"meanwhile-{number}" for number in range(1, len(pauses) + 1)} < set(left(path))
    assert audit(str(path)).problems == []


def test_what_a_process_that_was_killed_left_is_no_damage_and_the_next_ones_work(
    path: Path, world: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(world, LINES, 2)
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(retention, "sleep", lambda seconds: os._exit(0))
        discard(str(path), START + HOUR, START + HOUR)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert left(path) == ["last"]
    assert len(query(path, "SELECT DISTINCT run FROM entries")) == 3
    assert audit(str(path)).problems == []
    collect(path)
    assert query(path, "SELECT DISTINCT run FROM entries") == [(3,)]


def test_a_run_that_goes_on_meanwhile_stays(
    path: Path, world: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever retries it was quicker: whether it has ended is looked at when it is discarded."""
    world.live_as("failed", workflow_of([FAIL[1]], name="fails"), n=1)
    world.live_as("old", LINES, n=1)
    last(world)
    assert {each.id for each in preview(str(path), START + HOUR, START).families} == {"failed", "old"}
    engine = world.engine()
    engine.operations.retry("failed")
    engine.journal.close()
    assert [each.id for each in discard(str(path), START + HOUR, START).families] == ["old"]


def test_the_disk_gets_back_what_is_at_the_end_of_the_file(path: Path, world: Population) -> None:
    big = workflow_of([{"id": "a", "activity": "t.a", "with": {"value": "${{ input.text }}"}}])
    last(world)
    for number in range(5):
        world.live_as(f"old-{number}", big, text="x" * 200_000)
    world.live_as("latest", LINES, n=0)
    before = path.stat().st_size
    done = collect(path)
    assert done.returned > 5 * 200_000
    assert path.stat().st_size == before - done.returned


def test_a_database_of_before_keeps_its_length_and_has_the_room(path: Path, world: Population) -> None:
    world.live_as("old", workflow_of([LINE[0]]), n="x" * 200_000)
    last(world)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("journal_mode = DELETE", "auto_vacuum = NONE", "journal_mode = WAL"):
            connection.execute("VACUUM" if "WAL" in statement else f"PRAGMA {statement}")
        connection.execute("PRAGMA journal_mode = WAL")
    done = collect(path)
    assert (done.returned, done.freed > 200_000) == (0, True)


# --- the command


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path) -> Flowctl:
    monkeypatch.setenv("FLOWCTL_DB", str(path))
    return caller(capsys)


def test_what_would_be_discarded_is_shown_before(path: Path, world: Population, flowctl: Flowctl) -> None:
    world.live_as("old", LINES, n=1)
    last(world)
    said = flowctl("gc", "--dry-run", "--older-than", "1h")
    assert said.code == 0
    assert "old  2026-01-01" in said.out
    assert "would discard 1 run and 4 entries; what ended after" in said.out
    found = flowctl("gc", "--dry-run", "--json").json
    assert (found["dry_run"], found["runs"], found["entries"]) == (True, 1, 4)
    assert found["families"] == [
        {"id": "old", "completed_at": "2026-01-01T00:00:00.000Z", "runs": 1, "entries": 4}
    ]
    assert left(path) == ["last", "old"]


def test_without_an_age_thirty_days_are_kept(path: Path, world: Population, flowctl: Flowctl) -> None:
    world.live_as("old", LINES, n=1)
    last(world)
    lately = time.time_ns() // 1_000_000 - 29 * 24 * HOUR
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET completed_at = ?", (lately,))
    assert "nothing to discard" in flowctl("gc").out
    assert flowctl("gc", "--older-than", "28d", "--json").json["runs"] == 1
    assert left(path) == ["last"]


def test_an_age_that_is_none_and_a_database_that_is_not_there_are_refused(
    flowctl: Flowctl, path: Path
) -> None:
    assert flowctl("gc", "--older-than", "soon").code == 2
    assert flowctl("gc").code == 4
    with pytest.raises(NotFound):
        discard(str(path), 0, 0)
    assert not path.exists()
