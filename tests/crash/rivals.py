"""Processes that take the same runs from each other: some are stopped for longer than their lease and go on
as zombies, some are killed.

    python -m tests.crash.rivals --seed 1 --seconds 60

Each claims one of a few runs, writes entries to it, one after the other, and gives it back. Entry N of a run
is called ``sN``, so two who believe to have the run would write the same one. What is checked:

1. A session that others have taken over from is refused (``Fenced``), whatever it wants to write.
2. The entries of every run are s0, s1, s2, …, each once; the hash chain verifies.
3. What was acknowledged is there, with the hash that it had.

Prints counts, and what was violated; exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from flowctl.journal import Change, Fenced, Run, lock
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.testing.faults.judge import Violation
from flowctl.testing.journal_conformance import completed, new_run
from tests.crash.bugs import BUGS, put
from tests.crash.crowd import acknowledge, acknowledged, complaints, fork
from tests.crash.stories import CORPUS, Story
from tests.crash.victims import Stage, put_down, workshop

RUNS = [f"run-{number}" for number in range(3)]
RIVALS = 4
LEASE = 0.15
"""Seconds after which a silent session may be taken over from."""


def live(stage: Stage, chance: random.Random) -> None:
    """Claim, write, give back; as somebody else once fenced out."""
    while True:
        journal = SqliteJournal.open(stage.database)
        try:
            while True:
                journal.beat()
                run = journal.claim(chance.choice(RUNS))
                if run is None:
                    time.sleep(0.001)
                else:
                    acknowledge(stage, kind="claim", run=run.id)
                    _write(stage, journal, run, chance)
        except Fenced:
            acknowledge(stage, kind="refused")
        finally:
            journal.close()


def _write(stage: Stage, journal: SqliteJournal, run: Run, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 5)):
        journal.commit([Change(run, [completed(f"s{run.entries}")])])
        acknowledge(stage, kind="written", run=run.id, entries=run.entries, head=run.head.hex())
        journal.beat()
        time.sleep(chance.choice([0, 0, 0.002]))
    journal.commit([Change(run, [], state_changed=True, release=True)])


def harass(rivals: dict[int, float | None], stage: Stage, chance: random.Random) -> list[str]:
    """Stop or kill one of the rivals, and say which; let those go on that were stopped for long enough."""
    for pid, since in rivals.items():
        if since is not None and time.monotonic() - since > 3 * LEASE:
            os.kill(pid, signal.SIGCONT)
            rivals[pid] = None
    awake = [pid for pid, since in rivals.items() if since is None]
    if len(awake) < 2:
        return []
    target = chance.choice(awake)
    if chance.random() < 0.8:
        os.kill(target, signal.SIGSTOP)
        rivals[target] = time.monotonic()
        return ["stopped"]
    del rivals[target]
    _check(put_down([target]), stage)
    return ["killed"]


def _check(codes: list[int], stage: Stage) -> None:
    if codes:
        raise Violation(f"a rival ended by itself, with {codes[0]}: {complaints(stage)[-600:]}")


def judge(stage: Stage) -> Counter[str]:
    """Compare the journal with what was acknowledged. ``Violation``."""
    if "Traceback" in complaints(stage):
        raise Violation(complaints(stage)[-600:])
    counts = Counter(each["kind"] for each in acknowledged(stage))
    with contextlib.closing(SqliteJournal.open(stage.database)) as journal:
        entries = {run_id: journal.entries(run_id) for run_id in RUNS}
        for run_id in RUNS:
            if (broken := verify_chain(journal, run_id)) is not None:
                raise Violation(f"{run_id}: {broken}")
            paths = [entry.fact.path for entry in entries[run_id]]
            if paths != [f"s{number}" for number in range(len(paths))]:
                raise Violation(f"{run_id}: {Counter(paths).most_common(3)}")
    for each in acknowledged(stage):
        if each["kind"] == "written":
            there = entries[each["run"]][: each["entries"]]
            if len(there) < each["entries"] or there[-1].hash.hex() != each["head"]:
                raise Violation(f"{each} was acknowledged, and is not there")
    return counts


def compete(folder: Path, chance: random.Random, seconds: float) -> Counter[str]:
    """Have rivals on one database for so long; returns counts."""
    stage = Stage(Story(CORPUS, [], fresh=True), folder)
    folder.mkdir()
    with contextlib.closing(SqliteJournal.open(stage.database)) as journal:
        for run_id in RUNS:
            journal.create(new_run(run_id))
    rivals: dict[int, float | None] = {}
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            while len(rivals) < RIVALS:
                seed = chance.getrandbits(32)

                def life(seed: int = seed) -> Any:
                    return live(stage, random.Random(seed))

                rivals[fork(stage, life)] = None
            time.sleep(chance.uniform(0, LEASE))
            counts.update(harass(rivals, stage, chance))
    finally:
        codes = put_down(rivals)
    _check(codes, stage)
    return counts + judge(stage)


def main() -> int:
    """Compete; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into every process")
    options = parser.parse_args()
    put(lock, "LEASE", LEASE)
    if options.bug:
        BUGS[options.bug]()
    with workshop() as folder:
        try:
            counts = compete(folder / "rivals", random.Random(options.seed), options.seconds)
        except Violation as violation:
            print(f"seed {options.seed}: {violation}")
            return 1
    told = ", ".join(f"{times} {what}" for what, times in sorted(counts.items()))
    print(f"seed {options.seed}: {told}; 0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
