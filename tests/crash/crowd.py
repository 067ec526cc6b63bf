"""Eight processes on one database, for a minute, killed and stopped at random: workers, starters, signallers,
cancellers. Then everything accepted is accounted for.

    python -m tests.crash.crowd --seed 1 --seconds 60
    python -m tests.crash.crowd --seed 1 --kills 10000     # as many minutes as it takes
    python -m tests.crash.crowd --seed 1 --seconds 60 --stops

``--kills`` is the number of workers that are to be killed. With ``--stops`` some are stopped instead
(SIGSTOP) for longer than their lease, which is half a second here, and go on when others have their runs.
Whatever is killed is replaced. A new database is begun every minute. In the end all runs that still wait are
signalled, workers drain the database, and it is checked:

1. Every run whose start was acknowledged is there, and has ended: completed, or cancelled and undone.
2. Every signal that was acknowledged is in the inbox once and was received at most once; a run that got one
   and was not cancelled has completed, with the payload of the first.
3. Every cancel that was acknowledged is in the inbox; the run is undone, unless it had ended already or could
   not be reached any more.
4. No step completed twice, nothing that had completed was begun again (but by a zombie), no attempt was begun
   more often than its worker was lost, what was undone was undone in reverse; all chains verify.
5. Nobody said anything but what commands say: no traceback, no locked database.

Prints counts, and what was violated; exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.journal import Entry, Run, lock
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.runtimes import embedded
from flowctl.state import ENDED
from flowctl.testing.faults.judge import Violation, read_ledger
from tests.crash.bugs import BUGS, put
from tests.crash.stories import CORPUS, Story
from tests.crash.victims import Stage, command, preload, put_down, workshop

ROLES = ("worker",) * 3 + ("starter",) * 2 + ("signaller",) * 2 + ("canceller",)
DOCUMENT = CORPUS / "crowd.yaml"
EPISODE = 60.0
"""Seconds until a new database."""

LEASE, BEAT = 0.5, 0.05
"""Seconds, shorter than usual, where some are stopped."""

LONGEST_REST = 0.12
"""Seconds between blows, at most."""

STOPPED = 3 * LEASE
CLOSED = 5
"""The exit code of a command that comes too late."""


@dataclasses.dataclass
class Crowd:
    """The processes around one database."""

    stage: Stage
    chance: random.Random
    stops: bool
    alive: dict[int, str] = dataclasses.field(default_factory=dict)
    asleep: dict[int, float] = dataclasses.field(default_factory=dict)
    blows: Counter[str] = dataclasses.field(default_factory=Counter)

    def gather(self) -> None:
        """Have one process for each role."""
        for role, wanted in Counter(ROLES).items():
            for _ in range(wanted - list(self.alive.values()).count(role)):
                self.alive[self._fork(role)] = role

    def _fork(self, role: str) -> int:
        seed = self.chance.getrandbits(32)
        return fork(self.stage, lambda: LIVES[role](self.stage, random.Random(seed)))

    def strike(self) -> None:
        """Kill somebody, mostly a worker, or stop one; wake who has slept long enough."""
        for pid, since in list(self.asleep.items()):
            if time.monotonic() - since > STOPPED:
                del self.asleep[pid]
                os.kill(pid, signal.SIGCONT)
        awake = [pid for pid in self.alive if pid not in self.asleep]
        workers = [pid for pid in awake if self.alive[pid] == "worker"]
        target = self.chance.choice(workers if workers and self.chance.random() < 0.8 else awake)
        if self.stops and self.alive[target] == "worker" and self.chance.random() < 0.3:
            os.kill(target, signal.SIGSTOP)
            self.asleep[target] = time.monotonic()
            self.blows["workers stopped"] += 1
        else:
            self.kill(target)

    def kill(self, pid: int) -> None:
        """Kill one."""
        role = self.alive.pop(pid)
        if codes := put_down([pid]):
            raise Violation(f"a {role} ended by itself, with {codes[0]}: {complaints(self.stage)[-800:]}")
        self.blows[f"{role}s killed"] += 1

    def disperse(self) -> None:
        """Kill everybody."""
        self.blows.update(f"{role}s killed" for role in self.alive.values())
        if codes := put_down(self.alive):
            raise Violation(f"some ended by themselves, with {codes}: {complaints(self.stage)[-800:]}")


def fork(stage: Stage, life: Callable[[], object]) -> int:
    """A process that lives this life in the stage's folder, saying nothing, and complaining into one file."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            stage.settle(said="/dev/null", append=True, longest=0)
            life()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def complaints(stage: Stage) -> str:
    """What all processes have said on standard error."""
    file = stage.folder / "complained"
    return file.read_text() if file.exists() else ""


# --- what they do all day


def acknowledge(stage: Stage, **what: Any) -> None:
    """Write down what was acknowledged; one write, so lines never mix."""
    with open(stage.folder / "acknowledged", "ab", buffering=0) as file:
        file.write(json.dumps(what).encode() + b"\n")


def acknowledged(stage: Stage) -> list[dict[str, Any]]:
    """What was, in order."""
    return read_ledger(stage.folder / "acknowledged")


def work(stage: Stage, chance: random.Random) -> None:
    """A worker."""
    command(["worker", "--concurrency", str(chance.choice([1, 5, 500])), "--json"])


def start(stage: Stage, chance: random.Random) -> None:
    """Start one run after the other."""
    for number in range(sys.maxsize):
        run_id = f"r{os.getpid()}-{number}"
        _expect(command(["start", str(DOCUMENT), "--id", run_id, "--json"]), 0)
        acknowledge(stage, kind="start", run=run_id)


def tell(stage: Stage, chance: random.Random) -> None:
    """Signal runs that were started, sometimes the same twice."""
    for number, run_id in enumerate(_started(stage, chance)):
        dedup_id = f"{os.getpid()}-{number}"
        words = ["signal", run_id, "go", "--payload", json.dumps(dedup_id), "--dedup-id", dedup_id, "--json"]
        for _ in range(chance.choice([1, 1, 2])):
            if _expect(command(words), 0, CLOSED) == 0:
                acknowledge(stage, kind="signal", run=run_id, dedup_id=dedup_id)


def cancel(stage: Stage, chance: random.Random) -> None:
    """Cancel one run in ten that were started."""
    for run_id in _started(stage, chance):
        if (
            chance.random() < 0.1
            and _expect(command(["cancel", run_id, "--detach", "--json"]), 0, CLOSED) == 0
        ):
            acknowledge(stage, kind="cancel", run=run_id)


def _started(stage: Stage, chance: random.Random) -> Iterator[str]:
    """Runs that were started lately, again and again."""
    while True:
        known = [each["run"] for each in acknowledged(stage) if each["kind"] == "start"][-50:]
        if known:
            yield chance.choice(known)
        else:
            time.sleep(0.01)


def _expect(code: int, *codes: int) -> int:
    if code not in codes:
        raise Violation(f"a command exited with {code}")
    return code


LIVES: Mapping[str, Callable[[Stage, random.Random], None]] = {
    "worker": work,
    "starter": start,
    "signaller": tell,
    "canceller": cancel,
}


# --- the end


def finish(stage: Stage) -> None:
    """Signal what still waits, and let workers carry on until nothing is left."""

    def life() -> None:
        with contextlib.closing(SqliteJournal.open(stage.database, read_only=True)) as journal:
            waiting = [run.id for run in journal.list_runs(limit=1_000_000) if run.status not in ENDED]
        for run_id in waiting:
            _expect(command(["signal", run_id, "go", "--dedup-id", "last", "--json"]), 0, CLOSED)
        for _ in range(100):
            _expect(command(["worker", "--drain", "--json"]), 0)
            with contextlib.closing(SqliteJournal.open(stage.database, read_only=True)) as journal:
                if all(run.status in ENDED for run in journal.list_runs(limit=1_000_000)):
                    return
            time.sleep(0.1)

    if os.waitpid(fork(stage, life), 0)[1]:
        raise Violation(f"it cannot be finished: {complaints(stage)[-800:]}")


def judge(stage: Stage, zombies: bool) -> Counter[str]:
    """Account for everything; returns counts. ``Violation``.

    Where there may be ``zombies``, one may begin late what others have completed meanwhile: it was allowed
    to, and what became of it is not written down.
    """
    if "Traceback" in complaints(stage) or "locked" in complaints(stage):
        raise Violation(complaints(stage)[-2_000:])
    counts: Counter[str] = Counter()
    ledger: dict[str, list[dict[str, Any]]] = {}
    for line in read_ledger(stage.ledger):
        ledger.setdefault(line["run"], []).append(line)
    accepted: dict[str, list[dict[str, Any]]] = {}
    for each in acknowledged(stage):
        accepted.setdefault(each["run"], []).append(each)
        counts[each["kind"]] += 1
    with contextlib.closing(SqliteJournal.open(stage.database)) as journal:
        runs = {run.id: run for run in journal.list_runs(limit=1_000_000)}
        if missing := accepted.keys() - runs.keys():
            raise Violation(f"accepted, and not there: {sorted(missing)[:5]}")
        for run in runs.values():
            counts[run.status] += 1
            _judge_run(journal, run, accepted.get(run.id, []), ledger.get(run.id, []), zombies)
    return counts


def _judge_run(
    journal: SqliteJournal,
    run: Run,
    accepted: Sequence[dict[str, Any]],
    ledger: Sequence[dict[str, Any]],
    zombies: bool,
) -> None:
    def wrong(what: str) -> Violation:
        return Violation(f"{run.id} ({run.status}): {what}")

    if (broken := verify_chain(journal, run.id)) is not None:
        raise wrong(broken)
    if run.status not in ENDED:
        raise wrong("has not ended")
    entries, inbox = journal.entries(run.id), journal.inbox(run.id)
    signals = [message.dedup_id for message in inbox if message.kind == "signal"]
    if twice := [each for each, times in Counter(signals).items() if times > 1]:
        raise wrong(f"signals are there twice: {twice}")
    for each in accepted:
        if each["kind"] == "signal" and each["dedup_id"] not in signals:
            raise wrong(f"the signal {each['dedup_id']} was accepted, and is lost")
    cancelled = any(message.kind == "cancel" for message in inbox)
    if any(each["kind"] == "cancel" for each in accepted) and not cancelled:
        raise wrong("a cancel was accepted, and is lost")
    if run.status == "completed":
        first = next(message for message in inbox if message.kind == "signal")
        if run.output != first.data:
            raise wrong(f"its output is {run.output}, and the first signal said {first.data}")
    elif not cancelled:
        raise wrong(f"nobody has cancelled it: {run.error}")
    elif run.status == "compensation_failed" and not run.saga["in_doubt"]:
        raise wrong(f"something was not undone: {run.saga}")
    _judge_steps(run, entries, ledger, zombies, wrong)


def _judge_steps(
    run: Run,
    entries: Sequence[Entry],
    ledger: Sequence[dict[str, Any]],
    zombies: bool,
    wrong: Callable[[str], Violation],
) -> None:
    facts = [fact for entry in entries for fact in entry.facts()]
    completed = Counter(f"{run.id}/{fact.path}" for fact in facts if fact.kind == "completed")
    if twice := [key for key, times in completed.items() if times > 1]:
        raise wrong(f"completed twice: {twice}")
    at = {f"{run.id}/{fact.path}": fact.at for fact in facts if fact.kind == "completed"}
    started = {f"{run.id}/{fact.path}#{fact.attempt}" for fact in facts if fact.kind == "started"}
    lives = 1 + sum(fact.kind == "recovered" for fact in facts)
    begun: Counter[str] = Counter()
    for line in ledger:
        if line["phase"] == "begin":
            begun[f"{line['key']}#{line['attempt']}"] += 1
            if not zombies and line["at"] > at.get(line["key"], line["at"]):
                raise wrong(f"{line['key']} was completed at {at[line['key']]}, and begun at {line['at']}")
    if early := begun.keys() - started:
        raise wrong(f"{sorted(early)} began before the journal knew")
    if often := [attempt for attempt, times in begun.items() if times > lives]:
        raise wrong(f"{often} began more often than in each of {lives} lives")
    undone = [path.removesuffix(".undo") for path in _in_order(facts, ".undo")]
    done = [path for path in _in_order(facts, "") if path in undone]
    if undone != done[::-1]:
        raise wrong(f"{done} were done, and {undone} undone")


def _in_order(facts: Sequence[Any], ending: str) -> list[str]:
    """What completed, in order, by the end of its path; with no ending, what is no undoing."""
    paths = [str(fact.path) for fact in facts if fact.kind == "completed"]
    return [path for path in paths if (path.endswith(ending) if ending else ".undo" not in path)]


def episode(folder: Path, chance: random.Random, seconds: float, kills: int, stops: bool) -> Counter[str]:
    """One database; returns counts. Ends after so many seconds, or when so many workers were killed."""
    stage = Stage(Story(CORPUS, [], fresh=True), folder)
    folder.mkdir()
    crowd = Crowd(stage, chance, stops)
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until and crowd.blows["workers killed"] < kills:
            crowd.gather()
            time.sleep(chance.uniform(0, LONGEST_REST))
            crowd.strike()
    finally:
        crowd.disperse()
    finish(stage)
    return judge(stage, stops) + crowd.blows


def shorten_leases() -> None:
    """In this process and those that it forks."""
    put(lock, "LEASE", LEASE)
    put(embedded, "BEAT", BEAT)


def main() -> int:
    """Episodes; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop to kill after so long")
    parser.add_argument("--stops", action="store_true")
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into every process")
    options = parser.parse_args()
    preload()
    if options.stops:
        shorten_leases()
    if options.bug:
        BUGS[options.bug]()
    counts, chance, begun = Counter[str](), random.Random(options.seed), time.monotonic()
    number, until = 0, begun + options.minutes * 60
    while not number or (counts["workers killed"] < options.kills and time.monotonic() < until):
        with workshop() as folder:
            left = options.kills - counts["workers killed"]
            try:
                counts += episode(
                    folder / "crowd",
                    chance,
                    EPISODE if options.kills else options.seconds,
                    left if options.kills else sys.maxsize,
                    options.stops,
                )
            except Violation as violation:
                print(f"seed {options.seed}, database {number + 1}: {violation}")
                return 1
        number += 1
    told = ", ".join(f"{times} {what}" for what, times in sorted(counts.items()))
    print(f"seed {options.seed}: {number} databases, {told}; 0 violations, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
