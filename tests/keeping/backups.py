"""Take backups of a database that others work on, put them back, and go on with them.

    python -m tests.keeping.backups --seed 1 --count 100

Processes start runs and drive them, one after the other, and tell which have ended; now and then one of them
is killed. Of each backup it is checked that it is right (``verify``), that it has every run that had been
told when it was begun, and that a process which opens it takes over what was under way and brings it to its
end.

Prints counts. Exits with 1 if anything is missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from flowctl.activities import Activity, activity, declared
from flowctl.engine import Engine
from flowctl.journal.audit import audit
from flowctl.journal.backup import back_up
from flowctl.journal.opening import connect
from flowctl.state import LIVE
from tests.versions_helpers import _source, workflow_of

WORKERS = 2
STEPS = 5
KILLS = 0.3
"""How likely a worker is killed between two backups."""

WORKFLOW = workflow_of(
    [{"id": f"s{number}", "activity": "t.a", "with": {"value": number}} for number in range(STEPS)]
)


@activity("t.a")
async def answer(value: int) -> int:
    """Its argument."""
    await asyncio.sleep(0)
    return value


def engine(path: Path) -> Engine:
    """As a process has it."""
    made = declared(answer)
    assert made is not None
    activities: dict[str, Activity] = {made.name: made}
    return Engine(connect(str(path)), activities, secret=lambda name: None)


class Worker:
    """A process that starts runs and drives them, and tells their ids when they have ended."""

    def __init__(self, path: Path) -> None:
        self._told, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._work(path, telling)
            finally:
                os._exit(1)
        os.close(telling)
        os.set_blocking(self._told, False)
        self._rest = b""

    def _work(self, path: Path, telling: int) -> None:
        mine = engine(path)
        while True:
            run, _ = mine.start(WORKFLOW, _source(WORKFLOW), {})
            asyncio.run(mine.drive(run.id, wait=0))
            os.write(telling, f"{run.id}\n".encode())

    def told(self) -> list[str]:
        """The runs that have ended since it was last asked."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._told, 65_536):
                self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]

    def kill(self) -> None:
        """End it, however it is."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        os.close(self._told)


def restored(copy: Path, promised: set[str]) -> tuple[list[str], int]:
    """What is wrong with a copy, and how many runs had to be brought to their end."""
    problems = [problem.message for problem in audit(str(copy)).problems]
    mine = engine(copy)
    with contextlib.closing(mine.journal) as journal:
        runs = {run.id: run for run in journal.list_runs(limit=1_000_000)}
        missing = [run for run in promised if run not in runs or runs[run].status != "completed"]
        problems += [f"{run} had ended, and is not there, or not so" for run in missing]
        left = [run.id for run in runs.values() if run.status in LIVE]
        for run_id in left:
            run = asyncio.run(mine.drive(run_id, wait=0))
            if run.status != "completed" or run.output != STEPS - 1:
                problems.append(f"{run_id} did not come to its end: {run.status}")
    problems += [problem.message for problem in audit(str(copy)).problems]
    return problems, len(left)


def search(seed: int, count: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Take so many backups; returns what was counted, and what is wrong."""
    chance, counts, wrong = random.Random(seed), Counter[str](), list[str]()
    path, promised = folder / "flowctl.db", set[str]()
    engine(path).journal.close()
    workers = [Worker(path) for _ in range(WORKERS)]
    try:
        for number in range(count):
            while len(promised) < 3 * (number + 1):  # there is something new in each
                promised.update(run for worker in workers for run in worker.told())
            copy = folder / f"copy-{number}.db"
            back_up(str(path), str(copy))
            problems, taken_over = restored(copy, promised)
            wrong += [f"backup {number}: {problem}" for problem in problems]
            counts += Counter({"backups": 1, "runs taken over": taken_over, "runs checked": len(promised)})
            for file in folder.glob(f"{copy.name}*"):
                if file.is_file():
                    file.unlink()
            if chance.random() < KILLS:
                victim = chance.randrange(WORKERS)
                workers[victim].kill()
                promised.update(workers[victim].told())
                workers[victim].close()
                workers[victim] = Worker(path)
                counts["kills"] += 1
    finally:
        for worker in workers:
            worker.kill()
            worker.close()
    wrong += [f"afterwards: {problem.message}" for problem in audit(str(path)).problems]
    return counts, wrong


def main() -> int:
    """Search as told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, wrong = search(options.seed, options.count, Path(folder))
    print(", ".join(f"{number:,} {name}" for name, number in counts.items()), f"{len(wrong)} wrong", sep=", ")
    for problem in wrong[:20]:
        print(problem)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
