"""Workers: what is due is taken up, what waits is forgotten, who dies is succeeded. In virtual time, but for
the last part, which has real processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.closure import Closure
from flowctl.engine import Engine, Worker
from flowctl.engine.worker import GRACE
from flowctl.journal import LEASE, Run, lock
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.machine import Machine
from flowctl.model import Workflow
from flowctl.values import encode
from tests.versions_helpers import World, workflow_of

ONE = workflow_of([{"id": "a", "activity": "t.a"}])
TWO = workflow_of([{"id": "a", "activity": "t.a"}, {"id": "b", "activity": "t.b"}])
WAITS = workflow_of(
    [{"id": "a", "activity": "t.a"}, {"wait_for_signal": "go"}, {"id": "b", "activity": "t.b"}]
)
SLEEPS = workflow_of([{"sleep": "10m"}, {"id": "a", "activity": "t.a"}])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "case.db")
    yield world
    world.close()


def accept(world: World, workflow: Workflow, run_id: str = "r", **more: Any) -> None:
    """Start a run and leave it."""
    engine = world.engine()
    engine.start(workflow, encode(workflow.body).decode(), {}, id=run_id, **more)
    engine.journal.close()


@contextlib.asynccontextmanager
async def working(engine: Engine, **how: Any) -> AsyncIterator[Worker]:
    """A worker, who is stopped at the end."""
    worker = Worker(engine, **how)
    task = asyncio.create_task(worker.work())
    try:
        yield worker
    finally:
        worker.stop()
        await task
        engine.journal.close()


def drain(world: World, **how: Any) -> None:
    engine = world.engine()
    world.live(Worker(engine, **how).work(drain=True))
    engine.journal.close()


def status(world: World, run_id: str = "r") -> str:
    return world.run(run_id).status


# --- taking up


def test_what_was_started_is_executed(world: World) -> None:
    for number in range(3):
        accept(world, ONE, f"r{number}")
    drain(world)
    assert [status(world, f"r{number}") for number in range(3)] == ["completed"] * 3


def test_more_runs_than_are_taken_up_at_once_are_executed(world: World) -> None:
    for number in range(120):
        accept(world, ONE, f"r{number}")
    drain(world)
    assert {status(world, f"r{number}") for number in range(120)} == {"completed"}
    assert len(world.asked) == 120


def test_no_more_runs_are_driven_at_once_than_was_said(world: World) -> None:
    world.scripted(a={"after": "1s"})
    for number in range(6):
        accept(world, ONE, f"r{number}")
    before = world.loop.time()
    drain(world, concurrency=2)
    assert 3 <= world.loop.time() - before < 4, "two at a time, a second each"


def test_draining_leaves_what_is_not_due_yet(world: World) -> None:
    accept(world, SLEEPS)
    drain(world)
    assert status(world) == "waiting"
    world.later(600)
    drain(world)
    assert status(world) == "completed"


def test_a_timer_that_is_due_soon_is_left_to_the_next_one_when_draining(world: World) -> None:
    accept(world, workflow_of([{"sleep": "300ms"}]))
    before = world.loop.time()
    drain(world)
    assert status(world) == "waiting"
    assert world.loop.time() - before < 0.3


@pytest.mark.parametrize(
    "workflow",
    [
        pytest.param(TWO, id="ends"),
        pytest.param(WAITS, id="waits"),
        pytest.param(SLEEPS, id="sleeps"),
        pytest.param(
            workflow_of(
                [
                    {"id": "a", "activity": "t.a", "compensate": {"activity": "t.b"}},
                    {"fail": {"type": "No", "message": "no"}},
                ]
            ),
            id="is undone",
        ),
        pytest.param(
            workflow_of(
                [
                    {
                        "id": "p",
                        "parallel": {
                            "a": [{"id": "c", "activity": "t.a"}],
                            "b": [{"id": "d", "activity": "t.b"}],
                        },
                    }
                ]
            ),
            id="has branches",
        ),
        pytest.param(
            workflow_of([{"id": "t", "timeout": "1h", "steps": [{"id": "a", "activity": "t.a"}]}]),
            id="has a block with a timeout",
        ),
    ],
)
def test_a_run_that_is_over_or_waits_is_gone_from_memory_without_the_collector(
    world: World, workflow: Workflow
) -> None:
    for number in range(3):
        accept(world, workflow, f"r{number}")
    gc.collect()
    gc.disable()
    try:
        drain(world)
        left = [each for each in gc.get_objects() if isinstance(each, Machine)]
    finally:
        gc.enable()
    assert status(world, "r0") in ("completed", "waiting", "compensated")
    assert left == []


# --- forgetting


def test_a_run_that_waits_is_forgotten_and_taken_up_when_it_is_due(world: World) -> None:
    accept(world, SLEEPS)
    accept(world, WAITS, "s")

    async def life() -> None:
        async with working(world.engine()) as worker:
            await asyncio.sleep(1)
            assert held(worker) == 0
            world.signal("s")
            await asyncio.sleep(0.1)
            assert status(world, "s") == "completed"
            await asyncio.sleep(599)
            assert status(world) == "completed"

    world.live(life())


def test_a_run_that_is_due_again_in_a_moment_is_kept(world: World) -> None:
    accept(world, workflow_of([{"sleep": "800ms"}, {"id": "a", "activity": "t.a"}]))

    async def life() -> None:
        async with working(world.engine()) as worker:
            await asyncio.sleep(0.5)
            assert held(worker) == 1
            await asyncio.sleep(0.5)
            assert status(world) == "completed"

    world.live(life())


def test_a_parent_is_forgotten_with_its_child_and_goes_on_when_that_has_ended(world: World) -> None:
    parent = workflow_of([{"id": "c", "workflow": "case@2"}, {"id": "b", "activity": "t.b"}])
    child = workflow_of([{"wait_for_signal": "go"}, {"id": "a", "activity": "t.a"}], version=2)
    closure = Closure({child.digest: child}, {(parent.digest, "case@2"): child.digest})
    accept(world, parent, children=closure)

    async def life() -> None:
        async with working(world.engine()) as worker:
            await asyncio.sleep(1)
            assert held(worker) == 0
            assert status(world) == "waiting"
            world.signal("r/c")
            await asyncio.sleep(0.2)
            assert status(world) == "completed"

    world.live(life())
    assert [path for path, _ in world.asked] == ["a", "b"]


def test_a_parent_goes_on_when_another_worker_has_brought_its_child_to_an_end(world: World) -> None:
    world.scripted(a={"after": "5s"})
    parent = workflow_of([{"id": "c", "workflow": "case@2"}, {"id": "b", "activity": "t.b"}])
    child = workflow_of(
        [{"wait_for_signal": "go"}, {"id": "a", "activity": "t.a"}, {"id": "x", "activity": "t.x"}], version=2
    )
    closure = Closure({child.digest: child}, {(parent.digest, "case@2"): child.digest})
    accept(world, parent, children=closure)
    drain(world)
    world.signal("r/c")
    one, other = world.engine(), world.engine()
    run = one.journal.claim("r/c")
    assert run is not None, "nobody has it"

    async def life() -> None:
        async with working(other) as worker:
            driving = asyncio.create_task(one.drive("r/c", wait=60_000))
            await asyncio.sleep(1)
            assert held(worker) == 0
            await driving
            await asyncio.sleep(0.2)
            assert status(world) == "completed"

    world.live(life())
    one.journal.close()


def test_a_run_that_is_paused_is_forgotten_and_goes_on_when_it_may(world: World) -> None:
    world.scripted(a={"after": "1s"})
    accept(world, TWO)

    async def life() -> None:
        async with working(world.engine()) as worker:
            await asyncio.sleep(0.5)
            act(world, "pause")
            await asyncio.sleep(2)
            assert (status(world), held(worker)) == ("paused", 0)
            act(world, "unpause")
            await asyncio.sleep(0.2)
            assert status(world) == "completed"

    world.live(life())


def test_a_cancelled_run_that_waits_is_undone_by_the_worker(world: World) -> None:
    undo = {"id": "a", "activity": "t.a", "compensate": {"activity": "t.u"}}
    accept(world, workflow_of([undo, {"wait_for_signal": "never"}]))

    async def life() -> None:
        async with working(world.engine()):
            await asyncio.sleep(1)
            engine = world.engine()
            engine.cancel("r", "no more")
            engine.journal.close()
            await asyncio.sleep(0.2)

    world.live(life())
    assert status(world) == "compensated"
    assert [path for path, _ in world.asked] == ["a", "a.undo"]


def test_a_blocked_run_goes_on_within_a_minute_after_what_was_missing_is_there(world: World) -> None:
    accept(world, TWO)
    engine = world.engine()
    known = dict(engine._activities)
    activities = {name: made for name, made in known.items() if name != "t.b"}
    engine._activities = activities

    async def life() -> None:
        async with working(engine) as worker:
            await asyncio.sleep(1)
            assert (status(world), held(worker)) == ("blocked", 0)
            activities["t.b"] = known["t.b"]
            await asyncio.sleep(60)
            assert status(world) == "completed"

    world.live(life())


def test_a_run_that_cannot_be_driven_at_all_is_parked_and_disturbs_no_other(world: World) -> None:
    accept(world, ONE, "bad")
    accept(world, TWO, "good")
    engine = world.engine()
    interpret = engine.kin.interpret

    def fails(run: Run) -> Any:
        if run.id == "bad":
            raise RuntimeError("its document is gone")
        return interpret(run)

    engine.kin.interpret = fails  # type: ignore[method-assign]
    world.live(Worker(engine).work(drain=True))
    engine.journal.close()
    assert status(world, "good") == "completed"
    bad = world.run("bad")
    assert bad.status == "blocked"
    assert bad.blocked["reason"] == "it cannot be driven: its document is gone"


def test_a_run_that_cannot_be_driven_at_all_rests_although_it_was_sent_something(world: World) -> None:
    accept(world, ONE)
    engine = world.engine()
    engine.cancel(world.run().id, "never mind")
    takings = 0

    def fails(run: Run) -> Any:
        nonlocal takings
        takings += 1
        if takings > 1:
            pytest.fail("it was taken up again at once")
        raise RuntimeError("its document is gone")

    engine.kin.interpret = fails  # type: ignore[method-assign]
    world.live(Worker(engine).work(drain=True))
    engine.journal.close()
    assert world.run().status == "blocked"


def test_a_run_that_continues_as_new_is_followed(world: World) -> None:
    accept(
        world,
        workflow_of(
            [
                {"id": "a", "activity": "t.a", "with": {"value": "${{ input.n }}"}},
                {"if": "input.n < 3", "continue_as_new": {"input": {"n": "${{ input.n + 1 }}"}}},
            ],
            input={"type": "object", "properties": {"n": {"type": "integer", "default": 0}}},
        ),
    )
    drain(world)
    assert status(world, "r~4") == "completed"
    assert [value for _, value in world.asked] == [0, 1, 2, 3]


# --- stopping


def test_a_worker_that_is_stopped_lets_what_is_under_way_end_and_begins_nothing(world: World) -> None:
    world.scripted(a={"after": "3s"})
    accept(world, TWO)

    async def life() -> None:
        async with working(world.engine()):
            await asyncio.sleep(1)

    world.live(life())
    assert status(world) == "running"
    assert [kind for path, kind, _ in world.facts() if path in ("a", "b")] == ["started", "completed"]
    drain(world)
    assert status(world) == "completed"
    assert [asked.path for asked in world.script.ledger] == ["a"]
    assert "lost" not in [kind for _, kind, _ in world.facts()]


def test_what_takes_too_long_when_a_worker_is_stopped_is_made_again(world: World) -> None:
    world.scripted(a={"after": "25s"})
    accept(world, TWO)

    async def life() -> float:
        async with working(world.engine()):
            await asyncio.sleep(1)
            began = world.loop.time()
        return world.loop.time() - began

    assert world.live(life()) == pytest.approx(GRACE, abs=0.1)
    drain(world)
    assert status(world) == "completed"
    assert [asked.key for asked in world.script.ledger] == ["r/a", "r/a"]


def test_a_worker_that_is_stopped_twice_does_not_wait(world: World) -> None:
    world.scripted(a={"after": "25s"})
    accept(world, ONE)

    async def life() -> float:
        async with working(world.engine()) as worker:
            await asyncio.sleep(1)
            worker.stop()
            await asyncio.sleep(1)
            began = world.loop.time()
        return world.loop.time() - began

    assert world.live(life()) < 0.1


def test_a_child_that_is_started_while_the_worker_stops_does_not_begin(world: World) -> None:
    world.scripted(a={"after": "3s"})
    parent = workflow_of([{"id": "a", "activity": "t.a"}, {"id": "c", "workflow": "case@2"}])
    child = workflow_of([{"id": "b", "activity": "t.b"}], version=2)
    closure = Closure({child.digest: child}, {(parent.digest, "case@2"): child.digest})
    accept(world, parent, children=closure)

    async def life() -> None:
        async with working(world.engine()):
            await asyncio.sleep(1)

    world.live(life())
    assert world.asked == []
    drain(world)
    assert status(world) == "completed"


# --- dying


def test_the_runs_of_a_worker_that_died_are_taken_up_by_another(world: World) -> None:
    world.scripted(a={"after": "5s"})
    for number in range(20):
        accept(world, TWO, f"r{number}")
    dead = world.engine()

    async def life() -> None:
        async with working(world.engine()):
            task = asyncio.create_task(Worker(dead).work())
            await asyncio.sleep(1)
            kill(world, dead)
            await asyncio.sleep(0.3)
            assert {world.run(f"r{number}").session for number in range(20)} != {session_of(dead)}
            await asyncio.sleep(6)
            task.cancel()
            await asyncio.wait([task])

    world.live(life())
    assert {status(world, f"r{number}") for number in range(20)} == {"completed"}


def test_a_worker_that_was_declared_dead_begins_anew_and_harms_nothing(world: World) -> None:
    world.scripted(a={"after": "5s"})
    accept(world, TWO)
    zombie = world.engine()

    async def life() -> None:
        async with working(zombie):
            await asyncio.sleep(1)
            before = session_of(zombie)
            kill(world, zombie)
            drained = world.engine()
            await Worker(drained).work(drain=True)
            drained.journal.close()
            assert status(world) == "completed"
            accept(world, ONE, "next")
            await asyncio.sleep(6)
            assert status(world, "next") == "completed"
            assert session_of(zombie) != before

    world.live(life())
    assert [kind for path, kind, _ in world.facts() if path == "b"] == ["started", "completed"]


def test_a_session_that_is_silent_for_longer_than_its_lease_counts_as_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lock.SignOfLife(str(tmp_path), "0" * 32)
    assert lock.is_alive(str(tmp_path), "0" * 32)
    now = time.monotonic_ns()
    monkeypatch.setattr("time.monotonic_ns", lambda: now + int((LEASE + 1) * 1e9))
    assert not lock.is_alive(str(tmp_path), "0" * 32)
    life.beat()
    assert lock.is_alive(str(tmp_path), "0" * 32)
    life.end()


def test_a_worker_says_that_it_lives_while_it_has_nothing_to_do(world: World) -> None:
    engine = world.engine()
    beats = []
    engine.journal.beat = lambda: beats.append(world.loop.time())  # type: ignore[method-assign]

    async def life() -> None:
        async with working(engine):
            await asyncio.sleep(LEASE)

    world.live(life())
    assert len(beats) >= 8


# --- real processes


SLOW = """
import time
from flowctl import activity

@activity("t.slow")
def slow() -> None:
    time.sleep(0.2)
"""

DOCUMENT = """
dsl: 1
name: slow
steps: [{id: a, activity: t.slow}, {id: b, activity: t.slow}, {id: c, activity: t.slow}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".flowctl").mkdir()
    (tmp_path / "slow.yaml").write_text(DOCUMENT)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "slow.py").write_text(SLOW)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"\n')
    return tmp_path


def flowctl(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowctl", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=60)


@contextlib.contextmanager
def spawned(project: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has begun to work; killed at the end, if it still lives."""
    command = [sys.executable, "-m", "flowctl", "worker", *options]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not options:
                assert said.startswith(f"worker {process.pid} on ")
            yield process
        finally:
            process.kill()


def test_a_worker_that_is_killed_is_succeeded_by_another(project: Path) -> None:
    runs = [f"r{number}" for number in range(4)]
    with spawned(project) as one:
        started = [flowctl(project, "start", "slow.yaml", "--id", run) for run in runs]
        assert [(each.returncode, each.stdout, each.stderr) for each in started] == [
            (0, f"{run}\n", "") for run in runs
        ]
        wait_until_begun(project, runs[-1])
        one.kill()
        one.wait()
    assert flowctl(project, "worker", "--drain").returncode == 0
    assert [state(project, run) for run in runs] == ["completed"] * 4


def test_a_worker_that_is_told_to_stop_gives_its_runs_back_and_exits_well(project: Path) -> None:
    with spawned(project) as worker:
        flowctl(project, "start", "slow.yaml", "--id", "r")
        wait_until_begun(project, "r")
        worker.send_signal(signal.SIGINT)
        said, _ = worker.communicate(timeout=20)
        assert worker.returncode == 0
    assert said.splitlines()[-1].startswith("the worker has stopped; runs that ended: ")
    drained = flowctl(project, "worker", "--drain", "--json")
    assert drained.returncode == 0
    assert state(project, "r") == "completed"


def members(project: Path) -> list[int]:
    """The processes of a crew that has begun: who has a session here."""
    database = f"file:{project / '.flowctl' / 'flowctl.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        return [pid for (pid,) in connection.execute("SELECT pid FROM sessions WHERE fenced = 0")]


def wait_until(holds: Callable[[], bool]) -> None:
    assert any(holds() for _ in lock.attempts(30))


def test_of_a_crew_one_that_dies_is_replaced_and_all_stop_together(project: Path) -> None:
    with spawned(project, "--processes", "2") as leader:
        before = members(project)
        assert len(before) == 2
        assert leader.pid not in before
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(members(project)) - {before[0]}) == 2)
        flowctl(project, "start", "slow.yaml", "--id", "r")
        wait_until_begun(project, "r")
        leader.send_signal(signal.SIGTERM)
        said, _ = leader.communicate(timeout=20)
        assert leader.returncode == 0
    assert said.splitlines()[-1].startswith("the worker has stopped; runs that ended: ")
    assert members(project) == []


def test_a_signal_to_the_whole_group_stops_a_crew_as_one_does(project: Path) -> None:
    """A member that counted it twice would not wait for the attempt, which would be made again."""
    with spawned(project, "--processes", "2") as leader:
        flowctl(project, "start", "slow.yaml", "--id", "r")
        wait_until_begun(project, "r")
        os.killpg(leader.pid, signal.SIGTERM)
        leader.communicate(timeout=20)
        assert leader.returncode == 0
    assert flowctl(project, "worker", "--drain").returncode == 0
    assert '"lost"' not in flowctl(project, "history", "r", "--jsonl").stdout
    assert state(project, "r") == "completed"


def test_the_members_of_a_leader_that_is_killed_stop(project: Path) -> None:
    with spawned(project, "--processes", "2") as leader:
        assert len(members(project)) == 2
        leader.kill()
        leader.wait()
    wait_until(lambda: members(project) == [])


def test_what_is_wrong_with_a_crew_is_said_once(project: Path) -> None:
    refused = flowctl(project, "worker", "--processes", "2", "--db", "nowhere/flowctl.db")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""


def test_a_crew_that_drains_tells_in_one_document_how_its_runs_ended(project: Path) -> None:
    for number in range(4):
        flowctl(project, "start", "slow.yaml", "--id", f"r{number}")
    drained = flowctl(project, "worker", "--processes", "2", "--drain", "--json")
    assert (drained.returncode, json.loads(drained.stdout)) == (0, {"completed": 4})


def test_starting_without_a_worker_says_how_to_go_on(project: Path) -> None:
    started = flowctl(project, "start", "slow.yaml", "--id", "r")
    assert (started.returncode, started.stdout) == (0, "r\n")
    assert started.stderr == "no worker is running; `flowctl worker` executes what was started\n"
    again = flowctl(project, "start", "slow.yaml", "--id", "r", "--json")
    assert '"created": false' in again.stdout


def wait_until_begun(project: Path, run_id: str) -> None:
    """Return when the first attempt of a run has been recorded as started."""
    command = [sys.executable, "-m", "flowctl", "history", run_id, "--follow", "--jsonl"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any('"path":"a"' in line for line in process.stdout)
        process.kill()


def state(project: Path, run_id: str) -> str:
    journal = SqliteJournal.open(project / ".flowctl" / "flowctl.db", read_only=True)
    run = journal.run(run_id)
    assert run is not None, "it was accepted"
    if run.status == "completed":
        assert verify_chain(journal, run_id) is None
    journal.close()
    return run.status


# --- what the tests look at


def held(worker: Worker) -> int:
    """How many runs it has in memory."""
    assert worker._session is not None, "it works"
    return worker._session.runtime.count


def act(world: World, operation: str) -> None:
    engine = world.engine()
    getattr(engine.operations, operation)("r")
    engine.journal.close()


def session_of(engine: Engine) -> str:
    journal = engine.journal
    assert isinstance(journal, SqliteJournal)
    assert journal._session is not None, "it has claimed something"
    return journal._session.id


def kill(world: World, engine: Engine) -> None:
    """Let an engine's session be dead in the eyes of all others."""
    Path(f"{world.path}.sessions", session_of(engine)).unlink()
