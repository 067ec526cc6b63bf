"""Many runs at once in one process: offered in one moment, taken up as a worker takes them up."""

from __future__ import annotations

import time
from collections.abc import Callable

from flowctl.engine import Engine, Session
from flowctl.engine.worker import BATCH
from flowctl.model import Workflow


async def together(
    engine: Engine, workflow: Workflow, runs: int, around: Callable[[], object] = lambda: None
) -> float:
    """Seconds from the first run's being accepted to the last one's end. ``around`` is called right before
    and right after.
    """
    session = Session(engine)
    around()
    begun = time.perf_counter()
    driven = []
    for first in range(0, runs, BATCH):
        inputs = ({"n": number} for number in range(first, min(first + BATCH, runs)))
        driven += [session.add(engine.prepare(workflow, given), new=True).run for given in inputs]
        await session.news(0)
    while session.runtime.count:
        await session.news(60)
    seconds = time.perf_counter() - begun
    around()
    await session.close()
    for run in driven:
        assert run.status == "completed", (run.status, run.error)
    return seconds
