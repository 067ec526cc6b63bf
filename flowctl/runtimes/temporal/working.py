"""A worker: Temporal's, with our workflow and our activities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from flowctl.activities import Activity
from flowctl.activities.performer import Performer
from flowctl.runtimes.temporal.attempts import Attempts
from flowctl.runtimes.temporal.host import Equipment
from flowctl.runtimes.temporal.lasting import lasting
from flowctl.runtimes.temporal.remote import send
from flowctl.runtimes.temporal.workflow import FlowctlRun, sandbox

GRACE = timedelta(seconds=10)
"""How long attempts in flight may take to end when the worker is stopped."""

HEARS_WITHIN = timedelta(seconds=1)
"""How often Temporal is told that an attempt lives. With the answer comes that it was called off."""

CONCURRENCY = 500


@asynccontextmanager
async def working(
    client: Client,
    task_queue: str,
    activities: Mapping[str, Activity],
    *,
    functions: Mapping[str, Any],
    secret: Callable[[str], str | None],
    concurrency: int | None = None,
) -> AsyncIterator[Worker]:
    """Work in this process for as long as the context lasts. ``functions`` are those that expressions may
    call, ``secret`` has the text of a secret or None.
    """
    performer = Performer(activities, resolve_secret=secret, loop=asyncio.get_running_loop())
    attempts = Attempts(performer, activities, lambda about: send(client, about))
    Equipment.functions = functions
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[FlowctlRun],
        activities=[attempts.attempt, attempts.send],
        workflow_runner=sandbox(),
        max_concurrent_activities=concurrency or CONCURRENCY,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARS_WITHIN,
        default_heartbeat_throttle_interval=HEARS_WITHIN,
    )
    try:
        async with lasting(worker):
            yield worker
    finally:
        await performer.leave()
