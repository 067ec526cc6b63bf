"""A worker: Temporal's, with our workflow and our activities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from temporalio.client import Client
from temporalio.worker import Worker

from flowctl.activities import Activity
from flowctl.activities.performer import Around, Performer
from flowctl.journal import Change
from flowctl.runtimes.temporal.attempts import Attempts
from flowctl.runtimes.temporal.attended import AttendedRunner
from flowctl.runtimes.temporal.lasting import lasting
from flowctl.runtimes.temporal.remote import send
from flowctl.runtimes.temporal.witness import Told, Witness
from flowctl.runtimes.temporal.workflow import FlowctlRun, sandbox

GRACE = timedelta(seconds=10)
"""How long attempts in flight may take to end when the worker is stopped."""

HEARS_WITHIN = timedelta(seconds=1)
"""How often Temporal is told that an attempt lives. With the answer comes that it was called off."""

CONCURRENCY = 500


class Listener(NamedTuple):
    """Who is told of what this worker decides (``witness``), and of which commits."""

    told: Told
    wanted: Callable[[Change], bool]


@asynccontextmanager
async def working(
    client: Client,
    task_queue: str,
    activities: Mapping[str, Activity],
    *,
    secret: Callable[[str], str | None],
    sought: Callable[[str], str],
    concurrency: int | None = None,
    around: Around | None = None,
    around_in_child: Around | None = None,
    listener: Listener | None = None,
) -> AsyncIterator[Worker]:
    """Work in this process for as long as the context lasts. ``secret`` has the text of a secret or None, and
    ``sought`` says why there is none; for the others see ``Performer``.
    """
    performer = Performer(
        activities,
        resolve_secret=secret,
        loop=asyncio.get_running_loop(),
        around=around,
        around_in_child=around_in_child,
    )
    attempts = Attempts(performer, activities, lambda about: send(client, about), sought)
    witness = Witness(client, *listener) if listener is not None else None
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[FlowctlRun],
        activities=[attempts.attempt, attempts.send],
        workflow_runner=sandbox() if witness is None else AttendedRunner(sandbox(), witness.attend),
        max_concurrent_activities=concurrency or CONCURRENCY,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARS_WITHIN,
        default_heartbeat_throttle_interval=HEARS_WITHIN,
    )
    try:
        async with AsyncExitStack() as stack:
            if witness is not None:
                await stack.enter_async_context(witness.watching())
            await stack.enter_async_context(lasting(worker))
            yield worker
    finally:
        await performer.leave()
