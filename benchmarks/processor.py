"""How many instructions a processor executes for a step and a run, beside bare SQLite, counted by cachegrind
(valgrind).

Where times waver by a third, these counts repeat to one in a thousand: they show what a change of a hundredth
did. They are no times: the kernel, the disk and the caches are not in them. Each is a difference between many
runs and few, so that what is imported or made once is not in it either.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.steps import bare_group_commit, by_hand, flowctl_at_once, made_before
from flowctl.runtimes import embedded

WORK: dict[str, Callable[[Path, int, int], float]] = {
    "flowctl": flowctl_at_once,
    "bare SQLite, by hand": partial(bare_group_commit, make=by_hand),
    "bare SQLite, rows made before": partial(bare_group_commit, make=made_before),
}

FEW, MANY = 100, 300
"""Runs."""

ONE, ELEVEN = 1, 11
"""Steps of a run."""

FIVE = 5
"""Steps of the runs in docs/performance.md."""

BEGUN = 1_767_225_600_000_000_000
"""Nanoseconds since 1970 at which the clock begins."""

VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")

COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


def work(kind: str, runs: int, steps: int) -> None:
    """Do it on a clock that tells the same time in every process."""
    ticks = itertools.count(BEGUN, 1000)
    time.time_ns = lambda: next(ticks)
    embedded.POLL = 1e6  # nobody else is there to look for
    with tempfile.TemporaryDirectory() as folder:
        WORK[kind](Path(folder), runs, steps)


def executed(kind: str, runs: int, steps: int) -> int:
    """Instructions of a process that does nothing else."""
    program = [sys.executable, "-m", "benchmarks.processor", kind, str(runs), str(steps)]
    counted = subprocess.run(
        [*VALGRIND, *program],
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    )
    found = COUNTED.search(counted.stderr)
    assert found is not None, counted.stderr
    return int(found[1].replace(",", ""))


def per_run(kind: str, steps: int) -> float:
    """Instructions for each run of so many steps."""
    return (executed(kind, MANY, steps) - executed(kind, FEW, steps)) / (MANY - FEW)


def table() -> None:
    """Count all, and print."""
    executed("flowctl", FEW, ONE)  # whoever comes first may have to compile modules
    print(f"{'processor instructions':30} {'a step':>9} {'a run besides':>14} {'a step of five':>15}")
    for kind in WORK:
        one, eleven = per_run(kind, ONE), per_run(kind, ELEVEN)
        step = (eleven - one) / (ELEVEN - ONE)
        besides = one - ONE * step
        print(f"{kind:30} {step:9,.0f} {besides:14,.0f} {step + besides / FIVE:15,.0f}", flush=True)


def main() -> None:
    """Do one piece of work if one is named, else count all."""
    if len(sys.argv) > 1:
        kind, runs, steps = sys.argv[1:]
        work(kind, int(runs), int(steps))
    elif shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not here: install it with the packages of your system")
    else:
        table()


if __name__ == "__main__":
    main()
