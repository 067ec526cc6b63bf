"""The SQLite journal between processes: at once, killed, forked."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest

from flowctl.errors import StorageError
from flowctl.journal import Change
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.testing.journal_conformance import append, claimed, completed, new_run, paths

KILLS = 30
ACK = struct.Struct("q")

WRITER = """
import contextlib, sys
from flowctl.journal import Change
from flowctl.journal.sqlite import SqliteJournal
from flowctl.testing.journal_conformance import claimed, completed

path, run_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with contextlib.closing(SqliteJournal.open(path)) as journal:
    run = claimed(journal, run_id)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(count):
        changes = [Change(run, [completed(f"s{i}")])]
        if not journal.try_commit(changes):
            journal.commit(changes)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowctl.db"


def opened(path: Path) -> contextlib.closing[SqliteJournal]:
    return contextlib.closing(SqliteJournal.open(path))


def forked(body: Callable[[], object]) -> int:
    """Run ``body`` in a child, which exits with 0, or 1 if it raises. Returns its pid."""
    pid = os.fork()
    if pid == 0:
        _exit_after(body)
    return pid


def _exit_after(body: Callable[[], object]) -> NoReturn:
    try:
        body()
        os._exit(0)
    finally:
        os._exit(1)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    runs = {f"run-{i}": 100 for i in range(3)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, run_id, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for run_id, count in runs.items()
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0] * len(runs)
    with opened(path) as journal:
        for run_id, count in runs.items():
            assert paths(journal, run_id) == [f"s{i}" for i in range(count)]
            assert verify_chain(journal, run_id) is None
        seqs = sorted(entry.seq for run_id in runs for entry in journal.entries(run_id))
        assert seqs == list(range(1, sum(runs.values()) + 1))


def test_of_those_who_claim_at_once_one_gets_the_run(path: Path) -> None:
    with opened(path) as journal:
        journal.create(new_run())
    start, go = os.pipe()
    answers, answer = os.pipe()
    done, end = os.pipe()

    def claimant() -> None:
        os.close(go)
        os.close(end)
        os.read(start, 1)
        with opened(path) as journal:
            os.write(answer, b"0" if journal.claim("order-1") is None else b"1")
            os.read(done, 1)

    claimants = [forked(claimant) for _ in range(4)]
    os.close(go)
    assert sorted(os.read(answers, 1) for _ in claimants) == [b"0", b"0", b"0", b"1"]
    os.close(end)
    assert [exit_code(pid) for pid in claimants] == [0] * 4
    for fd in (start, answers, answer, done):
        os.close(fd)


def write_until_killed(path: Path, acknowledge: int) -> None:
    """Take the run over and append to it, writing the number of each entry to a pipe when it is durable."""
    journal = SqliteJournal.open(path)
    run = claimed(journal)
    for i in range(run.entries, sys.maxsize):
        journal.commit([Change(run, [completed(f"s{i}")], state_changed=i % 7 == 0)])
        os.write(acknowledge, ACK.pack(i))


def writing_child(path: Path) -> tuple[int, BinaryIO]:
    """The pid of a child that does so, and the pipe."""
    reading, writing = os.pipe()
    child = forked(lambda: write_until_killed(path, writing))
    os.close(writing)
    return child, open(reading, "rb")


def test_what_was_acknowledged_survives_kill_minus_nine(path: Path) -> None:
    chance = random.Random(20)
    acknowledged = 0
    for _ in range(KILLS):
        child, acknowledgements = writing_child(path)
        with acknowledgements as pipe:
            pipe.read(ACK.size * chance.randint(1, 6))
            os.kill(child, signal.SIGKILL)
            assert exit_code(child) == -signal.SIGKILL
            for (i,) in ACK.iter_unpack(pipe.read()):
                acknowledged = i + 1
        with opened(path) as journal:
            kept = paths(journal)
            assert kept == [f"s{i}" for i in range(len(kept))]
            assert len(kept) >= acknowledged
            assert not journal.attended("order-1")
            assert verify_chain(journal, "order-1") is None
    with opened(path) as journal:
        claimed(journal)
        assert len(list(Path(f"{path}.sessions").iterdir())) == 1


def test_a_stopped_process_is_not_a_dead_one(path: Path) -> None:
    child, acknowledgements = writing_child(path)
    try:
        with acknowledgements as pipe:
            pipe.read(ACK.size)
            os.kill(child, signal.SIGSTOP)
            os.waitpid(child, os.WUNTRACED)
            with contextlib.closing(SqliteJournal.open(path, read_only=True)) as journal:
                assert journal.attended("order-1")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_journal_does_not_cross_a_fork(path: Path) -> None:
    with opened(path) as journal:
        run = claimed(journal)

        def child() -> None:
            with pytest.raises(StorageError, match="parent process"):
                append(journal, run, "child")
            with pytest.raises(StorageError, match="parent process"):
                journal.run("order-1")
            journal.close()
            with opened(path) as own:
                assert own.claim("order-1") is None

        assert exit_code(forked(child)) == 0
        append(journal, run, "a")
        assert journal.attended("order-1")
        assert paths(journal) == ["a"]


def test_a_child_does_not_keep_its_dead_parent_alive(path: Path) -> None:
    until, let_go = os.pipe()
    told, tell = os.pipe()

    def grandchild() -> None:
        os.close(let_go)
        os.write(tell, b"x")
        os.read(until, 1)
        os.write(tell, b"x")

    def parent() -> None:
        journal = SqliteJournal.open(path)
        claimed(journal)
        forked(grandchild)
        os.kill(os.getpid(), signal.SIGKILL)

    assert exit_code(forked(parent)) == -signal.SIGKILL
    assert os.read(told, 1) == b"x"
    with opened(path) as journal:
        assert journal.claim("order-1") is not None
    os.close(let_go)
    assert os.read(told, 1) == b"x"
    for fd in (until, told, tell):
        os.close(fd)
