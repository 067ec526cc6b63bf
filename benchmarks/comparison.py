"""flowctl beside the limits of bare SQLite and beside DBOS, on the same work, in one run on one machine.

    python -m benchmarks.comparison [--rounds N] [--quick] [--write]

Absolute figures are of one machine and one moment; the ratios are medians over rounds, in each of which
everybody was measured in turn, and travel better. Everybody's steps are durable no-ops of coroutines, with
SQLite's ``synchronous=FULL``. DBOS uses SQLite as it is shipped (rollback journal) and with WAL, which is a
property of the file and was set before. ``--write`` keeps the figures, the chart and the table in docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest import mock

import msgspec

from benchmarks import report, steps, waiting, work
from benchmarks.environments import PEERS, ROOT, Missing, python_with
from benchmarks.figures import Comparison, Row, Target, compared, keep, machine, targets
from benchmarks.work import worker

MEMORY = "/dev/shm"  # a disk in memory, not a place for temporary files
LIMIT, BY_HAND, OURS = "bare SQLite", "bare SQLite, by hand", "flowctl"
WAL, SHIPPED = "DBOS, SQLite with WAL", "DBOS, SQLite as shipped"

Subject = Callable[[Path], float]


class Dbos:
    """DBOS, in its own Python."""

    def __init__(self, python: Path) -> None:
        self._python = str(python)

    @property
    def version(self) -> str:
        """Its version."""
        code = "from importlib.metadata import version; print(version('dbos'))"
        return subprocess.run(
            [self._python, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()

    def work(self, folder: Path, what: str, number: int, mode: str = "wal") -> float:
        """Seconds that the work took, on a database in that journal mode."""
        if not (folder / "dbos.db").exists():
            with closing(sqlite3.connect(folder / "dbos.db")) as connection:
                connection.execute(f"PRAGMA journal_mode = {mode}")
        command = [self._python, str(PEERS / "dbos_work.py"), str(folder), what, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if what != "interrupt" and done.returncode:
            raise RuntimeError(f"DBOS failed at {what}: {done.stderr[-500:]}")
        return float(json.loads(done.stdout).get("seconds", 0))


def in_turn(
    rounds: int, subjects: Mapping[str, Subject], rarely: Mapping[str, Subject]
) -> list[dict[str, float]]:
    """What everybody needs, round by round; those who need long only once."""
    measured = []
    for number in range(rounds):
        present = {**subjects, **(rarely if number == 0 else {})}
        measured.append({who: fresh(subject) for who, subject in present.items()})
    return measured


def fresh(subject: Subject) -> float:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return subject(Path(folder))


def in_memory(rounds: int, quick: bool, dbos: Dbos | None) -> Row | None:
    """The same as ``sequential``, where an fsync costs nothing: what is left is everybody's own work."""
    if not Path(MEMORY).is_dir():
        return None
    with mock.patch.object(tempfile, "tempdir", MEMORY):
        row = sequential(rounds, quick, dbos)
    figures = [msgspec.structs.replace(figure, target="") for figure in row.figures]
    return Row(f"{row.what}, where an fsync costs nothing", row.unit, figures)


def sequential(rounds: int, quick: bool, dbos: Dbos | None) -> Row:
    """One run of many steps."""
    count = 200 if quick else 1000
    fewer = count // 5
    subjects: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_sequential(folder, count),
        LIMIT: lambda folder: steps.bare_sequential(folder, count),
        "flowctl, in threads": lambda folder: work.rate(folder, work.workflow(["bench.thread"] * count), 1),
        "flowctl, in processes": lambda folder: work.rate(
            folder, work.workflow(["bench.process"] * fewer), 1
        ),
    }
    rarely: dict[str, Subject] = {}
    if dbos is not None:
        subjects[WAL] = lambda folder: fewer / dbos.work(folder, "sequential", fewer)
        rarely[SHIPPED] = lambda folder: fewer / dbos.work(folder, "sequential", fewer, "delete")
    return compared(
        "one run, step after step",
        "steps/s",
        in_turn(rounds, subjects, rarely),
        {LIMIT: "at least 0.5", WAL: "at least 10"},
    )


def at_once(rounds: int, quick: bool, dbos: Dbos | None) -> Row:
    """Many runs of five steps."""
    runs = 100 if quick else 1000
    subjects: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_at_once(folder, runs, work.STEPS),
        **_at_once_at_most(runs),
        "flowctl, in threads": lambda folder: work.rate(
            folder, work.workflow(["bench.thread"] * work.STEPS), runs
        ),
    }
    rarely: dict[str, Subject] = {
        "flowctl, in processes": lambda folder: work.rate(
            folder, work.workflow(["bench.process"] * work.STEPS), runs
        ),
    }
    if dbos is not None:
        rarely[WAL] = lambda folder: runs * work.STEPS / dbos.work(folder, "at_once", runs)
        rarely[SHIPPED] = lambda folder: runs * work.STEPS / dbos.work(folder, "at_once", runs, "delete")
    what = f"{runs:,} runs of {work.STEPS} steps at once"
    return compared(what, "steps/s", in_turn(rounds, subjects, rarely), _AT_ONCE | {WAL: "at least 30"})


def by_two(rounds: int, quick: bool, dbos: Dbos | None) -> Row | None:
    """The same by two processes on one database, beside the limit of one: for whom one processor is not
    enough.
    """
    if (os.cpu_count() or 1) < 2:
        return None
    runs = 100 if quick else 1000
    subjects: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_processes(folder, runs, work.STEPS),
        **_at_once_at_most(runs),
        "flowctl, one process": lambda folder: steps.flowctl_at_once(folder, runs, work.STEPS),
    }
    what = f"{runs:,} runs of {work.STEPS} steps at once, by two processes"
    return compared(what, "steps/s", in_turn(rounds, subjects, {}), _AT_ONCE)


_AT_ONCE = {LIMIT: "at least 0.3", BY_HAND: "at least 0.3"}


def _at_once_at_most(runs: int) -> dict[str, Subject]:
    """The limits of many runs at once: rows that were made before, and rows that each task makes."""
    makes = {LIMIT: steps.made_before, BY_HAND: steps.by_hand}
    return {
        who: partial(steps.bare_group_commit, runs=runs, steps=work.STEPS, make=make)
        for who, make in makes.items()
    }


def recovery(rounds: int, quick: bool, dbos: Dbos | None) -> Row:
    """From the start of a process until all that was interrupted is done."""
    runs = 100 if quick else 1000

    def ours(folder: Path) -> float:
        command = [sys.executable, "-m", "benchmarks.work", str(folder), "interrupt", str(runs)]
        subprocess.run(command, cwd=ROOT, check=False)
        begun = time.perf_counter()
        worked = subprocess.run(
            worker(folder, "--drain", "--json"), check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
        assert json.loads(worked.stdout) == {"completed": runs}, worked.stdout
        return seconds

    def theirs(folder: Path) -> float:
        assert dbos is not None
        dbos.work(folder, "interrupt", runs)
        begun = time.perf_counter()
        dbos.work(folder, "recover", runs)
        return time.perf_counter() - begun

    rarely = {WAL: theirs} if dbos is not None else {}
    measured = in_turn(rounds, {OURS: ours}, rarely)
    what = f"recovery of {runs:,} interrupted runs, from the start of a process until all are done"
    return compared(what, "s", measured, {OURS: "under 1 s"})


def main(arguments: list[str] | None = None) -> list[Target]:
    """Measure, print the table, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument(
        "--write", action="store_true", help="keep the figures, the chart and the table in docs/"
    )
    options = parser.parse_args(arguments)
    versions = {}
    try:
        dbos = Dbos(python_with("dbos"))
        versions["DBOS"] = dbos.version
    except Missing as missing:
        dbos = None
        print(f"without DBOS, which cannot be installed here: {missing}\n")
    made = Comparison(machine(), versions, [])
    for measure in (sequential, in_memory, at_once, by_two, recovery):
        row = measure(options.rounds, options.quick, dbos)
        made.rows += [row] if row is not None else []
    made.rows += waiting.rows(1_000 if options.quick else 100_000)
    print(report.table(made))
    if options.write:
        keep(made)
        report.write()
    return targets(made)


if __name__ == "__main__":
    main()
