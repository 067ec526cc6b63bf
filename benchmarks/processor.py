"""What a processor does for a step and a run, beside bare SQLite: instructions, and misses of its caches.

Counted by cachegrind (valgrind). Where times waver by a third, instructions repeat to one in a thousand,
misses to a few in a hundred: they show what a change of a hundredth did. They are no times: the kernel and
the disk are not in them. Each is a difference between many runs and few, so that what is imported or made
once is not in it either.
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

FEW, MANY = 100, 500
"""Runs."""

ONE, ELEVEN = 1, 11
"""Steps of a run."""

FIVE = 5
"""Steps of the runs in docs/performance.md."""

BEGUN = 1_767_225_600_000_000_000
"""Nanoseconds since 1970 at which the clock begins."""

CACHES = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64")
"""Of a server's core: 32 KiB each for instructions and data, and 1 MiB for both behind them."""

VALGRIND = ("valgrind", "--tool=cachegrind", "--cachegrind-out-file=/dev/null", *CACHES)

COUNTED = {
    "instructions": r"I\s+refs",
    "misses of the first cache": r"[ID]1\s+misses",
    "misses of the second": r"LL misses",
}
"""What is counted, and how cachegrind calls it."""


def work(kind: str, runs: int, steps: int) -> None:
    """Do it on a clock that tells the same time in every process."""
    ticks = itertools.count(BEGUN, 1000)
    time.time_ns = lambda: next(ticks)
    embedded.POLL = 1e6  # nobody else is there to look for
    with tempfile.TemporaryDirectory() as folder:
        WORK[kind](Path(folder), runs, steps)


def counted(kind: str, runs: int, steps: int) -> dict[str, int]:
    """The counts of a process that does nothing else."""
    program = [sys.executable, "-m", "benchmarks.processor", kind, str(runs), str(steps)]
    ended = subprocess.run(
        [*VALGRIND, *program],
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {
        what: sum(int(number.replace(",", "")) for number in re.findall(rf"{name}:\s+([\d,]+)", ended.stderr))
        for what, name in COUNTED.items()
    }


def per_run(kind: str, steps: int) -> dict[str, float]:
    """The counts for each run of so many steps."""
    few, many = counted(kind, FEW, steps), counted(kind, MANY, steps)
    return {what: (many[what] - few[what]) / (MANY - FEW) for what in COUNTED}


def table() -> None:
    """Count all, and print."""
    counted("flowctl", FEW, ONE)  # whoever comes first may have to compile modules
    print(f"{'':57} {'a step':>8} {'a run besides':>14} {'a step of five':>15}")
    for kind in WORK:
        one, eleven = per_run(kind, ONE), per_run(kind, ELEVEN)
        for what in COUNTED:
            step = (eleven[what] - one[what]) / (ELEVEN - ONE)
            besides = one[what] - ONE * step
            row = f"{step:8,.0f} {besides:14,.0f} {step + besides / FIVE:15,.0f}"
            print(f"{kind:30} {what:26} {row}", flush=True)


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
