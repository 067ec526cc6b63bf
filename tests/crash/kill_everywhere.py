"""Kill a process at every call by which it changes the files of its database, give the command again, and
compare what comes of the story with what comes of it undisturbed.

    python -m tests.crash.kill_everywhere --seed 1                 # every point; half an hour
    python -m tests.crash.kill_everywhere --seed 1 --points 100    # so many of them, drawn by chance

A point is a command of a story (``stories``), the number of a call (``flowctl.testing.faults``), and whether
the blow falls before it, halfway through what it writes, or after it. In every third point the process that
takes over is killed as well, at a call drawn by chance. ``judge`` says what is checked.

Prints counts, and each violation with what repeats it; exits with 1 on any.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from flowctl.testing import faults
from flowctl.testing.faults.judge import Ending, Judge
from tests.crash import everywhere
from tests.crash.everywhere import Point, Reference
from tests.crash.stories import STORIES

BLOWS = (faults.KILL_BEFORE, faults.KILL_HALFWAY, faults.KILL_AFTER)
SECOND_BLOW = 1 / 3
"""How often the process that takes over is killed too."""


def disturbed(point: Point, reference: Reference, folder: Path) -> tuple[Ending, int]:
    """What comes of a story when the blow falls at this point, and how many blows fell."""
    stage = reference.stages[point.command].copy_to(folder)
    command, *rest = STORIES[point.story].commands[point.command :]
    judge, blows, chance = Judge(reference.ending), 0, random.Random(point.chance)
    plans = [faults.Plan("", point.fault, point.call, kinds=faults.WRITES)]
    if chance.random() < SECOND_BLOW:
        second = chance.randint(1, reference.calls[point.command])
        plans.append(faults.Plan("", chance.choice(BLOWS), second, kinds=faults.WRITES))
    for plan in [*plans, None]:
        end = stage.perform(command, plan, look_before=blows > 0, look_after=not rest)
        if blows:
            judge.after_death(stage.look("before"))
        if not end.killed:
            break
        blows += 1
    for command in rest:
        stage.perform(command, look_after=command is rest[-1])
    return judge.at_the_end(stage.look("after")), blows


if __name__ == "__main__":
    sys.exit(everywhere.main(__doc__, faults.WRITES, BLOWS, disturbed))
