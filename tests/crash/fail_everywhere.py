"""Let a call that touches the files of the database fail, each in turn, with an I/O error or a full disk;
then let the disk be well again, give the command again, and compare.

    python -m tests.crash.fail_everywhere --seed 1                 # every point; an hour
    python -m tests.crash.fail_everywhere --seed 1 --points 100    # so many of them, drawn by chance

A point is a command of a story (``stories``), the number of a call (reading and opening included), and how it
fails: with EIO or ENOSPC, once or from then on, or with a write that writes only half. What is checked:

1. The command ends as ever, or with exit code 74 and one error that says what is known: that the outcome is
   unknown, that there is no room, or that nothing was done. No traceback, no endless waiting.
2. What it has acknowledged is there, and the story ends as undisturbed (``judge``).

Prints counts, and each violation with what repeats it; exits with 1 on any.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from flowctl.testing import faults
from flowctl.testing.faults.judge import Ending, Judge, Violation
from flowctl.testing.faults.plan import EVERYTHING
from tests.crash import everywhere
from tests.crash.everywhere import Point, Reference
from tests.crash.stories import STORIES
from tests.crash.victims import End

FAULTS = {
    "EIO once": (faults.FAIL, errno.EIO),
    "EIO from then on": (faults.FAIL_FROM, errno.EIO),
    "ENOSPC once": (faults.FAIL, errno.ENOSPC),
    "ENOSPC from then on": (faults.FAIL_FROM, errno.ENOSPC),
    "half a write": (faults.SHORTEN, 0),
}
STORAGE_ERROR = 74
HONEST = ("unknown", "make room", "nothing was done")
"""One of these is in the error."""


def disturbed(point: Point, reference: Reference, folder: Path) -> tuple[Ending, int]:
    """What comes of a story when a call fails, and whether it did."""
    stage = reference.stages[point.command].copy_to(folder)
    command, *rest = STORIES[point.story].commands[point.command :]
    judge = Judge(reference.ending)
    action, error = FAULTS[point.fault]
    counts = faults.Counts(str(folder / "counts"))
    end = stage.perform(command, faults.Plan("", action, point.call, error, EVERYTHING, counts=counts.path))
    _check(end, reference.codes[point.command])
    stage.perform(command, look_before=True, look_after=not rest)
    judge.after_death(stage.look("before"))
    for command in rest:
        stage.perform(command, look_after=command is rest[-1])
    return judge.at_the_end(stage.look("after")), min(counts.fired, 1)


def _check(end: End, usual: int) -> None:
    """Whether a command that met a fault ended as it should."""
    said = end.said + end.complained
    if "Traceback" in said or "mistake in flowctl" in said:
        raise Violation(f"it fell over: {said[-600:]}")
    if end.code == usual:
        return
    if end.code != STORAGE_ERROR:
        raise Violation(f"it exited with {end.code}, not {usual} or {STORAGE_ERROR}: {said}")
    if not any(word in said for word in HONEST):
        raise Violation(f"it does not say what is known: {said}")


if __name__ == "__main__":
    sys.exit(everywhere.main(__doc__, EVERYTHING, list(FAULTS), disturbed))
