"""Run a case on the embedded runtime: real asyncio, a real journal, in virtual time.

Either as ``flowctl run`` and ``resume`` do, which drive one run in this process, or by a worker, who forgets
every run that only waits, and takes it up again from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from flowctl.document.closure import Closure
from flowctl.engine import Engine, Worker
from flowctl.errors import RunClosed, RunOpen
from flowctl.journal import Journal, Run
from flowctl.state import RunStatus
from flowctl.status import status_document
from flowctl.testing.conformance import EVERY_STEP, RUN_ID, Case, Observed
from flowctl.testing.events import Event, operate
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flowctl.testing.script import ScriptedActivities
from flowctl.testing.world import START

FOREVER = 10 * 366 * 86_400_000


Drive = Callable[[Engine, Callable[[], int], "asyncio.Task[None]"], Awaitable[object]]
"""Brings the case's run to its end: with the engine, its clock, and the task that brings the messages."""


def run_by_worker(case: Case, open_journal: Callable[[], Journal]) -> Observed:
    """The same, by a worker."""
    return run_embedded(case, open_journal, drive=_work)


def run_embedded(case: Case, open_journal: Callable[[], Journal], *, drive: Drive | None = None) -> Observed:
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
                journal = await _live(
                    case, script, journal, clock, open_journal, event, drive or _keep_driving
                )
        journal.close()
        return clock()

    now = run_in_virtual_time(main(), loop)
    journal = open_journal()
    run = journal.latest_of(RUN_ID)
    assert run is not None
    document = status_document(run, journal.entries(run.id), count=EVERY_STEP)
    journal.close()
    return Observed(document, script.ledger, (run.completed_at or now) - START)


def _engine(case: Case, script: ScriptedActivities, journal: Journal, clock: Callable[[], int]) -> Engine:
    return Engine(
        journal,
        script.activities(
            frozenset().union(*(each.activities for each in (case.workflow, *case.children.values())))
        ),
        secret=script.secrets.get,
        clock=clock,
    )


def _accept(case: Case, script: ScriptedActivities, journal: Journal, clock: Callable[[], int]) -> None:
    """Accept the run even if activities are missing: they were there when it was started."""
    complete = case.script()
    complete.missing = set()
    pins = {
        (digest, name): child for digest, children in case.pins.items() for name, child in children.items()
    }
    closure = Closure({child.digest: child for child in case.children.values()}, pins)
    engine = _engine(case, complete, journal, clock)
    engine.start(case.workflow, case.source, case.input, id=RUN_ID, children=closure)


async def _live(
    case: Case,
    script: ScriptedActivities,
    journal: Journal,
    clock: Callable[[], int],
    open_journal: Callable[[], Journal],
    end: Event | None,
    drive: Drive,
) -> Journal:
    """One worker's life, until it is lost (``end``) or the case is over. Returns the next worker's
    journal.
    """
    engine = _engine(case, script, journal, clock)
    outside = open_journal()
    messages = asyncio.create_task(_messages(case, _engine(case, script, outside, clock), clock))
    driving = asyncio.ensure_future(drive(engine, clock, messages))
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


async def _keep_driving(engine: Engine, clock: Callable[[], int], messages: asyncio.Task[None]) -> Run:
    """Drive until it ends for good; what waits for a message is driven again when one may have come."""
    seen = 0
    while True:
        run = engine.run(_latest(engine))
        heard = len(engine.journal.inbox(run.id))
        due = run.wake_at is not None and run.wake_at <= clock()
        if not RunStatus(run.status).ended and (run.status != RunStatus.PAUSED or due or heard > seen):
            seen = heard
            run = await engine.drive(run.id, wait=FOREVER)
        if RunStatus(run.status).ended and messages.done():
            return run
        await asyncio.sleep(0.05)


async def _work(engine: Engine, clock: Callable[[], int], messages: asyncio.Task[None]) -> None:
    """Be a worker until the run has ended for good."""
    working = asyncio.create_task(Worker(engine, linger=0).work())
    try:
        while not (RunStatus(engine.run(_latest(engine)).status).ended and messages.done()):
            await asyncio.wait([working], timeout=60)
            if working.done():
                return working.result()
    finally:
        await _stop(working)


def _latest(engine: Engine) -> str:
    """The case's run: the last of its chain."""
    run = engine.journal.latest_of(RUN_ID)
    assert run is not None
    return run.id


async def _messages(case: Case, engine: Engine, clock: Callable[[], int]) -> None:
    """Deliver what comes from outside, each at its time."""
    for event in case.events:
        left = (START + event.at - clock()) / 1000
        if left < 0 or event.kind == "lose_worker":
            continue
        await asyncio.sleep(left)
        with suppress(RunClosed, RunOpen):
            _happen(engine, event)


def _happen(engine: Engine, event: Event) -> None:
    latest, by = _latest(engine), event.principal
    if event.kind == "signal":
        engine.signal(latest, event.name, event.data, dedup_id=event.dedup_id, principal=by)
    elif event.kind == "cancel":
        engine.cancel(latest, event.data["reason"], principal=by)
    else:
        operate(engine.operations, latest, event)
