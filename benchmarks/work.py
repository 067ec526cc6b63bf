"""The work of the comparison, done by flowctl: by engines in this process, or, to be killed, in others.

python -m benchmarks.work FOLDER interrupt RUNS | recover RUNS
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.together import together
from flowctl import document, values
from flowctl.activities import Activity, activity, declared
from flowctl.engine import Engine, calm_collector
from flowctl.journal.opening import connect
from flowctl.model import Workflow

STEPS = 5
HELD = 3
"""The step in which runs are interrupted."""

_holding: list[int] = []


@activity("bench.async")
async def in_async(n: int) -> int:
    """Nothing, durably."""
    return n


@activity("bench.thread")
def in_thread(n: int) -> int:
    """Nothing, in a thread."""
    return n


@activity("bench.process", isolation="process")
def in_process(n: int) -> int:
    """Nothing, in another process."""
    return n


@activity("bench.hold")
async def hold(n: int) -> int:
    """Nothing, or, to be interrupted, for ever."""
    if _holding:
        _holding[0] -= 1
        if _holding[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(3600)
    return n


def activities() -> dict[str, Activity]:
    """All of them, by name."""
    made = [declared(function) for function in (in_async, in_thread, in_process, hold)]
    return {each.name: each for each in made if each is not None}


def workflow(names: list[str], **more: Any) -> Workflow:
    """A document that calls these activities one after the other."""
    steps = [
        {"id": f"s{number}", "activity": name, "with": {"n": "${{ input.n }}"}}
        for number, name in enumerate(names)
    ]
    body = {"dsl": 1, "name": "bench", "steps": steps, **more}
    return document.load(values.encode(body), "bench.json").workflow


def engine(folder: Path) -> Engine:
    """A fresh one on the database in the folder."""
    return Engine(connect(str(folder / "flowctl.db")), activities(), secret=lambda name: None)


def rate(folder: Path, made: Workflow, runs: int) -> float:
    """Durable steps per second of so many runs at once, from accepted to ended."""
    mine = engine(folder)
    mine.pin(made, "bench")
    calm_collector()

    with closing(mine.journal):
        seconds = asyncio.run(together(mine, made, runs))
    return runs * len(made.steps) / seconds


def interrupt(folder: Path, runs: int) -> None:
    """Start so many, and die when all of them are in the middle."""
    _holding.append(runs)
    rate(folder, workflow(["bench.hold" if step == HELD else "bench.async" for step in range(STEPS)]), runs)


PLUGIN = """
from flowctl import activity

@activity("bench.async")
async def in_async(n: int) -> int:
    return n

@activity("bench.hold")
async def hold(n: int) -> int:
    return n
"""
"""The activities of those who go on, who need not be interrupted."""


def worker(folder: Path, *options: str) -> list[str]:
    """The command of a worker on the database in the folder."""
    plugins = folder / "plugins"
    plugins.mkdir(exist_ok=True)
    (plugins / "bench.py").write_text(PLUGIN)
    where = ["--db", str(folder / "flowctl.db"), "--plugins-dir", str(plugins)]
    return [sys.executable, "-m", "flowctl", "worker", *where, *options]


if __name__ == "__main__":
    interrupt(Path(sys.argv[1]), int(sys.argv[3]))
