"""Many runs that wait: what a worker beside them costs, and how soon it acts on a signal.

    python -m benchmarks.waiting [--runs N]

Half of the runs wait for a signal, the others for a timer that is hours away. Memory is the resident set of
a worker, once beside an empty database and once beside all of them; idle is processor time while nothing
happens; latency is from the moment that a signal is accepted until the run that it wakes has ended, durably.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks import report, work
from benchmarks.figures import Comparison, Figure, Row, machine
from flowctl import document, values
from flowctl.engine import Session, calm_collector
from flowctl.model import Workflow

PORTION = 1_000
"""Runs that are started at once."""

SETTLED = 3.0
"""Seconds that a worker has for looking around before it is idle."""

IDLE = 5.0
"""Seconds for which an idle worker is watched."""

SIGNALS = 50


def waits_for_signal() -> Workflow:
    """A run that ends with a signal."""
    return _workflow({"wait_for_signal": "go"}, signals={"go": {}})


def waits_for_timer() -> Workflow:
    """A run that ends in some hours."""
    return _workflow({"sleep": "20h"})


def _workflow(step: dict[str, object], **more: object) -> Workflow:
    body = {"dsl": 1, "name": "bench", "steps": [step], **more}
    return document.load(values.encode(body), "bench.json").workflow


def start(folder: Path, runs: int) -> list[str]:
    """Start so many runs and leave them waiting; the ids of those that wait for a signal."""
    mine = work.engine(folder)
    calm_collector()
    waiting: list[str] = []

    async def portion(made: Workflow, count: int) -> list[str]:
        session = Session(mine)
        added = [session.add(mine.prepare(made, {}), new=True) for _ in range(count)]
        for each in added:
            await session.rest(each, 0)
        await session.close()
        return [each.run.id for each in added]

    with closing(mine.journal):
        signalled, timed = waits_for_signal(), waits_for_timer()
        for made in (signalled, timed):
            mine.pin(made, made.digest)
        for _ in range(0, runs, 2 * PORTION):
            waiting += asyncio.run(portion(signalled, min(PORTION, runs // 2)))
            asyncio.run(portion(timed, min(PORTION, runs // 2)))
    return waiting


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[int]:
    """A worker that has looked around; its process id."""
    process = subprocess.Popen(work.worker(folder), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(SETTLED)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.communicate()


def resident(pid: int) -> float:
    """Megabytes of memory that a process has."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_time(pid: int) -> float:
    """Seconds that a process has computed."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(pid: int) -> float:
    """How much of a processor an idle worker uses, in percent."""
    before = processor_time(pid)
    time.sleep(IDLE)
    return 100 * (processor_time(pid) - before) / IDLE


def latencies(folder: Path, runs: list[str]) -> list[float]:
    """Milliseconds from a signal to the end of its run."""
    mine, taken = work.engine(folder), []
    with closing(mine.journal) as journal:
        for run_id in runs:
            mine.signal(run_id, "go", None)
            begun = time.perf_counter()
            while (run := journal.run(run_id)) is not None and run.status != "completed":
                time.sleep(0.001)
            taken.append(1000 * (time.perf_counter() - begun))
    return taken


def rows(runs: int) -> list[Row]:
    """What was measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work.engine(folder).journal.close()
        with worker(folder) as pid:
            empty = resident(pid)
        waiting = start(folder, runs)
        step = max(1, len(waiting) // SIGNALS)
        with worker(folder) as pid:
            full, busy = resident(pid), idle(pid)
            taken = latencies(folder, waiting[::step])
    beside = f"beside {runs:,} waiting runs"
    memory = [Figure(beside, full, target="as with none"), Figure("beside an empty database", empty)]
    signals = [
        Figure("median", statistics.median(taken)),
        Figure(f"longest of {len(taken)}", max(taken), target="under 100 ms"),
    ]
    return [
        Row("memory of a worker", "MB", memory),
        Row("processor time of an idle worker", "%", [Figure(beside, busy, target="none to speak of")]),
        Row(f"from a signal to the end of its run, {beside}", "ms", signals),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    print(report.table(Comparison(machine(), {}, rows(parser.parse_args().runs))))


if __name__ == "__main__":
    main()
