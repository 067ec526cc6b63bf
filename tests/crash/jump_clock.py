"""Jump the clock, forwards and backwards, while timers run and workers come and go.

    python -m tests.crash.jump_clock --seed 1 --rounds 1000

Each round is a run with sleeps, timeouts and backoffs of seconds to days. While it is driven, on a real
journal and a loop whose time is virtual, the wall clock that the engine is given is set back and forth by up
to ten years, and the worker is stopped and another one begins. What is checked:

1. Never early: a timer fires when the clock has shown its moment, and is recorded at no earlier moment.
2. Never lost: the run comes to its end.
3. Once: what follows a timer is called once.

Prints counts, and the first violation; exits with 1 on any.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import random
import sys
from pathlib import Path
from typing import Any

from flowctl import values
from flowctl.activities import Activity, ActivityContext, activity, declared
from flowctl.document import load
from flowctl.engine import Engine
from flowctl.errors import FlowctlError
from flowctl.journal import Entry, Run
from flowctl.journal.sqlite import SqliteJournal
from flowctl.runtimes import embedded
from flowctl.testing.faults.judge import RUN, Violation
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flowctl.testing.world import START
from tests.crash.bugs import BUGS
from tests.crash.victims import workshop

SECOND, HOUR, DAY, YEAR = 1_000, 3_600_000, 86_400_000, 31_557_600_000
JUMPS = (SECOND, 60 * SECOND, HOUR, DAY, YEAR, 10 * YEAR)
EVER = 1_000 * YEAR
POLL = 600.0
"""Seconds between looks for messages. Nobody sends any, and virtual days are full of looks."""


class NotYet(Exception):
    """The first attempt fails."""


@dataclasses.dataclass
class Round:
    """One run, its clock, and what was seen."""

    chance: random.Random
    loop: VirtualTimeLoop
    skew: int = 0
    latest: int = 0
    jumps: int = 0
    workers: int = 0
    called: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)

    def clock(self) -> int:
        """What the engine takes for the time of day."""
        now = START + self.loop.milliseconds() + self.skew
        self.latest = max(self.latest, now)
        return now

    async def jump(self) -> None:
        """Set the clock back and forth; at last, to where nothing is far away."""
        furthest = 0
        for _ in range(self.chance.randint(3, 12)):
            await asyncio.sleep(self.chance.uniform(0, 2 * self.chance.choice([1, 60, 3_600])))
            self.skew = self.chance.choice([-1, 1]) * self.chance.choice(JUMPS)
            self.skew += self.chance.randint(0, SECOND)
            furthest = max(furthest, self.skew)
            self.jumps += 1
            self.clock()
        self.skew = furthest

    def activities(self) -> dict[str, Activity]:
        """What is called after a timer; the other fails at first, and so is called after a backoff."""

        @activity("t.note")
        async def note(ctx: ActivityContext) -> None:
            self.clock()
            self.called.append((str(ctx.path), ctx.attempt, self.latest))

        @activity("t.later")
        async def later(ctx: ActivityContext) -> None:
            await note(ctx)
            if ctx.attempt == 1:
                raise NotYet

        return {name: declared(function) for name, function in (("t.note", note), ("t.later", later))}  # type: ignore[misc]


def document(chance: random.Random) -> dict[str, Any]:
    """A workflow with timers of all kinds, at once and one after the other."""

    def duration() -> str:
        longest = chance.choice([60, 7_200, 400_000])
        return f"{chance.randint(1, longest)}s"

    def timer(number: int) -> list[dict[str, Any]]:
        kind = chance.choice(["sleep", "timeout", "block", "backoff"])
        if kind == "backoff":
            policy = {"attempts": 2, "delay": duration(), "max_delay": "30d"}
            return [{"id": f"later{number}", "activity": "t.later", "retry": policy}]
        wait: dict[str, Any] = {"sleep": duration()}
        if kind == "timeout":
            wait = {"wait_for_signal": "never", "timeout": duration(), "on_timeout": "continue"}
        if kind == "block":
            wait = {"try": [{"timeout": duration(), "steps": [{"wait_for_signal": "never"}]}], "catch": {}}
        return [{"id": f"timer{number}", **wait}, {"id": f"then{number}", "activity": "t.note"}]

    branches = {
        f"b{branch}": [step for number in range(chance.randint(1, 3)) for step in timer(number)]
        for branch in range(chance.randint(1, 4))
    }
    return {
        "dsl": 1,
        "name": "timers",
        "timeout": "36500d",
        "signals": {"never": {}},
        "steps": [{"id": "all", "parallel": branches}],
    }


async def drive(this: Round, path: Path) -> tuple[Run, list[Entry]]:
    """Drive a run with one worker after the other, while the clock jumps."""
    source = values.encode(document(this.chance)).decode()
    workflow = load(source, "timers.json").workflow
    jumping = asyncio.create_task(this.jump())
    while True:
        this.workers += 1
        with contextlib.closing(SqliteJournal.open(path)) as journal:
            engine = Engine(journal, this.activities(), secret=lambda name: None, clock=this.clock)
            engine.start(workflow, source, {}, id=RUN)
            driving = asyncio.create_task(engine.drive(RUN, wait=EVER))
            patience = this.chance.uniform(0, 4 * 3_600) if not jumping.done() else None
            await asyncio.wait([driving], timeout=patience)
            if driving.done():
                jumping.cancel()
                return driving.result(), journal.entries(RUN)
            driving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await driving


def judge(this: Round, run: Run, entries: list[Entry]) -> int:
    """How many timers there were; ``Violation``."""
    if run.status != "completed":
        raise Violation(f"the run is {run.status}: {run.error or run.blocked}")
    facts = [fact for entry in entries for fact in entry.facts()]
    due = {fact.path: fact.data["until"] for fact in facts if fact.data.get("until") is not None}
    for fact in facts:
        if fact.path in due and fact.kind in ("completed", "timed_out") and fact.at < due[fact.path]:
            raise Violation(f"{fact.path} was due at {due[fact.path]} and is recorded at {fact.at}")
        if fact.data.get("retry_at") is not None:
            due[f"{fact.path}#2"] = fact.data["retry_at"]
    for path, attempt, latest in this.called:
        for timer in _before(path, attempt, due):
            if latest < due[timer]:
                raise Violation(f"{timer} was due at {due[timer]} and fired when it was {latest}")
    called = [(path, attempt) for path, attempt, _ in this.called]
    if len(called) != len(set(called)):
        raise Violation(f"something was called twice: {called}")
    return len(due)


def _before(path: str, attempt: int, due: dict[str, int]) -> list[str]:
    """The timers that came right before a call: its backoff, or the one with its number."""
    if attempt == 2:
        return [f"{path}#2"]
    return [timer for timer in due if "then" in path and timer.startswith(path.replace("then", "timer"))]


def main() -> int:
    """Rounds; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug")
    options = parser.parse_args()
    if options.bug:
        BUGS[options.bug]()
    embedded.POLL = POLL
    timers = jumps = workers = 0
    with workshop() as folder:
        for number in range(options.rounds):
            loop = VirtualTimeLoop()
            this = Round(random.Random(f"{options.seed} {number}"), loop)
            try:
                run, entries = run_in_virtual_time(drive(this, folder / f"{number}.db"), loop)
                timers += judge(this, run, entries)
            except (Violation, FlowctlError) as violation:
                print(f"seed {options.seed}, round {number}: {violation}")
                return 1
            jumps, workers = jumps + this.jumps, workers + this.workers
    print(
        f"seed {options.seed}: {options.rounds} runs, {timers} timers, {jumps} jumps, {workers} workers,"
        " 0 violations"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
