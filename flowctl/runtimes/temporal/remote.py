"""Runs as seen from outside: read from Temporal's history, and sent messages.

What became of a run is found by replaying its history here, with Temporal's own replayer: that needs no
worker, and shows a run that has ended as well as one that goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from flowctl import values
from flowctl.activities import Outcome
from flowctl.errors import InternalError, RunClosed, RunNotFound
from flowctl.journal import Document, Run
from flowctl.journal.memory import MemoryJournal
from flowctl.journal.moving import unpack
from flowctl.machine import block
from flowctl.runtimes.kin import check_sender, payload_of
from flowctl.runtimes.operations import Operations
from flowctl.runtimes.temporal import failing
from flowctl.runtimes.temporal import workflow as workflows
from flowctl.runtimes.temporal.begin import Begin, from_chunks
from flowctl.runtimes.temporal.connection import runtime
from flowctl.runtimes.temporal.host import TemporalHost, built
from flowctl.runtimes.temporal.workflow import FlowctlRun, sandbox
from flowctl.state import ENDED
from flowctl.wall_clock import wall_clock


class Seen:
    """A run, and a journal that has it, which nobody else uses. ``failing``: its workflow task fails."""

    failing = False

    def __init__(self, run_id: str, journal: MemoryJournal) -> None:
        journal.kill()
        self.journal = MemoryJournal(journal.store)
        self._run_id = run_id

    @property
    def run(self) -> Run:
        """As it is in the journal."""
        run = self.journal.run(self._run_id)
        assert run is not None
        return run


def workflow_id_of(run_id: str) -> str:
    """The Temporal workflow that a run is part of: its chain."""
    head, tilde, number = run_id.rpartition("~")
    return head if tilde and number.isdecimal() else run_id


async def begin_of(client: Client, workflow_id: str, temporal_run: str | None = None) -> Begin:
    """What the latest Temporal run of a chain was started with. ``RunNotFound``."""
    handle = client.get_workflow_handle(workflow_id, run_id=temporal_run)
    try:
        async for event in handle.fetch_history_events(page_size=1):
            return await _begin_in(client, event)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
    raise not_found(workflow_id)


async def _begin_in(client: Client, started: HistoryEvent) -> Begin:
    payloads = started.workflow_execution_started_event_attributes.input.payloads
    return from_chunks(await client.data_converter.decode(payloads, [bytes] * len(payloads)))


def begun(begin: Begin) -> tuple[Run, Document]:
    """The run that a Temporal run begins with, and its document."""
    journal = MemoryJournal(unpack(begin.store))
    run = journal.run(begin.run_id)
    assert run is not None
    document = journal.document(run.digest)
    assert document is not None
    return run, document


def check_functions(begin: Begin) -> None:
    """``ExpressionError`` if this process lacks a function of the document, and so cannot replay the run."""
    _, document = begun(begin)
    built(document.body, document.digest)


async def seen(client: Client, run_id: str, *, by: type[Any] = FlowctlRun) -> Seen:
    """A run as far as Temporal has decided. ``RunNotFound``."""
    workflow_id = workflow_id_of(run_id)
    try:
        async for handle in _parts(client, workflow_id):
            history = await handle.fetch_history()
            latest, journal = await _read(client, history, by)
            run = journal.run(run_id if run_id != workflow_id else latest)
            if run is not None:
                found = Seen(run.id, journal)
                _see_failing(history, found)
                await _see_termination(handle, found)
                return found
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
    raise not_found(run_id)


def _see_failing(history: WorkflowHistory, found: Seen) -> None:
    """A run that cannot be driven does not say so itself."""
    blocked = failing.why(history)
    if blocked is None or found.run.status in ENDED:
        return
    run = found.journal.claim(found.run.id)
    assert run is not None, "nobody else uses this journal"
    found.journal.commit([block(run, blocked, history.events[-1].event_time.ToMilliseconds(), 0)])
    found.failing = True


async def _see_termination(handle: WorkflowHandle[Any, Any], found: Seen) -> None:
    """Temporal terminates a run without asking it."""
    if found.run.status not in ENDED:
        described = await handle.describe()
        if described.status == WorkflowExecutionStatus.TERMINATED and described.close_time is not None:
            at = round(described.close_time.timestamp() * 1000)
            Operations(found.journal, lambda: at).terminate(found.run.id)


async def _parts(client: Client, workflow_id: str) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """The Temporal runs of a chain, the latest first."""
    temporal_run: str | None = None
    while True:
        handle = client.get_workflow_handle(workflow_id, run_id=temporal_run)
        yield handle
        before = await _continued_from(handle)
        if before is None:
            return
        temporal_run = before


async def _continued_from(handle: WorkflowHandle[Any, Any]) -> str | None:
    async for event in handle.fetch_history_events(page_size=1):
        started = event.workflow_execution_started_event_attributes
        return started.continued_execution_run_id or None
    return None


async def _read(client: Client, history: WorkflowHistory, by: type[Any]) -> tuple[str, MemoryJournal]:
    """The id of the run that a Temporal run has come to, and its journal: the one it began with if nobody has
    taken it up yet, as a replay would go ahead. ``ExpressionError`` if this process lacks a function of it.
    """
    begin = await _begin_in(client, history.events[0])
    decided = _decided(history)
    if decided is not None:
        check_functions(begin)
        host = await _replayed(decided, client.namespace, by)
        return host.run_id, host.journal
    return begin.run_id, MemoryJournal(unpack(begin.store))


def _decided(history: WorkflowHistory) -> WorkflowHistory | None:
    """What a worker has decided, up to the commands of the last workflow task that was done; None if there is
    none. A replay would act on what came after that, as no worker may ever do.
    """
    events = list(history.events)
    for last in range(len(events) - 1, -1, -1):
        if events[last].event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            after = itertools.takewhile(partial(_is_command_of, events[last].event_id), events[last + 1 :])
            return WorkflowHistory(history.workflow_id, [*events[: last + 1], *after])
    return None


def _is_command_of(task: int, event: HistoryEvent) -> bool:
    attributes = getattr(event, event.WhichOneof("attributes") or "", None)
    return getattr(attributes, "workflow_task_completed_event_id", None) == task


async def _replayed(history: WorkflowHistory, namespace: str, by: type[Any]) -> TemporalHost:
    with workflows.hosts() as found:
        replayer = Replayer(workflows=[by], workflow_runner=sandbox(), namespace=namespace, runtime=runtime())
        replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if isinstance(replayed.replay_failure, workflow.NondeterminismError):
        raise InternalError(f"run {history.workflow_id} cannot be read: {replayed.replay_failure}")
    return next(
        each.host
        for each in found
        if each[:2] == (history.workflow_id, history.run_id) and each.task_queue.startswith(failing.REPLAYS)
    )


async def send(client: Client, about: Mapping[str, Any]) -> Outcome:
    """Send a signal for a run, as ``send_signal`` asks. ``RunNotFound``, ``RunClosed``, ``UnknownSignal``,
    ``InvalidInput``.
    """
    check_sender(about.get("principal"), about.get("dedup_id"))
    target = workflow_id_of(about["run"])
    run, document = begun(await begin_of(client, target))
    given = payload_of(document, about["signal"], about.get("payload"))
    at = wall_clock()
    told = {**about, "payload": given, "flowctl": 1, "at": about.get("at", at)}
    await signal(client, target, about["signal"], told)
    return Outcome(value=values.encode({"run": run.id}))


async def signal(client: Client, workflow_id: str, name: str, about: Mapping[str, Any]) -> None:
    """Leave a message for a chain, durably. ``RunNotFound``, ``RunClosed``."""
    try:
        await client.get_workflow_handle(workflow_id).signal(name, about)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        if "completed" in error.message:
            raise RunClosed(f"run {workflow_id} has ended") from error
        raise not_found(workflow_id) from error


def not_found(run_id: str) -> RunNotFound:
    """There is no such run."""
    return RunNotFound(f"there is no run {run_id}", hint="`flowctl list` shows the runs of this namespace")
