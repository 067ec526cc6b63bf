"""Many runs at once: found in Temporal's index, and shown by their cards (``runtimes.temporal.card``).

Histories are read only of runs that are shown and whose cards do not tell enough: those that move just now,
were terminated, or have no card, or too large a one. The index is about as late as Temporal's is, a fraction
of a second; what ``describe`` says of a single run is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.client import WorkflowExecutionStatus as Theirs
from temporalio.service import RPCError, RPCStatusCode

from flowctl import values
from flowctl.backends import Documents, answers
from flowctl.errors import ExpressionError, RunNotFound
from flowctl.journal import Where
from flowctl.runtimes.temporal import card
from flowctl.runtimes.temporal.failing import is_failing
from flowctl.runtimes.temporal.remote import begin_of, not_found, seen, workflow_id_of
from flowctl.state import ENDED, LIVE, RunStatus
from flowctl.status import summary

AT_ONCE = 20
"""Runs that are asked for beside each other."""

NEWS = 1_000
"""Runs, the latest, of which somebody who looks on hears news."""

AGES = (datetime.timedelta(hours=1), datetime.timedelta(days=1), datetime.timedelta(days=30), None)
"""The index has an order of its own. So it is read by age until enough was found, and sorted here."""

_THEIRS: dict[RunStatus, tuple[str, ...]] = {
    **dict.fromkeys(LIVE, ("Running",)),
    RunStatus.COMPLETED: ("Completed",),
    RunStatus.FAILED: ("Failed",),
    RunStatus.COMPENSATED: ("Failed",),
    RunStatus.COMPENSATION_FAILED: ("Failed",),
    RunStatus.CANCELLED: ("Canceled", "Failed"),  # a child fails
    RunStatus.TERMINATED: ("Terminated",),
    RunStatus.CONTINUED: ("ContinuedAsNew",),
}
"""How Temporal counts runs in our states."""


class Row(NamedTuple):
    """A run, as ``list`` shows it. ``behind``: its history may tell more."""

    workflow_id: str
    document: Mapping[str, Any]
    behind: bool


class Listing:
    """The runs of one queue; the last of each chain."""

    def __init__(self, client: Client, task_queue: str, is_indexed: Callable[[], Any]) -> None:
        self._client = client
        self._ours = f"TaskQueue = {quoted(task_queue)} AND ExecutionStatus != 'ContinuedAsNew'"
        self._is_indexed = is_indexed
        self._indexed: bool | None = None

    # --- finding

    async def resolve(self, reference: str) -> str:
        """The run id that a run id, a workflow id or a prefix means."""
        workflow_id = workflow_id_of(reference)
        with contextlib.suppress(RunNotFound):
            if workflow_id != reference:
                return (await seen(self._client, reference)).run.id
            return (await begin_of(self._client, reference)).run_id
        found: dict[str, None] = {}
        query = f"WorkflowId STARTS_WITH {quoted(reference)} AND ExecutionStatus != 'ContinuedAsNew'"
        async for execution in self._client.list_workflows(query, limit=10):
            if "/" in reference or "/" not in execution.id:
                found[execution.id] = None
        if not found:
            raise not_found(reference)
        answers.only_one(reference, found)
        return (await begin_of(self._client, *found)).run_id

    async def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Rows, newest first."""
        query = " AND ".join([self._ours, *await self._conditions(statuses, workflow, where)])

        def wanted(row: Row) -> bool:
            status = not statuses or row.document["status"] in statuses
            return status and _has(row.document["attributes"], where)

        rows: list[Row] = []
        now, until = datetime.datetime.now(datetime.UTC), None
        for age in AGES if limit is not None else AGES[-1:]:
            since = now - age if age is not None else None
            stretch = [row async for row in self._rows(query + _between(since, until)) if wanted(row)]
            rows += sorted(stretch, key=lambda row: str(row.document["created_at"]), reverse=True)
            if limit is not None and len(rows) >= limit:
                return rows[:limit]
            until = since
        return rows

    async def _conditions(self, statuses: Sequence[str], workflow: str | None, where: Where) -> list[str]:
        """What the server can leave out."""
        found = [f"WorkflowType = {quoted(workflow)}"] if workflow is not None else []
        if statuses:
            theirs = {name for status in statuses for name in _THEIRS[RunStatus(status)]}
            found.append(f"ExecutionStatus IN ({_all(theirs)})")
        if (statuses or where) and await self._has_index():
            unknown = f"{card.STATUS.name} IS NULL"
            if statuses:
                said = f"{card.STATUS.name} IN ({_all(statuses)})"
                found.append(f"({said} OR ExecutionStatus = 'Terminated' OR {unknown})")
            for name, several in where:
                entries = [*(card.entry_of(name, value) for value in several), card.MORE]
                found.append(f"({card.ATTRIBUTES.name} IN ({_all(entries)}) OR {unknown})")
        return found

    async def _has_index(self) -> bool:
        if self._indexed is None:
            self._indexed = bool(await self._is_indexed())
        return self._indexed

    async def _rows(self, query: str) -> AsyncIterator[Row]:
        async for execution in self._client.list_workflows(query):
            row = await self._row(execution)
            if row is not None:
                yield row

    async def _row(self, execution: WorkflowExecution) -> Row | None:
        """None if it is no run of ours, or was deleted meanwhile."""
        memo = await execution.memo()
        found = memo.get(card.CARD, {})
        if card.is_whole(found):
            document = card.shown(found)
            if execution.status == Theirs.TERMINATED:  # without being asked
                return Row(execution.id, document | {"status": str(RunStatus.TERMINATED)}, True)
            return Row(execution.id, document, document["status"] in card.MOVING)
        if card.MARK not in memo:
            return None
        with contextlib.suppress(*_UNREADABLE):
            return await self._read(execution.id)
        return None

    async def _read(self, workflow_id: str) -> Row:
        """By its history."""
        found = await seen(self._client, workflow_id)
        return Row(workflow_id, summary(found.run, found.journal.entries(found.run.id)), False)

    # --- showing

    async def documents(self, rows: Sequence[Row], *, counts: bool = True) -> Documents:
        """See ``Backend.list``, and without ``counts`` ``Backend.page``."""

        async def document(row: Row) -> dict[str, Any]:
            if row.behind and (counts or row.document["status"] in ENDED):
                with contextlib.suppress(*_UNREADABLE):
                    row = await self._read(row.workflow_id)
            return dict(row.document) if counts else _without_counts(row.document)

        return await _at_once(document, rows)

    async def latest(self, run_id: str) -> dict[str, Any]:
        """The latest run of a chain as ``page`` without ``counts`` has it. ``RunNotFound``."""
        row = await self._row(await self._describe(workflow_id_of(run_id)))
        if row is None:
            raise not_found(run_id)
        [document] = await self.documents([row], counts=False)
        return document

    async def glance(self, run_id: str) -> dict[str, Any]:
        """A run likewise; by its workflow id, the latest."""
        latest = await self.latest(run_id)
        if run_id in (latest["id"], latest["workflow_id"]):
            return latest
        return summary((await seen(self._client, run_id)).run)

    async def _describe(self, workflow_id: str) -> WorkflowExecutionDescription:
        try:
            return await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise not_found(workflow_id) from error

    async def any_due(self, now: int) -> bool:
        """Whether a worker has something to do, or will have by itself, at ``now``."""
        open_runs = [each.id async for each in self._client.list_workflows(f"{self._ours} AND {_OPEN}")]

        async def is_due(workflow_id: str) -> bool:
            with contextlib.suppress(*_UNREADABLE):
                return await self._is_due(await self._describe(workflow_id), now)
            return False

        return any(await _at_once(is_due, open_runs))

    async def _is_due(self, described: WorkflowExecutionDescription, now: int) -> bool:
        if described.status != Theirs.RUNNING:
            return False
        if described.raw_description.HasField("pending_workflow_task"):
            return not is_failing(described.raw_description.pending_workflow_task)
        memo = await described.memo()
        found = memo.get(card.CARD, {})
        if not found and card.MARK in memo:
            run = (await seen(self._client, described.id)).run
            found = {"status": run.status, "wake_at": run.wake_at}
        if found.get("status") in card.MOVING:
            return True
        wake_at = found.get("wake_at")
        return wake_at is not None and wake_at <= now

    # --- watching

    async def lengths(self) -> dict[str, tuple[int | None, Any]]:
        """How each of the latest runs stands, and how far it has come."""
        lengths: dict[str, tuple[int | None, Any]] = {}
        async for execution in self._client.list_workflows(self._ours, limit=NEWS):
            found = (await execution.memo()).get(card.CARD, {})
            length: Any = [execution.history_length, found]
            if execution.status == Theirs.RUNNING and found.get("status", RunStatus.RUNNING) in card.MOVING:
                described = await self._client.get_workflow_handle(execution.id).describe()
                length = described.history_length
            lengths[found.get("id", execution.id)] = (execution.status, length)
        return lengths

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many runs there are, by workflow and state."""
        counts: dict[tuple[str, str], int] = {}
        async for row in self._rows(self._ours):
            key = (row.document["workflow"], str(row.document["status"]))
            counts[key] = counts.get(key, 0) + 1
        return counts


_UNREADABLE = (RunNotFound, ExpressionError)
"""Deleted meanwhile, or of a document with a function that this process lacks: that hides no other run."""

_OPEN = "ExecutionStatus = 'Running'"


def quoted(text: str) -> str:
    """A text in a query."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _all(texts: Iterable[str]) -> str:
    return ", ".join(quoted(str(text)) for text in sorted(set(texts)))


def _between(since: datetime.datetime | None, until: datetime.datetime | None) -> str:
    """A condition on when runs started."""
    after = f" AND StartTime >= '{since.isoformat()}'" if since is not None else ""
    return after + (f" AND StartTime < '{until.isoformat()}'" if until is not None else "")


def _has(search: Mapping[str, Any], where: Where) -> bool:
    return all(
        name in search and any(values.equal(search[name], value) for value in several)
        for name, several in where
    )


def _without_counts(document: Mapping[str, Any]) -> dict[str, Any]:
    waiting = [each["path"] for each in document["waiting_for"]]
    return {**document, "step_counts": None, "current_steps": waiting}


async def _at_once(ask: Callable[[Any], Any], about: Iterable[Any]) -> list[Any]:
    """What is answered to each, in their order."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(each: Any) -> Any:
        async with turns:
            return await ask(each)

    return list(await asyncio.gather(*map(in_turn, about)))
