"""Durable steps per second, beside what bare SQLite does on the same disk in the same minute.

Limits, written as anybody would who wants only speed: one commit per step, and group commit (1,000
asyncio tasks whose rows of one turn of the loop share a transaction). All insert one row of the
journal's shape per step, with WAL and ``synchronous=FULL``. Of group commit there are two: one whose rows
were made before, so that SQLite is nearly all that is measured, and one whose tasks do by hand what a step
comes to: call the coroutine, encode what it returned, chain it. Then flowctl: one run of many sequential
steps, and 1,000 runs of five steps at once, from accepted to ended, with no-op async activities; these also
by two processes that share the database, each with half of the runs.

Figures of one machine say little; the ratios travel. Each is the median of pairs measured in turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.together import together
from flowctl import document, values
from flowctl.activities import Activity, activity, declared
from flowctl.engine import Engine, calm_collector
from flowctl.journal.opening import connect
from flowctl.model import Workflow

DATA = '{"data":{"output":0},"then":[{"at":1767225600000,"attempt":1,"data":{"digest":"' + "0" * 32 + '"'
DATA += ',"input":{"n":0},"name":"bench.noop","verb":"activity"},"kind":"started","path":"s1"}]}'
HASH = bytes(32)
"""An entry as flowctl writes it for such a step."""

TABLE = (
    "create table entries(seq integer primary key, run integer, path text, kind text, attempt integer,"
    " generation integer, at integer, data text, hash blob)",
    "create unique index entries_are_unique on entries(run, path, kind, attempt, generation)",
)
INSERT = (
    "insert into entries(run, path, kind, attempt, generation, at, data, hash)"
    " values (?, ?, 'completed', 1, 0, 1767225600000, ?, ?)"
)


@activity("bench.noop")
async def noop(n: int) -> int:
    """Nothing, durably."""
    return n


def _bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    for statement in TABLE:
        connection.execute(statement)
    return connection


def bare_sequential(folder: Path, steps: int) -> float:
    """Steps per second of one commit per row."""
    connection = _bare(folder / "bare.db")
    begun = time.perf_counter()
    for number in range(steps):
        connection.execute("begin immediate")
        connection.execute(INSERT, (1, f"s{number}", DATA, HASH))
        connection.execute("commit")
    return steps / (time.perf_counter() - begun)


Make = Callable[[int, int, bytes], Awaitable[tuple[str, bytes]]]
"""The data and the hash of a run's row for a step, from the numbers of both and the hash before."""


async def made_before(run: int, number: int, before: bytes) -> tuple[str, bytes]:
    """A row that costs nothing."""
    return DATA, HASH


async def by_hand(run: int, number: int, before: bytes) -> tuple[str, bytes]:
    """What the step returns, as flowctl records it together with the start of the next one."""
    output = await noop(run)
    called = {"digest": "0" * 32, "input": {"n": run}, "name": "bench.noop", "verb": "activity"}
    started = {"at": 1767225600000, "attempt": 1, "data": called, "kind": "started", "path": f"s{number}"}
    data = json.dumps({"data": {"output": output}, "then": [started]}, separators=(",", ":"))
    return data, hashlib.sha256(before + data.encode()).digest()


def bare_group_commit(folder: Path, runs: int, steps: int, make: Make = made_before) -> float:
    """Steps per second of asyncio tasks whose rows of one turn share a commit."""
    connection = _bare(folder / "bare.db")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        pending: list[tuple[Any, ...]] = []
        waiting: list[asyncio.Future[None]] = []

        def flush() -> None:
            connection.execute("begin immediate")
            connection.executemany(INSERT, pending)
            connection.execute("commit")
            pending.clear()
            for future in waiting:
                future.set_result(None)
            waiting.clear()

        async def one(run: int) -> None:
            digest = HASH
            for number in range(steps):
                data, digest = await make(run, number, digest)
                if not pending:
                    loop.call_soon(flush)
                pending.append((run, f"s{number}", data, digest))
                future = loop.create_future()
                waiting.append(future)
                await future

        await asyncio.gather(*(one(run) for run in range(runs)))

    begun = time.perf_counter()
    asyncio.run(main())
    return runs * steps / (time.perf_counter() - begun)


def flowctl_sequential(folder: Path, steps: int) -> float:
    """Steps per second of one run."""
    return _flowctl(folder, _workflow(steps), 1, steps)


def flowctl_at_once(
    folder: Path, runs: int, steps: int, around: Callable[[], object] = lambda: None
) -> float:
    """Steps per second of many runs, accepted and driven together. ``around`` is called right before and
    right after.
    """
    return _flowctl(folder, _workflow(steps), runs, steps, around)


def flowctl_processes(folder: Path, runs: int, steps: int, processes: int = 2) -> float:
    """The same by several processes, each with its part of the runs."""
    connect(str(folder / "flowctl.db")).close()
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(processes + 1)
    parts = [
        context.Process(target=_part, args=(folder, runs // processes, steps, together))
        for _ in range(processes)
    ]
    for part in parts:
        part.start()
    together.wait()
    begun = time.perf_counter()
    together.wait()
    seconds = time.perf_counter() - begun
    for part in parts:
        part.join()
    return runs * steps / seconds


def _part(folder: Path, runs: int, steps: int, together: Barrier) -> None:
    flowctl_at_once(folder, runs, steps, together.wait)


def _workflow(steps: int) -> Workflow:
    body = {
        "dsl": 1,
        "name": "bench",
        "steps": [
            {"id": f"s{number}", "activity": "bench.noop", "with": {"n": "${{ input.n }}"}}
            for number in range(steps)
        ],
    }
    return document.load(values.encode(body), "bench.json").workflow


def _flowctl(
    folder: Path, workflow: Workflow, runs: int, steps: int, around: Callable[[], object] = lambda: None
) -> float:
    made = declared(noop)
    assert made is not None
    activities: dict[str, Activity] = {made.name: made}
    journal = connect(str(folder / "flowctl.db"))
    engine = Engine(journal, activities, secret=lambda name: None)
    engine.pin(workflow, "bench")
    calm_collector()

    seconds = asyncio.run(together(engine, workflow, runs, around))
    journal.close()
    return runs * steps / seconds


def pairs(
    limit: Callable[[Path], float], ours: Callable[[Path], float], times: int
) -> tuple[float, float, float]:
    """The medians of both and of their ratio, measured in turn."""
    figures = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            figures.append((limit(Path(one)), ours(Path(other))))
    ratios = [ours / limit for limit, ours in figures]
    return (
        statistics.median(limit for limit, _ in figures),
        statistics.median(ours for _, ours in figures),
        statistics.median(ratios),
    )


def main() -> None:
    """Print the table."""
    limits = {"": made_before, ", by hand": by_hand}
    subjects: dict[str, Callable[[Path], float]] = {
        "1,000 runs of 5 steps at once": lambda folder: flowctl_at_once(folder, 1000, 5),
        "the same, by two processes": lambda folder: flowctl_processes(folder, 1000, 5),
    }
    sequential = pairs(
        lambda folder: bare_sequential(folder, 1000), lambda folder: flowctl_sequential(folder, 1000), 5
    )
    rows = [("one run, sequential", 0.5, sequential)]
    for name, subject in subjects.items():
        for limit, make in limits.items():
            limited = partial(bare_group_commit, runs=1000, steps=5, make=make)
            rows.append((f"{name}{limit}", 0.3, pairs(limited, subject, 5)))
    print(f"{'durable steps per second':40} {'bare SQLite':>12} {'flowctl':>10} {'ratio':>7} {'target':>7}")
    for name, target, (bare, ours, ratio) in rows:
        print(f"{name:40} {bare:12,.0f} {ours:10,.0f} {ratio:7.2f} {target:7.2f}")


if __name__ == "__main__":
    main()
