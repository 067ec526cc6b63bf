"""The work of the comparison, done by DBOS; run by its own Python, which has nothing of flowctl.

    dbos_work.py FOLDER sequential N | at_once RUNS | interrupt RUNS | recover RUNS

Durable no-op steps in async workflows on the SQLite database in FOLDER, whose journal mode is as found there.
Prints one JSON document: ``{"seconds": …}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from dbos import DBOS, SetWorkflowID

STEPS = 5
HELD = 3
"""The step in which runs are interrupted."""

folder, what, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
held: list[str] = []


@DBOS.step()
async def noop(n: int) -> int:
    """Nothing, durably."""
    return n


@DBOS.step()
async def hold(n: int) -> int:
    """Nothing, or, to be interrupted, for ever."""
    if what == "interrupt":
        held.append("")
        if len(held) == number:
            sys.stdout.write(json.dumps({"held": number}))
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(3600)
    return n


@DBOS.workflow()
async def five(n: int) -> None:
    """The work."""
    for _ in range(STEPS):
        await noop(n)


@DBOS.workflow()
async def five_held(n: int) -> None:
    """The same, with a place to be interrupted at."""
    for step in range(STEPS):
        await (hold(n) if step == HELD else noop(n))


@DBOS.workflow()
async def many(steps: int) -> None:
    """Many steps in one run."""
    for step in range(steps):
        await noop(step)


async def start(workflow: object, runs: int) -> list[object]:
    """Start so many at once, each under an id of its own."""
    handles = []
    for run in range(runs):
        with SetWorkflowID(f"run-{run}"):
            handles.append(await DBOS.start_workflow_async(workflow, run))
    return handles


async def work() -> float:
    """Seconds that the work took."""
    begun = time.perf_counter()
    if what == "sequential":
        await many(number)
    else:
        handles = await start(five if what == "at_once" else five_held, number)
        await asyncio.gather(*(handle.get_result() for handle in handles))
    return time.perf_counter() - begun


async def recovered() -> None:
    """Wait until the runs that were interrupted are done."""
    handles = [await DBOS.retrieve_workflow_async(f"run-{run}") for run in range(number)]
    for handle in handles:
        await handle.get_result(polling_interval_sec=0.05)


def main() -> None:
    """Do it."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{folder}/dbos.db",
            "run_admin_server": False,
            "log_level": "ERROR",
            "application_version": "1",
        }
    )
    DBOS.launch()
    seconds = 0.0
    if what == "recover":
        asyncio.run(recovered())
    else:
        seconds = asyncio.run(work())
    sys.stdout.write(json.dumps({"seconds": seconds}))
    DBOS.destroy()


main()
