"""What a worker decides about runs, told once Temporal has it.

A run decides before Temporal has heard of it, and Temporal may not take it: the worker took too long, or a
signal came just before the end. Then it is decided anew, somewhere, and maybe otherwise. So what is committed
in one workflow task is kept here, outside of the workflow, until it is known what became of the task:

1. The run is handed its next task, without having been forgotten: Temporal took this one. What it does not
   take, the worker forgets first.
2. The worker forgets the run because it has ended, and Temporal has that.
3. Nothing of this within ``SOON``: the end of the history is read. How a task ended stands right after the
   event by which it began.

What is replayed is told by nobody: whoever decided it has told it. What a worker had not told when it was
killed, or when nobody could say what had become of it, is not told at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import Info

from flowctl.journal import Change, Journal
from flowctl.runtimes.temporal.connection import ANSWERS_WITHIN

SOON = 0.4
"""Seconds between two looks at what has become of tasks. Each is asked of in the second."""

EVENTS = 20
"""Events of the end of a history that are read at once."""

log = logging.getLogger("flowctl.temporal")

Told = Callable[[Change, Journal], None]
"""Is told of a commit, on the loop of the worker, with the journal that the run is in."""


class Decision(NamedTuple):
    """A commit, with the run as it was then."""

    change: Change
    journal: Journal


@dataclasses.dataclass(slots=True)
class _Task:
    """A workflow task: what was decided in it, and the event by which it began. ``taken``: whether Temporal
    has it, None as long as that is open; ``known``: whether the worker still has the run in memory.
    """

    info: Info
    began: int
    decisions: list[Decision]
    taken: bool | None = None
    known: bool = True
    waited: bool = False


_here = threading.local()


def decided(change: Change, journal: Journal) -> None:
    """A run has committed. Called by its host, inside of the workflow; noted if somebody wants to know."""
    decisions: list[Decision] | None = getattr(_here, "decisions", None)
    if decisions is not None:
        decisions.append(Decision(_as_it_is(change), journal))


def _as_it_is(change: Change) -> Change:
    """The run goes on before it is told of."""
    taken = copy.copy(change)
    taken.run = copy.copy(change.run)
    return taken


class Witness:
    """Tells ``told`` what one worker decides, of each run in its order: the commits that are ``wanted``. All
    but ``attend`` is called on the loop.
    """

    def __init__(self, client: Client, told: Told, wanted: Callable[[Change], bool]) -> None:
        self._client = client
        self._told = told
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, list[_Task]] = {}
        self._latest: dict[str, Decision] = {}

    @contextlib.contextmanager
    def attend(self, info: Info, act: WorkflowActivation) -> Iterator[None]:
        """See ``attended``."""
        gone = next((job.remove_from_cache for job in act.jobs if job.HasField("remove_from_cache")), None)
        if gone is not None:
            yield
            ended = gone.reason == RemoveFromCache.WORKFLOW_EXECUTION_ENDING
            self._loop.call_soon_threadsafe(self._forgotten, act.run_id, ended)
        elif act.is_replaying:
            yield
        else:
            noted: list[Decision] = []
            _here.decisions = noted
            try:
                yield
            finally:
                _here.decisions = None
            decisions = [each for each in noted if self._wanted(each.change)]
            self._loop.call_soon_threadsafe(self._done, _Task(info, act.history_length, decisions))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """While the worker works, and until what it has decided is told, as far as Temporal answers."""
        over = asyncio.Event()
        looking = asyncio.create_task(self._look(over))
        try:
            yield
        finally:
            over.set()
            await looking  # to cancel it would be to cancel a call, which does not always hear of that
            await self._ask(lambda task: True)
            if self._tasks:
                log.warning("what became of %d runs last is not known, and is not told", len(self._tasks))

    # --- what shows what became of a task

    def _done(self, task: _Task) -> None:
        """The worker has done its part of a task, and sends it off."""
        run_id = task.info.run_id
        tasks = self._tasks.setdefault(run_id, [])
        if tasks and tasks[-1].known and tasks[-1].began < task.began:
            tasks[-1].taken = True
        if task.decisions:
            self._latest[run_id] = task.decisions[-1]
            tasks.append(task)
        self._tell(run_id)

    def _forgotten(self, run_id: str, ended: bool) -> None:
        """The worker forgets a run. Whoever is told of it may forget it, too."""
        for task in self._tasks.get(run_id, ()):
            if ended and task.known:  # one that was forgotten before was another end
                task.taken = True
            task.known = False
        latest = self._latest.pop(run_id, None)
        self._tell(run_id)
        if latest is not None and run_id not in self._tasks:
            self._told(Change(latest.change.run, [], release=True), latest.journal)

    async def _look(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._ask(lambda task: task.waited)
            for task in self._open():
                task.waited = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SOON)

    async def _ask(self, of: Callable[[_Task], bool]) -> None:
        """Ask Temporal what became of tasks."""
        for task in filter(of, self._open()):
            try:
                taken = await self._was_taken(task)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    return  # it does not answer: ask again later
                taken = False
            if task.taken is None:
                task.taken = taken
                self._tell(task.info.run_id)

    def _open(self) -> list[_Task]:
        return [tasks[0] for tasks in self._tasks.values()]

    async def _was_taken(self, task: _Task) -> bool | None:
        info = task.info
        asked = GetWorkflowExecutionHistoryReverseRequest(
            namespace=info.namespace,
            execution=WorkflowExecution(workflow_id=info.workflow_id, run_id=info.run_id),
            maximum_page_size=EVENTS,
        )
        while True:
            answer = await self._client.workflow_service.get_workflow_execution_history_reverse(
                asked, timeout=ANSWERS_WITHIN
            )
            for event in answer.history.events:
                if event.event_id == task.began + 1:
                    return bool(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
                if event.event_id <= task.began:
                    return None
            if not answer.next_page_token:
                return None
            asked.next_page_token = answer.next_page_token

    # --- telling

    def _tell(self, run_id: str) -> None:
        """Tell what is known, up to the first task of which it is not."""
        tasks = self._tasks.get(run_id, [])
        while tasks and tasks[0].taken is not None:
            task = tasks.pop(0)
            for decision in task.decisions if task.taken else ():
                self._told(*decision)
        if not tasks:
            self._tasks.pop(run_id, None)
