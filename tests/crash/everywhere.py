"""What harnesses share that disturb a story at each of its calls: the story undisturbed, the points, the
work, the report.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flowctl.testing import faults
from flowctl.testing.faults.judge import Ending, Judge, Violation
from tests.crash.bugs import BUGS
from tests.crash.stories import STORIES, TOUCH
from tests.crash.victims import Preparation, Stage, in_parallel, preload, with_shim, workshop


@dataclasses.dataclass(frozen=True)
class Reference:
    """A story undisturbed: how it ends, and for each command the stage before it, how many calls it makes,
    and its exit code.
    """

    ending: Ending
    stages: Sequence[Stage]
    calls: Sequence[int]
    codes: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Point:
    """Where the fault is, and what it is (``fault`` means something to the harness). ``chance`` seeds what
    else is decided there.
    """

    story: str
    command: int
    call: int
    fault: str
    chance: int


Disturb = Callable[[Point, Reference, Path], tuple[Ending, int]]
"""Tell a story with a fault at a point, in a folder that is not there yet. Returns how it ended, and how many
faults there were. ``Violation``."""


def undisturbed(name: str, folder: Path, kinds: str, prepare: Preparation | None) -> Reference:
    """Tell a story and keep what it was like before each command. From there, tell it with ``prepare``."""
    story = STORIES[name]
    stage = Stage(story, folder / "now")
    stage.set_up()
    stages, calls, codes = [], [], []
    counts = faults.Counts(str(folder / "counts"))
    for number, command in enumerate(story.commands):
        stages.append(dataclasses.replace(stage.copy_to(folder / f"before-{number}"), prepare=prepare))
        counts.reset()
        plan = faults.Plan("", kinds=kinds, counts=counts.path)
        codes.append(stage.perform(command, plan, look_after=command is story.commands[-1]).code)
        calls.append(counts.calls)
    return Reference(Judge().at_the_end(stage.look("after")), stages, calls, codes)


def points(
    references: Mapping[str, Reference], these: Sequence[str], chance: random.Random
) -> Iterator[Point]:
    """All points of all stories, with each of these faults."""
    for name, reference in references.items():
        for number, calls in enumerate(reference.calls):
            if STORIES[name].commands[number][0] == TOUCH:
                continue
            for call in range(1, calls + 1):
                for fault in these:
                    yield Point(name, number, call, fault, chance.getrandbits(32))


def strike(
    chosen: Sequence[Point],
    references: Mapping[str, Reference],
    folder: Path,
    disturb: Disturb,
    until: float,
) -> Iterator[tuple[int, str]]:
    """For each point how many faults there were, and what was violated; as many as there is time for."""
    for number, point in enumerate(chosen):
        if time.monotonic() > until:
            return
        here, reference = folder / str(number), references[point.story]
        try:
            ending, hits = disturb(point, reference, here)
            wrong = "" if ending == reference.ending else f"it ended as {ending}, not as {reference.ending}"
        except Violation as violation:
            hits, wrong = 1, str(violation)
        yield hits, f"{point}: {wrong}" if wrong else ""
        shutil.rmtree(here, ignore_errors=True)


def main(description: str | None, kinds: str, these: Sequence[str], disturb: Disturb) -> int:
    """The command line of such a harness."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", type=int, default=0, help="how many, drawn by chance; 0: all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--story", default="", help="only stories whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bug", choices=sorted(BUGS), help="seed this bug into every process")
    options = parser.parse_args()
    with_shim()
    preload()
    begun, chance = time.monotonic(), random.Random(options.seed)
    with workshop() as folder:
        references = {
            name: undisturbed(name, folder / f"story-{number}", kinds, BUGS.get(options.bug))
            for number, name in enumerate(STORIES)
            if options.story in name
        }
        chosen = list(points(references, these, chance))
        total = len(chosen)
        chosen = chance.sample(chosen, min(options.points or total, total))
        until = time.monotonic() + options.minutes * 60
        lines = in_parallel(
            options.jobs,
            lambda job: strike(
                chosen[job :: options.jobs], references, folder / f"job-{job}", disturb, until
            ),
        )
    hits, wrongs = [hits for hits, _ in lines], [wrong for _, wrong in lines if wrong]
    for wrong in wrongs[:10]:
        print(wrong)
    print(
        f"seed {options.seed}: {len(lines)} of {total} points in {len(references)} stories,"
        f" {sum(hits)} faults, {hits.count(0)} points passed by, {len(wrongs)} violations,"
        f" {time.monotonic() - begun:.0f} s"
    )
    return 1 if wrongs else 0
