"""Kill real processes that run the examples, at random moments, and compare what comes of it with
undisturbed runs.

    python -m tests.crash.kill_examples --seed 1 --kills 500

A run is killed with SIGKILL and driven on, again and again, until the kills of that run are used up and it is
left to come to its end. ``judge`` says what is checked.

Prints counts, and the first violation with its seed; exits with 1 on any.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Iterator, Sequence

from flowctl.testing.faults.judge import Ending, Judge, Violation
from tests.crash.stories import OF_EXAMPLES, TOUCH
from tests.crash.victims import Stage, preload, workshop


@contextlib.contextmanager
def _stage(story: str) -> Iterator[Stage]:
    with workshop() as folder:
        yield Stage(OF_EXAMPLES[story], folder)


def undisturbed(story: str) -> tuple[Ending, float]:
    """What comes of a story that nobody disturbs, and how many seconds it takes."""
    [command] = OF_EXAMPLES[story].commands
    with _stage(story) as stage:
        begun = time.monotonic()
        stage.perform(command)
        seconds = time.monotonic() - begun
        stage.perform([TOUCH, "seen"], look_after=True)
        return Judge().at_the_end(stage.look("after")), seconds


def disturbed(story: str, blows: Sequence[float], usual: Ending) -> tuple[Ending, int]:
    """What comes of a story whose process is killed after each of these delays; and how many blows it
    lived to get.
    """
    [command] = OF_EXAMPLES[story].commands
    with _stage(story) as stage:
        judge, killed = Judge(usual), 0
        for delay in blows:
            if not stage.perform(command, kill_after=delay).killed:
                break
            killed += 1
            stage.perform([TOUCH, "seen"], look_after=True)
            judge.after_death(stage.look("after"))
        stage.perform(command, look_after=True)
        return judge.at_the_end(stage.look("after")), killed


def main() -> int:
    """Kill until there were enough kills; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500)
    options = parser.parse_args()
    preload()
    chance = random.Random(options.seed)
    reference = {story: undisturbed(story) for story in OF_EXAMPLES}
    kills, runs = 0, 0
    while kills < options.kills:
        story = list(OF_EXAMPLES)[runs % len(OF_EXAMPLES)]
        expected, seconds = reference[story]
        blows = [chance.uniform(0, seconds) for _ in range(chance.randint(1, 6))]
        try:
            ending, killed = disturbed(story, blows, expected)
            if ending != expected:
                raise Violation(f"it ended as {ending}, undisturbed as {expected}")
        except Violation as violation:
            print(f"seed {options.seed}, run {runs}, {story}, blows {blows}: {violation}")
            return 1
        kills, runs = kills + killed, runs + 1
    print(f"seed {options.seed}: {kills} kills in {runs} runs of {len(OF_EXAMPLES)} stories, 0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
