"""Faults on purpose: kills and I/O errors at any call by which a process touches the files of one database,
and what a disk may hold after a power cut.

    library = build()                                   # ``Unavailable`` where there is no C compiler
    plan = Plan("/srv/orders.db", KILL_BEFORE, at=17)
    subprocess.run(command, env=os.environ | preloading(library) | plan.environment())

or, in a process that was started with ``preloading(library)``, ``arm(plan)``: a process that is forked many
times is loaded once. ``Counts`` tells how many calls there were and whether the fault happened;
``read_trace`` what each did; ``disk.Disk`` what is left of it when the power goes.

shim.c      what is preloaded
shim        building and loading it
judge       what came of it, by the word of two witnesses
plan        which call is to be hit, and how
trace       what the calls did
disk        what may be on the disk after a power cut
"""

from flowctl.testing.faults.plan import (
    FAIL,
    FAIL_FROM,
    KILL_AFTER,
    KILL_BEFORE,
    KILL_HALFWAY,
    NO_PLAN,
    SHORTEN,
    WRITES,
    Counts,
    Plan,
)
from flowctl.testing.faults.shim import Unavailable, arm, build, is_loaded, mark, preloading, restart_with
from flowctl.testing.faults.trace import Call, read_trace

__all__ = [
    "FAIL",
    "FAIL_FROM",
    "KILL_AFTER",
    "KILL_BEFORE",
    "KILL_HALFWAY",
    "NO_PLAN",
    "SHORTEN",
    "WRITES",
    "Call",
    "Counts",
    "Plan",
    "Unavailable",
    "arm",
    "build",
    "is_loaded",
    "mark",
    "preloading",
    "read_trace",
    "restart_with",
]
