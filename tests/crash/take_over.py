"""Kill a worker that has hundreds of runs in flight, and see how another one takes them over.

    python -m tests.crash.take_over --runs 200 --rounds 5

Every run is in its second step, which takes three seconds, when the worker is killed with SIGKILL; an idle
worker stands by. What is checked: the other one begins that step of every run again, nothing that had
completed is begun again, and all runs complete. Prints how long after the kill the last run had been taken
over; exits with 1 on a violation, or, with ``--within SECONDS``, if that was later.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from flowctl.testing.faults.judge import Look, Violation, read_ledger
from tests.crash.bugs import BUGS
from tests.crash.crowd import complaints, fork
from tests.crash.stories import CORPUS, Story
from tests.crash.victims import Stage, command, preload, put_down, workshop

DOCUMENT = CORPUS / "herd.yaml"
PATIENCE = 60.0


def wait_for(ledger: Path, step: str, phase: str, count: int, but_not: int = 0) -> list[dict[str, Any]]:
    """The lines of the ledger about a step, once there are so many, not counting those of a process."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        lines = [
            line
            for line in read_ledger(ledger)
            if line["key"].endswith(f"/{step}") and line["phase"] == phase and line["pid"] != but_not
        ]
        if len(lines) >= count:
            return lines
        time.sleep(0.005)
    raise Violation(f"{step} did not {phase} {count} times in {PATIENCE:g} s")


def round_(folder: Path, runs: int) -> tuple[int, float]:
    """One killing. Returns how many runs were taken over, and how many seconds that took."""
    stage = Stage(Story(CORPUS, [], fresh=True), folder)
    folder.mkdir()

    def start() -> None:
        for number in range(runs):
            if command(["start", str(DOCUMENT), "--id", f"run-{number}", "--json"]):
                raise Violation("a start was refused")

    if os.waitpid(fork(stage, start), 0)[1]:
        raise Violation(complaints(stage)[-800:])
    workers = [first := fork(stage, lambda: command(["worker", "--json"]))]
    try:
        wait_for(stage.ledger, "b", "begin", runs)
        workers.append(fork(stage, lambda: command(["worker", "--json"])))
        while len(os.listdir(f"{stage.database}.sessions")) < 2:
            time.sleep(0.005)
        killed = time.time_ns() // 1_000_000
        put_down([workers.pop(0)])
        again = wait_for(stage.ledger, "b", "begin", runs, but_not=first)
        wait_for(stage.ledger, "c", "done", runs)
        os.kill(workers[0], signal.SIGTERM)  # and it records what it has just done
        os.waitpid(workers.pop(), 0)
    finally:
        put_down(workers)
    _check(Look.at(stage.database, stage.ledger), runs, first)
    return len(again), (max(line["at"] for line in again) - killed) / 1000


def _check(look: Look, runs: int, first: int) -> None:
    if Counter(run["status"] for run in look.runs) != {"completed": runs} or look.broken:
        raise Violation(f"not all have completed: {look.broken}")
    again = [line for line in look.ledger if line["key"].endswith("/a") and line["pid"] != first]
    if again:
        raise Violation(f"what had completed was begun again: {again[:3]}")


def main() -> int:
    """Rounds; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--within", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into every process")
    options = parser.parse_args()
    preload()
    if options.bug:
        BUGS[options.bug]()
    slowest, total = 0.0, 0
    for number in range(options.rounds):
        with workshop() as folder:
            try:
                taken, seconds = round_(folder / "herd", options.runs)
            except Violation as violation:
                print(f"round {number}: {violation}")
                return 1
        print(f"{taken} of {options.runs} runs were taken over within {seconds:.3f} s")
        slowest, total = max(slowest, seconds), total + taken
    print(f"{options.rounds} workers killed, {total} runs taken over, the slowest after {slowest:.3f} s")
    return 1 if slowest > options.within else 0


if __name__ == "__main__":
    sys.exit(main())
