"""A case on the engine itself: asyncio, and a real journal. The clock is virtual all the same.

The mocks of a case are played by activities that take their time, may be told to stop and answer, as real
ones do. So what a test says of a workflow can be had from the engine that carries it out in production, from
one file; and whoever drives that engine through kills and faults has the same mocks and the same ledger.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flowctl import values
from flowctl.activities import Activity, ActivityContext, Outcome, activity, declared
from flowctl.activities.binding import result_bytes
from flowctl.activities.failures import failure_from
from flowctl.document import build
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal import Journal, Run
from flowctl.state import ENDED, LIVE, RunStatus
from flowctl.testing.effects import Ledger
from flowctl.testing.events import Event
from flowctl.testing.failures import label
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flowctl.testing.mocks import Called, Mocks
from flowctl.testing.running import ROOT_ID, Came, Scenario, came_of, mocks_of
from flowctl.testing.script import exception_of, play
from flowctl.testing.timing import Timing
from flowctl.testing.world import START


def run_on_engine(scenario: Scenario, journal: Journal) -> Came:
    """Run a case on an empty journal. Its events may be signals and cancellations; its faults, whatever an
    activity sees: failures and timeouts.
    """
    ledger = Ledger(scenario.effects, scenario.subject.documents.values())
    mocks = mocks_of(Mocks, scenario, ledger, scenario.faults)
    loop = VirtualTimeLoop()
    carry_on(scenario, mocks, journal, loop, Timing(loop))
    return came_on_engine(journal, mocks, ledger, loop.milliseconds())


def carry_on(
    scenario: Scenario,
    mocks: Mocks,
    journal: Journal,
    loop: VirtualTimeLoop,
    timing: Timing,
    *,
    happened: Callable[[Event], object] = lambda event: None,
) -> None:
    """Begin a case, or go on with it where the journal has it. ``happened`` is told each event that was
    delivered.
    """

    async def main() -> None:
        engine = _engine(scenario, mocks, journal, timing)
        engine.start(
            scenario.workflow,
            values.encode(scenario.workflow.body).decode(),
            scenario.input,
            id=ROOT_ID,
            children=_closure(scenario),
        )
        await _drive(engine, scenario, timing, happened)

    run_in_virtual_time(main(), loop)


def came_on_engine(journal: Journal, mocks: Mocks, ledger: Ledger, now: int) -> Came:
    """What is to be seen in a journal, ``now`` milliseconds after the start."""
    runs = [(run, journal.entries(run.id)) for run in reversed(journal.list_runs(limit=1_000_000))]
    latest = journal.latest_of(ROOT_ID)
    assert latest is not None
    return came_of(runs, mocks, ledger, (latest.completed_at or START + now) - START)


def activities(
    mocks: Mocks, mocked: Mapping[str, Any], real: Mapping[str, Activity], timing: Timing
) -> dict[str, Activity]:
    """The registered activities, with mocks in place of those that are mocked, under the same policies."""
    played = {name: _played(name, mocks, timing) for name in mocked}
    return {
        **real,
        **{
            name: dataclasses.replace(made, policy=real[name].policy) if name in real else made
            for name, made in played.items()
        },
    }


def _played(name: str, mocks: Mocks, timing: Timing) -> Activity:
    async def perform(ctx: ActivityContext, **args: Any) -> Any:
        called = _called(ctx, args)
        try:
            act = mocks.answer(called)
            await timing.begin()
            await play(act, ctx)
            if act.outcome.failure is not None:
                raise exception_of(act.outcome.failure)
            assert act.outcome.value is not None
            answer = values.decode(act.outcome.value)
        except BaseException as error:
            mocks.is_over(called, Outcome(failure=failure_from(error)))
            if isinstance(error, Exception):
                await timing.answer(ctx)
            raise
        mocks.is_over(called, Outcome(value=result_bytes(answer, name)))
        await timing.answer(ctx)
        return answer

    made = declared(activity(name)(perform))
    assert made is not None
    return made


def _called(ctx: ActivityContext, args: Any) -> Called:
    step = label(ROOT_ID, ctx.run_id, ctx.path)
    document = (ctx.workflow, ctx.version)
    return Called(
        ctx.activity, step, ctx.run_id, str(ctx.path), ctx.attempt, ctx.idempotency_key, args, document
    )


def _engine(scenario: Scenario, mocks: Mocks, journal: Journal, timing: Timing) -> Engine:
    known = activities(mocks, scenario.mocks, scenario.subject.plugins.activities, timing)
    subject = scenario.subject
    return Engine(
        journal,
        known,
        secret=mocks.secret,
        settings=subject.settings,
        clock=timing.clock,
        build_workflow=partial(build, functions=subject.functions),
    )


def _closure(scenario: Scenario) -> Closure:
    pins = {
        (digest, reference): child
        for digest, references in scenario.subject.pins.items()
        for reference, child in references.items()
    }
    return Closure(dict(scenario.subject.documents), pins)


async def _drive(
    engine: Engine, scenario: Scenario, timing: Timing, happened: Callable[[Event], object]
) -> None:
    """Drive the run as far as it comes, again and again, and sleep until something is due or comes."""
    events, clock = list(scenario.events), timing.clock
    while True:
        latest = _latest(engine)
        if latest.status not in ENDED:
            latest = await engine.drive(latest.id, wait=0)
        if latest.status in ENDED and not events and latest.status != RunStatus.CONTINUED:
            return
        due = [
            run.wake_at for run in engine.journal.list_runs(statuses=sorted(LIVE)) if run.wake_at is not None
        ]
        moments = [*due, *(START + event.at for event in events[:1])]
        if not moments and latest.status != RunStatus.CONTINUED:
            return
        await asyncio.sleep(max(0, min(moments, default=0) - clock()) / 1000)
        while events and START + events[0].at <= clock():
            _happen(engine, event := events.pop(0))
            happened(event)


def _happen(engine: Engine, event: Event) -> None:
    latest = _latest(engine)
    if latest.status in ENDED:
        return
    if event.kind == "signal":
        engine.signal(latest.id, event.name, event.data, dedup_id=event.dedup_id, principal=event.principal)
    else:
        engine.cancel(latest.id, event.data["reason"], principal=event.principal)


def _latest(engine: Engine) -> Run:
    run = engine.journal.latest_of(ROOT_ID)
    assert run is not None
    return run
