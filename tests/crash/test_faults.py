"""The fault shim, the model of a disk, and the short forms of the harnesses; their long forms are by hand
(docs/guarantees.md).
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from flowctl.testing import faults
from flowctl.testing.faults.disk import Disk, State
from flowctl.testing.faults.trace import Call
from tests.crash.find_bugs import SHORT, SHOULD_FIND

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shim() -> Path:
    try:
        return faults.build()
    except faults.Unavailable as unavailable:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(unavailable))


# --- the shim

WRITER = """
import os, sys
def write(path, *texts):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    for text in texts:
        os.write(fd, text)
        os.fsync(fd)
    os.close(fd)
write(sys.argv[1], b"first ", b"second")
write(sys.argv[1] + "-other", b"watched as well")
os.rename(sys.argv[1] + "-other", sys.argv[1] + "-new")
write(os.path.join(os.path.dirname(sys.argv[1]), "elsewhere"), b"not watched")
"""


def run(shim: Path, plan: faults.Plan) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **faults.preloading(shim), **plan.environment()}
    return subprocess.run(
        [sys.executable, "-c", WRITER, plan.watch],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def test_calls_that_touch_watched_files_are_counted_and_recorded(shim: Path, tmp_path: Path) -> None:
    counts = faults.Counts(str(tmp_path / "counts"))
    trace = tmp_path / "trace"
    plan = faults.Plan(str(tmp_path / "db"), trace=str(trace), counts=counts.path, kinds=faults.WRITES)
    assert run(shim, plan).returncode == 0
    calls = [(call.kind, Path(call.path).name, call.data) for call in faults.read_trace(trace)]
    assert calls == [
        ("c", "db", b""),
        ("w", "db", b"first "),
        ("s", "db", b""),
        ("w", "db", b"second"),
        ("s", "db", b""),
        ("c", "db-other", b""),
        ("w", "db-other", b"watched as well"),
        ("s", "db-other", b""),
        ("r", "db-other", os.fsencode(tmp_path / "db-new")),
    ]
    assert (counts.calls, counts.fired) == (len(calls), 0)


BLOWS = {
    (faults.KILL_BEFORE, 1): None,
    (faults.KILL_AFTER, 1): b"",
    (faults.KILL_BEFORE, 2): b"",
    (faults.KILL_HALFWAY, 2): b"fir",
    (faults.KILL_AFTER, 2): b"first ",
    (faults.KILL_HALFWAY, 4): b"first sec",
}


@pytest.mark.parametrize(("action", "at"), BLOWS)
def test_a_process_is_killed_at_the_call(action: str, at: int, shim: Path, tmp_path: Path) -> None:
    done = run(shim, faults.Plan(str(tmp_path / "db"), action, at, kinds=faults.WRITES))
    assert done.returncode == -9
    assert content(tmp_path / "db") == BLOWS[action, at]
    assert content(tmp_path / "elsewhere") is None


def test_a_call_fails_once_or_from_then_on(shim: Path, tmp_path: Path) -> None:
    counts = faults.Counts(str(tmp_path / "counts"))
    watch = str(tmp_path / "db")
    once = run(
        shim, faults.Plan(watch, faults.FAIL, 2, errno.ENOSPC, kinds=faults.WRITES, counts=counts.path)
    )
    assert "No space left on device" in once.stderr
    assert (counts.calls, counts.fired) == (2, 1)
    short = run(shim, faults.Plan(watch, faults.SHORTEN, 1, kinds="w"))
    assert short.returncode == 0
    assert content(tmp_path / "db") == b"firsecond"


def test_a_torn_end_of_a_trace_is_left_out(shim: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run(shim, faults.Plan(str(tmp_path / "db"), trace=str(trace)))
    whole = list(faults.read_trace(trace))
    trace.write_bytes(trace.read_bytes()[:-3])
    assert list(faults.read_trace(trace)) == whole[:-1]


# --- what may be on a disk


def call(kind: str, path: str, data: bytes = b"", offset: int = 0, result: int = 0) -> Call:
    return Call(kind, path, result, offset, data)


def possible(*calls: Call, samples: int = 200) -> list[State]:
    disk = Disk()
    for each in calls:
        disk.follow(each)
    return list(disk.states(random.Random(1), samples))


MADE = (call("c", "/f/a"), call("s", "/f"))
"""A file that is there for certain, and empty."""


def test_what_is_synced_is_there_and_what_is_not_may_be() -> None:
    synced = possible(*MADE, call("w", "/f/a", b"one"), call("s", "/f/a"))
    assert {state["/f/a"] for state in synced} == {b"one"}
    unsynced = possible(*MADE, call("w", "/f/a", b"one"), call("w", "/f/a", b"two", offset=3))
    assert {state["/f/a"] for state in unsynced} == {b"", b"one", b"onetwo", b"\0\0\0two"}


def test_a_write_is_torn_at_sectors_of_the_file() -> None:
    torn = possible(*MADE, call("w", "/f/a", b"x" * 1000, offset=100))
    lengths = {len(state["/f/a"] or b"") for state in torn}
    assert lengths == {0, 512, 1024, 1100}
    assert any(state["/f/a"] == bytes(512) + b"x" * 588 for state in torn)


def test_a_name_is_certain_once_its_folder_is_synced() -> None:
    made = (call("c", "/f/a"), call("w", "/f/a", b"one"), call("s", "/f/a"))
    assert {frozenset(state.items()) for state in possible(*made)} == {
        frozenset(),
        frozenset({("/f/a", b"one")}),
    }
    renamed = possible(*made, call("s", "/f"), call("r", "/f/a", b"/f/b"))
    assert {tuple(state) for state in renamed} == {("/f/a",), ("/f/b",)}
    removed = possible(*made, call("s", "/f"), call("u", "/f/a"), call("s", "/f"))
    assert {tuple(state) for state in removed} == {()}


def test_what_a_failed_sync_left_uncertain_no_later_one_makes_certain() -> None:
    calls = (
        *MADE,
        call("w", "/f/a", b"one"),
        call("s", "/f/a", result=-1),
        call("w", "/f/a", b"two", offset=3),
        call("s", "/f/a"),
    )
    assert {state["/f/a"] for state in possible(*calls)} == {b"onetwo", b"\0\0\0two"}


# --- the harnesses


def harness(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.crash.{name}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_is_done_twice(name: str) -> None:
    done = harness(name, *SHORT[name])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("bug", [bug for bug in SHOULD_FIND if bug != "synchronous-off"])  # worse is not more
def test_a_seeded_bug_is_found(bug: str) -> None:
    name = SHOULD_FIND[bug][0]
    done = harness(name, *SHORT[name], "--bug", bug)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout, done.stderr


def test_a_killed_worker_s_runs_are_taken_over_and_what_had_completed_is_not_done_again() -> None:
    done = harness("take_over", "--runs", "20")
    assert done.returncode == 0, done.stdout + done.stderr
