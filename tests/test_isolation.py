"""Activities in processes of their own, the database out of bounds, and leaving while one hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowctl import guard
from flowctl.activities import Activity, Attempt, Outcome, declared
from flowctl.activities.modules import import_file
from flowctl.activities.performer import Performer
from flowctl.errors import Failure
from flowctl.path import Path as StepPath

SUFFIXES = ("", "-wal", "-shm")


def files_of(path: str | Path) -> list[str]:
    """The files of a database."""
    return [f"{path}{suffix}" for suffix in SUFFIXES]


ATTEMPT = Attempt(
    run_id="run",
    workflow="isolation",
    version=1,
    path=StepPath("step"),  # as the engine has it, which is more than JSON takes
    attempt=1,
    idempotency_key="run/step",
    name="",
    args={},
    secrets={},
    timeout=60_000,
    heartbeat_timeout=None,
    principal=None,
    trace_id=None,
    last_heartbeat="before",
    started_at=0,
    deadline=60_000,
)

PLUGIN = """
import asyncio, ctypes, logging, os, signal, subprocess, sys, time
from pathlib import Path
from _helper import VALUE
from flowctl import ActivityContext, activity

calls = 0

def process(function):
    return activity(isolation="process", memory="400MB")(function)

@process
def add(a: int, b: int = 1) -> dict[str, int]:
    global calls
    calls += 1
    return {"sum": a + b, "pid": os.getpid(), "calls": calls, "helper": VALUE}

@process
async def add_slowly(a: int) -> int:
    await asyncio.sleep(0)
    return a + 1

@process
def context(ctx: ActivityContext) -> list:
    before = ctx.last_heartbeat
    ctx.heartbeat({"page": 1})
    logging.getLogger("shop").warning("from %s", "inside")
    print("printed")
    return [before, ctx.idempotency_key, ctx.attempt, sys.stdin.read()]

@process
def leave(code: int) -> None:
    os._exit(code)

@process
def call_exit() -> None:
    sys.exit(3)

@process
def crash() -> None:
    ctypes.string_at(0)

@process
def devour() -> int:
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))

@process
def hang(mark: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(mark).write_text(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(600)

@process
def wait(mark: str, answer: bool) -> str:
    try:
        Path(mark).touch()
        while True:
            time.sleep(600)
    except KeyboardInterrupt:
        if not answer:
            raise
    return "ended by itself"

@process
async def wait_on_the_loop(mark: str, answer: bool) -> str:
    try:
        Path(mark).touch()
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        if not answer:
            raise
    return "ended by itself"

@process
def fork_and_die() -> None:
    if os.fork() == 0:
        time.sleep(600)
    os._exit(7)

@process
def closes_the_pipes() -> None:
    os.closerange(3, 100)
    time.sleep(600)

@process
def garbles() -> None:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"\\xff" * 64)
        except OSError:
            pass
    time.sleep(600)

@process
def fail() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error

@process
def huge() -> str:
    return "x" * 100_000_000

@process
def unusable() -> object:
    return object()

@process
def secret(token: str) -> None:
    raise ValueError(f"bad {token}")
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Activity]:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "_helper.py").write_text("VALUE = 'helped'\n")
    (folder / "shop.py").write_text(PLUGIN)
    found = filter(None, map(declared, vars(import_file(folder / "shop.py")).values()))
    return {each.name: each for each in found}


class Scene:
    """A performer within a running loop."""

    def __init__(self, activities: dict[str, Activity]) -> None:
        self.performer = Performer(
            activities, resolve_secret={"TOKEN": "s3cr3t-token"}.get, loop=asyncio.get_running_loop()
        )

    def begin(self, name: str, **changes: Any) -> tuple[Any, asyncio.Future[Outcome]]:
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        handle = self.performer.perform(
            msgspec.structs.replace(ATTEMPT, name=name, **changes), ended.set_result
        )
        return handle, ended

    async def outcome(self, name: str, args: dict[str, Any] | None = None, **changes: Any) -> Outcome:
        return await self.begin(name, args=args or {}, **changes)[1]


def play(activities: dict[str, Activity], scene: Callable[[Scene], Any]) -> Any:
    async def within() -> Any:
        stage = Scene(activities)
        try:
            return await scene(stage)
        finally:
            stage.performer.close()

    return asyncio.run(within())


def once(
    activities: dict[str, Activity], name: str, args: dict[str, Any] | None = None, **changes: Any
) -> Outcome:
    outcome = play(activities, lambda scene: scene.outcome(name, args, **changes))
    assert isinstance(outcome, Outcome)
    return outcome


def failure(outcome: Outcome) -> Failure:
    assert outcome.value is None
    assert outcome.failure is not None
    return outcome.failure


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # of other processes, which set no event
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody reaps has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return status.stdout.strip().startswith("Z") or not status.stdout.strip()


# --- processes


def test_a_process_answers_and_is_used_again_by_the_same_activity(shop: dict[str, Activity]) -> None:
    async def scene(stage: Scene) -> list[Any]:
        import msgspec

        outcomes = [await stage.outcome("add", {"a": 1}), await stage.outcome("add", {"a": 2, "b": 3})]
        return [msgspec.json.decode(outcome.value or b"") for outcome in outcomes]

    one, two = play(shop, scene)
    assert (one["sum"], two["sum"], one["helper"]) == (2, 5, "helped")
    assert (one["calls"], two["calls"]) == (1, 2)
    assert one["pid"] == two["pid"] != os.getpid()


def test_a_coroutine_runs_in_a_process_too(shop: dict[str, Activity]) -> None:
    assert once(shop, "add_slowly", {"a": 1}) == Outcome(value=b"2")


def test_heartbeats_logs_and_prints_come_out_of_a_process(
    shop: dict[str, Activity], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = once(shop, "context")
    assert outcome == Outcome(value=b'["before","run/step",1,""]', heartbeat=b'{"page":1}')
    assert ("shop", logging.WARNING, "from inside") in caplog.record_tuples
    assert "printed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "args", "details"),
    [
        ("leave", {"code": 0}, {"exit_code": 0}),
        ("leave", {"code": 9}, {"exit_code": 9}),
        ("crash", {}, {"signal": "SIGSEGV"}),
        ("fork_and_die", {}, {"exit_code": 7}),
        ("closes_the_pipes", {}, {"signal": "SIGKILL"}),
        ("garbles", {}, {"signal": "SIGKILL"}),
    ],
)
def test_a_process_that_dies_leaves_open_what_happened(
    shop: dict[str, Activity], name: str, args: dict[str, Any], details: dict[str, Any]
) -> None:
    outcome = once(shop, name, args)
    assert failure(outcome).type == "ProcessDied"
    assert failure(outcome).details == details
    assert outcome.uncertain


@pytest.mark.parametrize(
    ("name", "args", "type_", "uncertain"),
    [
        ("fail", {}, "ValueError", False),
        ("call_exit", {}, "SystemExit", False),
        ("devour", {}, "MemoryError", False),
        ("add", {"a": "x"}, "InvalidInput", False),
        ("huge", {}, "PayloadTooLarge", True),
        ("unusable", {}, "InvalidOutput", True),
    ],
)
def test_a_failure_comes_out_of_a_process_as_it_is(
    shop: dict[str, Activity], name: str, args: dict[str, Any], type_: str, uncertain: bool
) -> None:
    outcome = once(shop, name, args)
    assert failure(outcome).type == type_
    assert outcome.uncertain is uncertain
    assert name != "fail" or failure(outcome).cause is not None


def test_a_secret_does_not_come_out_of_a_process(shop: dict[str, Activity]) -> None:
    from flowctl.expressions import SecretRef

    outcome = once(shop, "secret", {"token": None}, secrets={"/token": [SecretRef("TOKEN")]})
    assert failure(outcome).message == "bad ***"


def test_a_process_that_times_out_is_gone_with_all_it_started(
    shop: dict[str, Activity], tmp_path: Path
) -> None:
    mark = tmp_path / "pids"

    async def scene(stage: Scene) -> Outcome:
        outcome = await stage.outcome("hang", {"mark": str(mark)}, timeout=2_000)
        for pid in map(int, mark.read_text().split()):
            await until(lambda pid=pid: gone(pid))  # type: ignore[misc]
        return outcome

    outcome = play(shop, scene)
    assert failure(outcome).type == "Timeout"
    assert outcome.uncertain


@pytest.mark.parametrize("name", ["wait", "wait_on_the_loop"])
@pytest.mark.parametrize("answer", [True, False])
def test_a_process_that_is_told_may_still_answer(
    shop: dict[str, Activity], tmp_path: Path, name: str, answer: bool
) -> None:
    mark = tmp_path / "started"

    async def scene(stage: Scene) -> Outcome:
        handle, ended = stage.begin(name, args={"mark": str(mark), "answer": answer})
        await until(mark.exists)
        handle.cancel()
        return await ended

    outcome = play(shop, scene)
    if answer:
        assert outcome == Outcome(value=b'"ended by itself"')
    else:
        assert failure(outcome).type == "Cancelled"
        assert (outcome.cancelled, outcome.uncertain) == (True, True)


ENGINE = """
import asyncio, sys
from pathlib import Path
from flowctl.activities import declared
from flowctl.activities.modules import import_file
from flowctl.activities.performer import Performer
sys.path.insert(0, {tests!r})
from test_isolation import ATTEMPT
import msgspec

async def main():
    hang = declared(import_file(Path({plugin!r})).{name})
    performer = Performer({{hang.name: hang}}, resolve_secret={{}}.get, loop=asyncio.get_running_loop())
    ended = asyncio.Event()
    attempt = msgspec.structs.replace(ATTEMPT, name=hang.name, args={args!r}, timeout={timeout})
    performer.perform(attempt, lambda outcome: ended.set())
    await ended.wait()

asyncio.run(main())
print("left")
"""


def engine(folder: Path, name: str, args: dict[str, Any], timeout: int) -> subprocess.Popen[str]:
    source = ENGINE.format(
        tests=str(Path(__file__).parent),
        plugin=str(folder / "shop.py"),
        name=name,
        args=args,
        timeout=timeout,
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", source], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_a_killed_engine_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("VALUE = 1\n")
    (tmp_path / "shop.py").write_text(PLUGIN)
    mark = tmp_path / "pids"
    with engine(tmp_path, "hang", {"mark": str(mark)}, 60_000) as process:
        asyncio.run(until(lambda: mark.exists() and len(mark.read_text().split()) == 2))
        process.kill()
    for pid in map(int, mark.read_text().split()):
        asyncio.run(until(lambda pid=pid: gone(pid)))  # type: ignore[misc]


def test_leaving_does_not_wait_for_a_thread_that_hangs(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """
            import threading
            from flowctl import activity

            @activity
            def hang() -> None:
                threading.Event().wait()
            """
        )
    )
    with engine(tmp_path, "hang", {}, 50) as process:
        assert process.communicate(timeout=60)[0] == "left\n"


# --- the database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "flowctl.db"
    for suffix in SUFFIXES:
        Path(f"{path}{suffix}").touch()
    release = guard.protect(files_of(path))
    yield path
    release()


OPENERS: dict[str, Callable[[str], Any]] = {
    "open": lambda path: open(path).close(),
    "open bytes": lambda path: open(os.fsencode(path)).close(),
    "os.open": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "pathlib": lambda path: Path(path).read_bytes(),
    "shutil": lambda path: shutil.copy(path, f"{path}.copy"),
    "sqlite3": lambda path: sqlite3.connect(path).close(),
    "sqlite3 uri": lambda path: sqlite3.connect(f"file:{path}?mode=ro", uri=True).close(),
    "sqlite3 path": lambda path: sqlite3.connect(Path(path)).close(),
    "relative": lambda path: open(os.path.relpath(path)).close(),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_database_cannot_be_opened(database: Path, opener: Callable[[str], Any], suffix: str) -> None:
    with pytest.raises(PermissionError, match="flowctl's database"):
        opener(f"{database}{suffix}")


def test_the_engine_itself_opens_its_database(database: Path) -> None:
    with guard.engine():
        sqlite3.connect(database).close()


def test_a_file_that_only_has_the_same_name_is_not_guarded(database: Path) -> None:
    other = database.parent / "other"
    other.mkdir()
    (other / database.name).write_text("mine")
    assert (other / database.name).read_text() == "mine"


def test_what_is_closed_again_is_not_guarded_any_more(tmp_path: Path) -> None:
    path = tmp_path / "flowctl.db"
    path.touch()
    first, second = guard.protect(files_of(path)), guard.protect(files_of(path))
    first()
    with pytest.raises(PermissionError):
        path.read_bytes()
    second()
    assert path.read_bytes() == b""


OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
connection.execute("insert into t values (2)")
connection.commit()
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_opening_a_file_of_an_open_database_would_lose_its_locks(tmp_path: Path, guarded: bool) -> None:
    """What the guard is for: without it, another process gets in while a transaction is open."""
    path = tmp_path / "flowctl.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t (x)")
    connection.execute("begin immediate")
    connection.execute("insert into t values (1)")
    release = guard.protect(files_of(path)) if guarded else lambda: None
    try:
        Path(f"{path}-shm").open("rb").close()
    except PermissionError:
        pass
    finally:
        release()
    other = subprocess.run([sys.executable, "-c", OTHER, str(path)], capture_output=True, check=False)
    connection.close()
    assert (other.returncode != 0) is guarded
