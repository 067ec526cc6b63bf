"""Run a case on the embedded runtime: real asyncio, a real journal, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flowctl.engine import Engine
from flowctl.journal import Journal, Run
from flowctl.state import RunStatus
from flowctl.status import status_document
from flowctl.testing.conformance import RUN_ID, Case, Event, Observed
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flowctl.testing.script import ScriptedActivities
from flowctl.testing.virtual import START

FOREVER = 10 * 366 * 86_400_000


def run_embedded(case: Case, open_journal: Callable[[], Journal]) -> Observed:
    """Run a case; ``open_journal`` opens the same, at first empty, journal each time it is called."""
    script = case.script()
    loop = VirtualTimeLoop()

    def clock() -> int:
        return START + loop.milliseconds()

    async def main() -> int:
        journal = open_journal()
        _accept(case, script, journal, clock)
        for event in [*case.events, None]:
            if event is None or event.kind == "lose_worker":
                journal = await _live(case, script, journal, clock, open_journal, event)
        journal.close()
        return clock()

    now = run_in_virtual_time(main(), loop)
    journal = open_journal()
    run = journal.run(RUN_ID)
    assert run is not None
    document = status_document(run, journal.entries(RUN_ID))
    journal.close()
    return Observed(document, script.ledger, (run.completed_at or now) - START)


def _engine(case: Case, script: ScriptedActivities, journal: Journal, clock: Callable[[], int]) -> Engine:
    return Engine(
        journal,
        script.activities(case.workflow.activities),
        secret=script.secrets.get,
        clock=clock,
    )


def _accept(case: Case, script: ScriptedActivities, journal: Journal, clock: Callable[[], int]) -> None:
    """Accept the run even if activities are missing: they were there when it was started."""
    complete = case.script()
    complete.missing = set()
    _engine(case, complete, journal, clock).start(case.workflow, case.source, case.input, id=RUN_ID)


async def _live(
    case: Case,
    script: ScriptedActivities,
    journal: Journal,
    clock: Callable[[], int],
    open_journal: Callable[[], Journal],
    end: Event | None,
) -> Journal:
    """One worker's life, until it is lost (``end``) or the case is over. Returns the next worker's
    journal.
    """
    engine = _engine(case, script, journal, clock)
    outside = open_journal()
    messages = asyncio.create_task(_messages(case, _engine(case, script, outside, clock), clock))
    driving = asyncio.create_task(_keep_driving(engine, case, clock))
    until = (START + end.at - clock()) / 1000 if end is not None else _patience(case, clock)
    await asyncio.wait([driving], timeout=until)
    await _stop(driving)
    if end is not None:
        journal.close()
        await asyncio.sleep(end.data / 1000)  # messages come all the same
        journal = open_journal()
    await _stop(messages)
    outside.close()
    return journal


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _patience(case: Case, clock: Callable[[], int]) -> float | None:
    return None if case.until is None else (START + case.until - clock()) / 1000


async def _keep_driving(engine: Engine, case: Case, clock: Callable[[], int]) -> Run:
    """Drive until it ends; what waits for a message is driven again when one may have come."""
    while True:
        run = await engine.drive(RUN_ID, wait=FOREVER)
        if RunStatus(run.status).ended:
            return run
        await asyncio.sleep(0.05)


async def _messages(case: Case, engine: Engine, clock: Callable[[], int]) -> None:
    """Deliver what comes from outside, each at its time."""
    for event in case.events:
        left = (START + event.at - clock()) / 1000
        if left < 0 or event.kind == "lose_worker":
            continue
        await asyncio.sleep(left)
        if RunStatus(engine.run(RUN_ID).status).ended:
            return
        if event.kind == "signal":
            engine.signal(RUN_ID, event.name, event.data, dedup_id=event.dedup_id, principal=event.principal)
        else:
            engine.cancel(RUN_ID, event.data["reason"], principal=event.principal)
