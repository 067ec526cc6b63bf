"""Kill a process at every call by which it changes the files of its database, give the command again, and
compare what comes of the story with what comes of it undisturbed.

    python -m tests.crash.kill_everywhere --seed 1                 # every point; minutes
    python -m tests.crash.kill_everywhere --seed 1 --points 100    # so many of them, drawn by chance

A point is a command of a story (``stories``), the number of a call (``flowctl.testing.faults``), and whether
the blow falls before it, halfway through what it writes, or after it. In every third point the process that
takes over is killed as well, at a call drawn by chance. ``judge`` says what is checked.

Prints counts, and each violation with what repeats it; exits with 1 on any.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowctl.testing import faults
from tests.crash.bugs import BUGS
from tests.crash.judge import Ending, Judge, Violation
from tests.crash.stories import STORIES, TOUCH
from tests.crash.victims import Preparation, Stage, in_parallel, preload, with_shim, workshop

BLOWS = (faults.KILL_BEFORE, faults.KILL_HALFWAY, faults.KILL_AFTER)
SECOND_BLOW = 1 / 3
"""How often the process that takes over is killed too."""


@dataclasses.dataclass(frozen=True)
class Point:
    """Where the blow falls; ``second`` is the call at which the next process is killed, or 0."""

    story: str
    command: int
    call: int
    blow: str
    second: int = 0


@dataclasses.dataclass(frozen=True)
class Reference:
    """A story undisturbed: how it ends, the stage before each command, and how many calls that makes."""

    ending: Ending
    stages: Sequence[Stage]
    calls: Sequence[int]


def undisturbed(name: str, folder: Path, prepare: Preparation | None = None) -> Reference:
    """Tell a story and keep what it was like before each command."""
    story = STORIES[name]
    stage = Stage(story, folder / "now")
    stage.set_up()
    stage.prepare = prepare
    stages, calls = [], []
    counts = faults.Counts(str(folder / "counts"))
    for number, command in enumerate(story.commands):
        stages.append(stage.copy_to(folder / f"before-{number}"))
        counts.reset()
        plan = faults.Plan("", kinds=faults.WRITES, counts=counts.path)
        stage.perform(command, plan, look_after=command is story.commands[-1])
        calls.append(counts.calls)
    return Reference(Judge().at_the_end(stage.look("after")), stages, calls)


def points(references: dict[str, Reference], chance: random.Random) -> Iterator[Point]:
    """All points of all stories."""
    for name, reference in references.items():
        for number, calls in enumerate(reference.calls):
            if STORIES[name].commands[number][0] == TOUCH:
                continue
            for call in range(1, calls + 1):
                for blow in BLOWS:
                    second = chance.randint(1, calls) if chance.random() < SECOND_BLOW else 0
                    yield Point(name, number, call, blow, second)


def disturbed(point: Point, reference: Reference, folder: Path) -> tuple[Ending, int]:
    """What comes of a story when the blow falls at this point, and how many blows fell."""
    stage = reference.stages[point.command].copy_to(folder)
    commands = STORIES[point.story].commands[point.command :]
    judge, blows = Judge(reference.ending), 0
    for blow, call in ((point.blow, point.call), (faults.KILL_AFTER, point.second)):
        plan = faults.Plan("", blow, call, kinds=faults.WRITES) if call else None
        end = stage.perform(commands[0], plan, look_before=blows > 0, look_after=len(commands) == 1)
        if blows:
            judge.after_death(stage.look("before"))
        if not end.killed:
            break
        blows += 1
    else:
        stage.perform(commands[0], look_before=True, look_after=len(commands) == 1)
        judge.after_death(stage.look("before"))
    for command in commands[1:]:
        stage.perform(command, look_after=command is commands[-1])
    return judge.at_the_end(stage.look("after")), blows


def strike(
    chosen: Sequence[Point], references: dict[str, Reference], folder: Path
) -> Iterator[tuple[int, str]]:
    """For each point how many blows fell, and what was violated."""
    for number, point in enumerate(chosen):
        here = folder / str(number)
        try:
            reference = references[point.story]
            ending, blows = disturbed(point, reference, here)
            wrong = "" if ending == reference.ending else f"it ended as {ending}, not as {reference.ending}"
        except (Violation, OSError, ValueError) as violation:
            blows, wrong = 0, f"{type(violation).__name__}: {violation}"
        yield blows, f"{point}: {wrong}" if wrong else ""
        shutil.rmtree(here, ignore_errors=True)


def main() -> int:
    """Strike at the points that were asked for; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", type=int, default=0, help="how many, drawn by chance; 0: all")
    parser.add_argument("--story", help="only stories whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into every process")
    options = parser.parse_args()
    with_shim()
    preload()
    begun, chance = time.monotonic(), random.Random(options.seed)
    prepare = BUGS[options.bug] if options.bug else None
    with workshop() as folder:
        names = [name for name in STORIES if (options.story or "") in name]
        references = {
            name: undisturbed(name, folder / f"story-{number}", prepare) for number, name in enumerate(names)
        }
        chosen = list(points(references, chance))
        total = len(chosen)
        if options.points:
            chance.shuffle(chosen)
            del chosen[options.points :]
        lines = in_parallel(
            options.jobs,
            lambda job: strike(chosen[job :: options.jobs], references, folder / f"job-{job}"),
        )
    blows, wrongs = [blows for blows, _ in lines], [wrong for _, wrong in lines if wrong]
    for wrong in wrongs[:10]:
        print(wrong)
    print(
        f"seed {options.seed}: {len(lines)} of {total} points in {len(names)} stories, {sum(blows)} kills,"
        f" {blows.count(0)} missed, {len(wrongs)} violations, {time.monotonic() - begun:.0f} s"
    )
    return 1 if wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
