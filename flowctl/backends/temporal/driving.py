"""Executing: being a worker, until a run rests, nothing is due, or somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from flowctl.backends import Observer
from flowctl.backends.temporal.news import News
from flowctl.errors import RunNotFound
from flowctl.journal import Entry, Run
from flowctl.runtimes.temporal import workflow as workflows
from flowctl.runtimes.temporal.connection import Address, backlog
from flowctl.runtimes.temporal.remote import begin_of, check_functions, not_found, seen, workflow_id_of
from flowctl.runtimes.temporal.working import working
from flowctl.state import ENDED, RunStatus
from flowctl.wall_clock import wall_clock

if TYPE_CHECKING:
    from flowctl.backends.reins import Holds
    from flowctl.backends.temporal.listing import Listing
    from flowctl.plugins import Plugins

LOOK = 0.1
"""Seconds between looks at a run that is executed here."""

LOOK_AFAR = 1.0
"""Seconds between looks at one that is executed elsewhere."""

ALIVE = 90.0
"""A worker asks for work about once a minute. One that has not for so many seconds is gone."""

RESTING = frozenset({RunStatus.WAITING, RunStatus.PAUSED, RunStatus.BLOCKED})

Tell = Callable[[Run, Sequence[Entry]], None]


class Driving:
    """A worker of a queue."""

    def __init__(
        self,
        url: str,
        client: Client,
        task_queue: str,
        plugins: Plugins | None,
        listing: Listing,
    ) -> None:
        self._url = url
        self._client = client
        self._task_queue = task_queue
        self._plugins = plugins
        self._listing = listing
        self._told: News | None = None

    def working(self, concurrency: int | None = None, observe: Observer | None = None) -> Any:
        """A worker for as long as the context lasts. ``observe`` is told of ends."""
        plugins = self._plugins
        assert plugins is not None
        if self._told is None:
            self._told = News(plugins)
            if plugins.telemetry is not None:
                plugins.telemetry.begin(self._url, partial(backlog, Address.parse(self._url)))
        return working(
            self._client,
            self._task_queue,
            plugins.activities,
            secret=plugins.resolve_secret,
            sought=plugins.secrets.sought,
            concurrency=concurrency,
            around=plugins.telemetry and plugins.telemetry.around,
            around_in_child=plugins.telemetry and plugins.telemetry.around_in_child,
            listener=self._told.listener(observe),
        )

    def close(self) -> None:
        """Let plugins and telemetry hear the last."""
        if self._told is not None:
            self._told.close()
            if self._plugins is not None and self._plugins.telemetry is not None:
                self._plugins.telemetry.end()

    async def drive(self, run_id: str, until: int, tell: Tell, stop: asyncio.Event) -> None:
        """Be a worker until the run has ended, or rests for longer than ``until``. ``ExpressionError`` if
        this process lacks a function of its document, ``InternalError`` if flowctl fails to drive it.
        """
        check_functions(await begin_of(self._client, workflow_id_of(run_id)))
        with workflows.hosts() as here:
            async with self.working():
                await self._watch(run_id, until, here, tell, stop)

    async def _watch(
        self, run_id: str, until: int, here: Sequence[workflows.Watched], tell: Tell, stop: asyncio.Event
    ) -> None:
        """What is known here counts, or else what Temporal says. A run rests if it does so after the moment
        in which nothing was left for workers to hear of.
        """
        told, workflow_id, rests = 0, workflow_id_of(run_id), True
        while not stop.is_set():
            calm = rests and await self._is_calm(workflow_id)
            ours = (workflow_id, self._task_queue)  # and not one that was replayed to be looked at
            host = next(
                (each.host for each in reversed(here) if (each.workflow_id, each.task_queue) == ours), None
            )
            failing = False  # until now, and in other processes
            if host is not None:
                if host.failure is not None:
                    raise host.failure
                run, entries = host.run(), host.journal.entries(host.run_id, told)
            else:
                found = await seen(self._client, run_id)
                run, entries = found.run, found.journal.entries(found.run.id, told)
                failing = found.failing
            tell(run, entries)
            told = max([told, *(entry.seq for entry in entries)])
            rests = not failing and await self._is_at_rest(run, until)
            if rests and run.status in ENDED:
                with contextlib.suppress(WorkflowFailureError):
                    await self._client.get_workflow_handle(workflow_id).result()
            if rests and (calm or run.status in ENDED):
                return
            await _pause(stop, LOOK if host is not None else LOOK_AFAR)

    async def _is_at_rest(self, run: Run, until: int) -> bool:
        if run.status in ENDED:
            return run.status != RunStatus.CONTINUED
        if run.status not in RESTING:
            return False
        children = [each["names"][0] for each in run.waiting_for or () if each["kind"] == "child"]
        for child in children:
            if not await self._is_child_at_rest(child, until):
                return False
        return run.wake_at is None or run.wake_at > until

    async def _is_child_at_rest(self, run_id: str, until: int) -> bool:
        """Not if it is about to begin, nor if it has ended, of which its parent is about to hear."""
        try:
            if not await self._is_calm(workflow_id_of(run_id)):
                return False
            child = (await seen(self._client, run_id)).run
        except RunNotFound:
            return False
        return child.status not in ENDED and await self._is_at_rest(child, until)

    async def _is_calm(self, workflow_id: str) -> bool:
        """Whether workers have acted on all that came. ``RunNotFound``."""
        try:
            described = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise not_found(workflow_id) from error
        return not described.raw_description.HasField("pending_workflow_task")

    async def until_drained(self, stop: asyncio.Event) -> None:
        """Return once nothing is due."""
        while not stop.is_set() and await self._listing.any_due(wall_clock()):
            await _pause(stop, LOOK_AFAR)

    async def has_workers(self) -> bool:
        """Whether anybody listens to the queue. Temporal does not tell who has left it properly."""
        answer = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=self._task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
        return any(time.time() - poller.last_access_time.seconds < ALIVE for poller in answer.pollers)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def held(work: Callable[[asyncio.Event], Any], reins: Holds | None) -> None:
    """Work until it is done, or somebody stops it."""
    stop = asyncio.Event()
    if reins is None:
        await work(stop)
    else:
        with reins.held(asyncio.get_running_loop(), stop.set, lambda: None):
            await work(stop)
