"""Cut the power: work out every state that a disk may be left in, open each as a journal, and look for what
was acknowledged.

    python -m tests.crash.lose_power --seed 1                   # at least 50,000 states; minutes
    python -m tests.crash.lose_power --seed 1 --permille 20     # some of them
    python -m tests.crash.lose_power --bug synchronous-normal   # must find losses, and exit with 1

A scenario is carried out once by a process whose calls are recorded, and which notes in the record what has
been acknowledged to it. After each call, ``flowctl.testing.faults.disk`` says what may be on the disk if the
power goes now. Each state that is new is written to a folder and opened. What is checked:

1. It opens, with nobody's help.
2. Every run, entry, message, document and version that was acknowledged by then is there: of a run, the entry
   that was acknowledged last has the hash that it had.
3. The hash chain of every run verifies, and SQLite finds no damage.
4. In every tenth state: a run can be claimed and written to, and that is there when the journal is opened
   again.

Prints counts, and what was violated; exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlite_utils

from flowctl.errors import StorageError
from flowctl.journal import Change, Document, Journal, Message, Run, database, files, migrations
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.runtimes.embedded import EmbeddedRuntime
from flowctl.state import ENDED
from flowctl.testing import faults
from flowctl.testing.faults.disk import Disk, State
from flowctl.testing.journal_conformance import NOW, claimed, completed
from tests.crash.bugs import BUGS, put
from tests.crash.stories import STORIES
from tests.crash.victims import Preparation, Stage, in_parallel, preload, with_shim, workshop

SAMPLES = 12
"""States by chance, after each call."""

Acknowledged = dict[str, Any]
"""What must be there, by what it is: ``run ID`` → [entries, hash of the last], ``messages ID`` → how many,
``document DIGEST``, ``version NAME@V``."""


def acknowledge(what: str, value: Any = True) -> None:
    """From here on it must be there."""
    faults.mark(json.dumps([what, value]))


def acknowledge_run(run: Run) -> None:
    """From here on the run must be there, with all that has been written to it."""
    acknowledge(f"run {run.id}", [run.entries, run.head.hex()])


# --- scenarios: what is done to the database


def writers(path: Path, chance: random.Random, rounds: int = 60) -> None:
    """Two journals write to some runs by turns; each is closed now and then, and another one opened."""
    database.FIRST_CHECKPOINT, database.CHECKPOINT_PAGES = 8, 12
    journals = [SqliteJournal.open(path), SqliteJournal.open(path)]
    messages: dict[str, int] = {}
    for number in range(rounds):
        which = number % 2
        _write(journals[which], f"run-{which}-{chance.randint(0, 3)}", number, chance, messages)
        if chance.random() < 0.08:
            journals[which].close()
            journals[which] = SqliteJournal.open(path)
    for journal in journals:
        journal.close()


def _write(
    journal: Journal, run_id: str, number: int, chance: random.Random, messages: dict[str, int]
) -> None:
    run = claimed(journal, run_id)
    acknowledge_run(run)
    size = chance.choice([0, 10, 500, 9_000])
    entries = [completed(f"s{number}_{each}", "x" * size) for each in range(chance.randint(1, 3))]
    journal.commit([Change(run, entries, state_changed=chance.random() < 0.3)])
    acknowledge_run(run)
    if chance.random() < 0.3:
        journal.deliver(Message(run_id, "signal", "go", {"n": number}, NOW))
        messages[run_id] = messages.get(run_id, 0) + 1
        acknowledge(f"messages {run_id}", messages[run_id])
    if chance.random() < 0.2:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        journal.put_document(Document(digest, "order", number, b"{}", f"text {number}"))
        acknowledge(f"document {digest}")
        journal.deploy("order", number, digest, NOW)
        acknowledge(f"version order@{number}")


def failed_syncs(path: Path, chance: random.Random, rounds: int = 16) -> None:
    """One process after the other writes; in each second one a sync fails, and it leaves."""
    database.FIRST_CHECKPOINT, database.CHECKPOINT_PAGES = 8, 12
    for number in range(rounds):
        fails = number % 2 == 1
        pid = os.fork()
        if pid == 0:
            action, at = (faults.FAIL, chance.randint(1, 12)) if fails else ("", 0)
            faults.arm(dataclasses.replace(_plan(path), kinds="s", action=action, at=at, error=errno.EIO))
            with contextlib.suppress(StorageError):
                journal = SqliteJournal.open(path)
                for each in range(4):
                    _write(journal, f"run-{number % 3}", number * 10 + each, chance, {})
                journal.close()
            os._exit(0)
        os.waitpid(pid, 0)
        chance.random()


def migrated(path: Path, chance: random.Random) -> None:
    """An older database is opened by a flowctl that knows one more migration."""
    know_more()
    journal = SqliteJournal.open(path)
    _write(journal, "run-0-0", 1_000, chance, {})
    journal.close()


def know_more() -> None:
    """Make this process know one more migration than there is."""
    later = sqlite_utils.Migrations("flowctl")
    for known in migrations.migrations.pending(sqlite_utils.Database(memory=True)):
        later(name=known.name)(known.fn)
    later(name="m999_later")(lambda db: db.create_table("later", {"id": int}))
    migrations.migrations = later
    files.SCHEMA += 1


@dataclasses.dataclass(frozen=True)
class Scenario:
    """``work`` is recorded, on what ``before`` left, if there is any. ``read`` prepares whoever opens the
    states.
    """

    work: Callable[[Path, random.Random], object]
    before: Callable[[Path, random.Random], object] | None = None
    read: Callable[[], object] = lambda: None


def _story(name: str) -> Scenario:
    story = STORIES[name]

    def tell(path: Path, chance: random.Random) -> None:
        """The engine says itself what it holds to be durable: before it lets effects happen."""
        done = EmbeddedRuntime._commit_done

        def acknowledged(runtime: EmbeddedRuntime, machines: Any, changes: list[Change]) -> None:
            for change in changes:
                acknowledge_run(change.run)
            done(runtime, machines, changes)

        put(EmbeddedRuntime, "_commit_done", acknowledged)
        stage = Stage(story, path.parent)
        for command in story.commands:
            stage.carry_out(command)

    return Scenario(tell)


SCENARIOS: Mapping[str, Scenario] = {
    "writers": Scenario(writers),
    "syncs that fail": Scenario(failed_syncs),
    "a migration": Scenario(migrated, before=lambda path, chance: writers(path, chance, 20), read=know_more),
    **{name: _story(name) for name in ("an order", "children", "continue_as_new", "signals that come early")},
}


# --- recording


def record(scenario: Scenario, folder: Path, seed: int, prepare: Preparation | None) -> tuple[Disk, Path]:
    """Carry a scenario out; returns the disk as it was before, and the trace."""
    path, trace = folder / "flowctl.db", folder / "trace"
    folder.mkdir()
    if scenario.before is not None:
        _in_a_process(lambda: scenario.before(path, random.Random(seed)))  # type: ignore[misc]
    there = {str(file): file.read_bytes() if file.is_file() else None for file in folder.glob("flowctl.db*")}

    def work() -> None:
        if prepare is not None:
            prepare()
        faults.arm(_plan(path))
        scenario.work(path, random.Random(seed))

    _in_a_process(work)
    return Disk(there), trace


def _plan(path: Path) -> faults.Plan:
    return faults.Plan(str(path), trace=str(path.with_name("trace")))


def _in_a_process(work: Callable[[], object]) -> None:
    def lines() -> Iterator[str]:
        work()
        yield from ()

    in_parallel(1, lambda number: lines())


# --- judging


@dataclasses.dataclass
class Count:
    """What was found: how many states lack something (``lost``), or cannot be read or used (``broken``)."""

    states: int = 0
    lost: int = 0
    broken: int = 0
    first: str = ""


class Examiner:
    """Opens states in a folder. ``original`` is the path of the database in the trace."""

    def __init__(self, folder: Path, original: Path) -> None:
        self._folder = folder
        self._original = str(original)
        self._database = folder / original.name

    def examine(self, state: State, acknowledged: Acknowledged, *, use: bool) -> tuple[list[str], str]:
        """What is lost, and what else is wrong."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for path, content in sorted(state.items()):
            file = self._folder / os.path.relpath(path, os.path.dirname(self._original))
            if content is None:
                file.mkdir(exist_ok=True)
            elif file.parent.is_dir():  # a name in a folder that is not there leads nowhere
                file.write_bytes(content)
        try:
            return self._open(acknowledged, use=use)
        except Exception as error:
            return [], f"{type(error).__name__}: {error}"

    def _open(self, acknowledged: Acknowledged, *, use: bool) -> tuple[list[str], str]:
        if not self._database.exists() and not acknowledged:
            return [], ""
        with contextlib.closing(SqliteJournal.open(self._database)) as journal:
            lost = [what for what, value in acknowledged.items() if not _is_there(journal, what, value)]
            runs = journal.list_runs(limit=1_000)
            wrong = [wrong for run in runs if (wrong := verify_chain(journal, run.id))]
            [check] = journal._db.rows("PRAGMA integrity_check")
            if check != ("ok",):
                wrong.append(str(check))
        if use and runs:
            wrong += self._use(next((run.id for run in runs if run.status not in ENDED), runs[0].id))
        return lost, "; ".join(wrong)

    def _use(self, run_id: str) -> list[str]:
        with contextlib.closing(SqliteJournal.open(self._database)) as journal:
            run = claimed(journal, run_id)
            journal.commit([Change(run, [completed("afterwards")])])
        with contextlib.closing(SqliteJournal.open(self._database)) as journal:
            last = journal.entries(run_id)[-1].fact.path
            return [] if last == "afterwards" else ["what was written afterwards is not there"]


def _is_there(journal: Journal, what: str, value: Any) -> bool:
    kind, _, name = what.partition(" ")
    if kind == "run":
        count, head = value
        entries = journal.entries(name)
        return journal.run(name) is not None and (
            count == 0 or (len(entries) >= count and entries[count - 1].hash.hex() == head)
        )
    if kind == "messages":
        return len(journal.inbox(name)) >= int(value)
    if kind == "document":
        return journal.document(name) is not None
    of, _, version = name.partition("@")
    return any(found.version == int(version) for found in journal.definitions(of))


def crash(disk: Disk, trace: Path, seed: int) -> Iterator[tuple[State, Acknowledged]]:
    """Every state that is new, or of which more is asked, after each call; with what was acknowledged."""
    chance, seen = random.Random(seed), set[bytes]()
    acknowledged: Acknowledged = {}
    for call in faults.read_trace(trace):
        if call.kind == "a":
            what, value = json.loads(call.data)
            acknowledged[what] = value
        elif not disk.follow(call):
            continue
        asked = json.dumps(acknowledged).encode()
        for state in disk.states(chance, SAMPLES):
            digest = _digest(state, asked)
            if digest not in seen:
                seen.add(digest)
                yield state, dict(acknowledged)


def _digest(state: State, asked: bytes) -> bytes:
    digest = hashlib.blake2b(asked, digest_size=12)
    for path, content in sorted(state.items()):
        digest.update(f"\0{path}\0{'folder' if content is None else len(content)}\0".encode())
        digest.update(content or b"")
    return digest.digest()


def examine(
    name: str, recorded: tuple[Disk, Path], folder: Path, job: int, jobs: int, seed: int, limit: int
) -> Count:
    """Examine every state of a scenario that falls to this job."""
    SCENARIOS[name].read()
    disk, trace = recorded
    examiner, count = Examiner(folder / f"examined-{job}", trace.with_name("flowctl.db")), Count()
    for number, (state, acknowledged) in enumerate(crash(disk, trace, seed)):
        if number % jobs != job or (limit and hash((seed, number)) % 1_000 >= limit):
            continue
        lost, wrong = examiner.examine(state, acknowledged, use=number % 10 == 0)
        count.states += 1
        count.lost += bool(lost)
        count.broken += bool(wrong)
        if (lost or wrong) and not count.first:
            count.first = f"{name}, state {number}: lost {lost}, {wrong}"
    return count


def main() -> int:
    """Carry out all scenarios, examine what may come of each; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--permille", type=int, default=0, help="examine only so many of 1,000 states; 0: all"
    )
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into what is recorded")
    options = parser.parse_args()
    with_shim()
    preload()
    total, begun = Count(), time.monotonic()
    for name in [options.scenario] if options.scenario else SCENARIOS:
        count = Count()
        with workshop() as folder:
            prepare = BUGS[options.bug] if options.bug else None
            recorded = record(SCENARIOS[name], folder / "recorded", options.seed, prepare)

            def work(job: int, name: str = name, recorded: Any = recorded, folder: Path = folder) -> Any:
                found = examine(name, recorded, folder, job, options.jobs, options.seed, options.permille)
                return [dataclasses.asdict(found)]

            for found in in_parallel(options.jobs, work):
                count = _sum(count, Count(**found))
        print(f"{name}: {count.states} states, {count.lost} lost, {count.broken} broken")
        if count.first:
            print(f"  {count.first}")
        total = _sum(total, count)
    print(
        f"seed {options.seed}: {total.states} distinct states,"
        f" {total.lost} that lost something acknowledged, {total.broken} broken,"
        f" {time.monotonic() - begun:.0f} s"
    )
    return 1 if total.lost or total.broken else 0


def _sum(one: Count, other: Count) -> Count:
    return Count(
        one.states + other.states,
        one.lost + other.lost,
        one.broken + other.broken,
        one.first or other.first,
    )


if __name__ == "__main__":
    sys.exit(main())
