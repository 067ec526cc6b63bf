"""A long run: what a step costs in a loop of 100,000, beside one in a short loop, and how soon it is resumed.

The run loops over a no-op activity and then waits for a signal. Resuming is opening the database, recovering
the run from what is recorded, and coming to the wait again.

    python -m benchmarks.loops [--steps N]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.figures import Target
from benchmarks.steps import noop
from flowctl import document, values
from flowctl.activities import Activity, declared
from flowctl.engine import Engine, calm_collector
from flowctl.journal.opening import connect
from flowctl.model import Workflow

SHORT = 1_000
TARGET = 5.0
"""Seconds within which a run of 100,000 steps is resumed."""

REMEMBERED = 50_000
"""Steps in a second of recovery."""

LONGER = 1.2
"""How much more a step may cost in a long run: it is to be the same, but for what else goes on."""


def workflow() -> Workflow:
    """A loop, and a wait."""
    body = {
        "dsl": 1,
        "name": "bench",
        "signals": {"go": {}},
        "steps": [
            {
                "id": "loop",
                "while": "loop.index < input.n",
                "max_iterations": 1_000_000,
                "steps": [{"id": "s", "activity": "bench.noop", "with": {"n": "${{ loop.index }}"}}],
            },
            {"wait_for_signal": "go"},
        ],
    }
    return document.load(values.encode(body), "bench.json").workflow


def engine(path: Path) -> Engine:
    """A fresh one on the database, as another process would make it."""
    made = declared(noop)
    assert made is not None
    activities: dict[str, Activity] = {made.name: made}
    return Engine(connect(str(path)), activities, secret=lambda name: None)


def drive(path: Path, steps: int, *, start: bool) -> float:
    """Seconds until the run waits, from the first look into the database when it is resumed."""
    begun = time.perf_counter()
    with closing((made := engine(path)).journal):
        if start:
            made.start(workflow(), "bench", {"n": steps}, id="bench")
            begun = time.perf_counter()
        run = asyncio.run(made.drive("bench", wait=0))
        seconds = time.perf_counter() - begun
    assert run.status == "waiting", run.status
    return seconds


def measure(steps: int) -> tuple[float, float]:
    """Seconds per step, and seconds to resume."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flowctl.db"
        return drive(path, steps, start=True) / steps, drive(path, steps, start=False)


def main(arguments: list[str] | None = None) -> list[Target]:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    steps = parser.parse_args(arguments).steps
    calm_collector()
    measure(SHORT)
    short, _ = measure(SHORT)
    long, resumed = measure(steps)
    print(f"a step in a loop of {steps:,}: {long * 1e6:.0f} µs, of {SHORT:,}: {short * 1e6:.0f} µs;", end=" ")
    print(f"ratio {long / short:.2f}")
    print(f"resuming the run of {steps:,} steps: {resumed:.1f} s (target {TARGET:.0f} s)")
    return [
        Target(f"a step in a run of {steps:,}, × one in a run of {SHORT:,}", long / short, LONGER),
        Target(f"resuming a run of {steps:,} steps", resumed, TARGET, "s"),
        Target("remembered steps", steps / resumed, REMEMBERED, "steps/s", least=True),
    ]


if __name__ == "__main__":
    main()
