"""The backend of a cluster: runs are Temporal workflows, executed by workers anywhere.

What the engine does on one machine with a journal, it does here on the journal that a run's history amounts
to (``runtimes.temporal.remote``): start, retry and replay prepare a run in a journal in memory, which is then
sent off as a workflow; everything that is read is folded from the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal as signals
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, NoReturn

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from flowctl import values
from flowctl.backends import Documents, Observer, StartRequest
from flowctl.backends.news import News
from flowctl.engine import Engine
from flowctl.errors import AmbiguousRun, RunIdConflict, RunNotFound, UsageError
from flowctl.journal import Run, Where
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.model import NO_POLICY, Policy
from flowctl.runtimes.embedded import wall_clock
from flowctl.runtimes.kin import check_signal
from flowctl.runtimes.operations import Operations
from flowctl.runtimes.temporal import workflow as workflows
from flowctl.runtimes.temporal.asking import Asking
from flowctl.runtimes.temporal.begin import MARK, Begin, to_chunks
from flowctl.runtimes.temporal.connection import Address, backlog, connect, refused
from flowctl.runtimes.temporal.remote import Seen, begin_of, document_of, seen, signal, workflow_id_of
from flowctl.runtimes.temporal.working import working
from flowctl.runtimes.versions import Versions
from flowctl.state import ENDED, LIVE, RunStatus
from flowctl.status import SecretPaths, fact_line, history_lines, status_document, summary

if TYPE_CHECKING:
    from flowctl.backends.reins import Holds
    from flowctl.document.closure import Closure
    from flowctl.model import Workflow
    from flowctl.plugins import Plugins

LOOK = 0.1
"""Seconds between looks at a run that is executed here."""

LOOK_AFAR = 1.0
"""Seconds between looks at one that is executed elsewhere."""

ALIVE = 90.0
"""A worker asks for work about once a minute. One that has not for so many seconds is gone."""

NEWS = 1_000
"""Runs, the latest, of which somebody who looks on hears news."""

_STATUSES = {
    WorkflowExecutionStatus.RUNNING: RunStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED: RunStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: RunStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: RunStatus.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: RunStatus.TERMINATED,
}
"""How runs stand, as far as Temporal counts them by itself."""

LAST = "@last"
LAST_FILE = File(".flowctl", "temporal.json")
"""Where the run last started from this folder is noted, by address."""


class TemporalBackend:
    """See ``Backend``. ``plugins`` is None where nothing is executed."""

    def __init__(self, url: str, plugins: Plugins | None, settings: Policy | None) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._address = Address.parse(url)
        self._plugins = plugins
        self._settings = settings or NO_POLICY
        self._told: News | None = None
        try:
            self._client: Client = self._runner.run(connect(self._address))
        except BaseException:
            self._runner.close()
            raise
        self._asking = Asking(self._client, self._look, self._restart, wall_clock)

    def another(self, *, read_only: bool = False) -> TemporalBackend:
        """See ``Backend``."""
        return TemporalBackend(self._url, self._plugins, self._settings)

    def _ask(self, question: Any) -> Any:
        """Have it answered, on this backend's loop."""
        try:
            return self._runner.run(question)
        except RPCError as error:
            raise refused(error, self._client) from error

    # --- accepting

    def start(self, request: StartRequest, *, claim: bool = False) -> tuple[str, bool]:
        """See ``Backend``. ``claim`` means nothing: whoever listens to the queue takes part."""
        store = MemoryStore()
        run, _ = self._engine(store).start(
            request.workflow,
            request.source,
            request.input,
            id=request.id,
            principal=request.principal,
            children=request.children,
        )
        try:
            self._ask(self._send_off(run, store, WorkflowIDReusePolicy.REJECT_DUPLICATE))
        except WorkflowAlreadyStartedError:
            return self._existing(run), False
        self._note(run.id)
        return run.id, True

    async def _send_off(self, run: Run, store: MemoryStore, reuse: WorkflowIDReusePolicy) -> None:
        queue = self._address.task_queue
        begin = Begin(run.id, pack(store), self._policies(store), self._settings, queue)
        await self._client.start_workflow(
            run.workflow,
            args=to_chunks(begin),
            id=run.workflow_id,
            task_queue=queue,
            id_reuse_policy=reuse,
            memo=MARK,
        )

    def _existing(self, asked: Run) -> str:
        first, _ = document_of(self._ask(begin_of(self._client, asked.workflow_id)))
        if first.digest != asked.digest or not values.equal(first.input, asked.input):
            raise RunIdConflict(
                f"the id {asked.workflow_id} belongs to a run of another document or input",
                hint="choose another --id, or start it with the same file and input",
            )
        return first.id

    def _engine(self, store: MemoryStore) -> Engine:
        from flowctl.document import build

        plugins = self._plugins
        return Engine(
            MemoryJournal(store),
            plugins.activities if plugins is not None else {},
            secret=lambda name: None,
            settings=self._settings,
            build_workflow=partial(build, functions=self._functions),
        )

    def _policies(self, store: MemoryStore) -> dict[str, Policy]:
        """What the activities of all documents declare for themselves."""
        from flowctl.document import stored

        if self._plugins is None:
            return {}
        names = set[str]().union(
            *(
                stored(document.body, document.digest, self._functions).activities
                for document in store.documents.values()
            )
        )
        known = self._plugins.activities
        return {name: known[name].policy for name in sorted(names & known.keys())}

    @property
    def _functions(self) -> Mapping[str, Any]:
        from flowctl.expressions import FUNCTIONS

        return self._plugins.vocabulary if self._plugins is not None else FUNCTIONS

    def _note(self, run_id: str) -> None:
        """Remember the run as ``@last``. A folder that cannot be written to has none."""
        with contextlib.suppress(OSError, ValueError):
            LAST_FILE.parent.mkdir(mode=0o700, exist_ok=True)
            noted = json.loads(LAST_FILE.read_text()) if LAST_FILE.exists() else {}
            LAST_FILE.write_text(json.dumps({**noted, self._url: run_id}))

    # --- executing

    def drive(
        self, run_id: str, *, wait: int, observe: Observer | None = None, reins: Holds | None = None
    ) -> dict[str, Any]:
        """See ``Backend``. This process is a worker for as long; others may do some of the work."""
        until = wall_clock() + wait

        async def drive(stop: asyncio.Event) -> None:
            with workflows.hosts() as here:
                async with self._working():
                    await self._watch(run_id, until, here, _told(observe), stop)

        self._ask(_held(drive, reins))
        return self.status(self._latest(run_id))

    def work(
        self,
        *,
        concurrency: int | None = None,
        drain: bool = False,
        observe: Observer,
        ready: Callable[[], None] = lambda: None,
        reins: Holds | None = None,
    ) -> None:
        """See ``Backend``."""

        async def work(stop: asyncio.Event) -> None:
            loop = asyncio.get_running_loop()
            for number in (signals.SIGTERM, signals.SIGINT) if reins is None else ():
                loop.add_signal_handler(number, stop.set)
            async with self._working(concurrency, observe):
                ready()
                if drain:
                    await self._until_drained(stop)
                else:
                    await stop.wait()

        self._ask(_held(work, reins))

    def _working(self, concurrency: int | None = None, observe: Observer | None = None) -> Any:
        plugins = self._plugins
        assert plugins is not None
        if self._told is None:
            self._told = News(plugins)
            if plugins.telemetry is not None:
                plugins.telemetry.begin(self._url, partial(backlog, self._address))
        return working(
            self._client,
            self._address.task_queue,
            plugins.activities,
            functions=self._functions,
            secret=plugins.resolve_secret,
            concurrency=concurrency,
            around=plugins.telemetry and plugins.telemetry.around,
            around_in_child=plugins.telemetry and plugins.telemetry.around_in_child,
            listener=self._told.listener(observe),
        )

    async def _watch(
        self,
        run_id: str,
        until: int,
        here: Sequence[workflows.Watched],
        tell: Callable[[Run, Sequence[Any]], None],
        stop: asyncio.Event,
    ) -> None:
        """Until the run has ended or rests, by what is known here, or else by what Temporal says."""
        told, workflow_id = 0, workflow_id_of(run_id)
        while not stop.is_set():
            ours = (workflow_id, self._address.task_queue)  # and not one that was replayed to be looked at
            host = next(
                (each.host for each in reversed(here) if (each.workflow_id, each.task_queue) == ours), None
            )
            if host is not None:
                run, entries = host.run(), host.journal.entries(host.run_id, told)
            else:
                found = await self._look(run_id)
                run, entries = found.run, found.journal.entries(found.run.id, told)
            tell(run, entries)
            told = max([told, *(entry.seq for entry in entries)])
            if await self._is_at_rest(run, until):
                if run.status in ENDED:
                    with contextlib.suppress(WorkflowFailureError):
                        await self._client.get_workflow_handle(workflow_id).result()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK if host is not None else LOOK_AFAR)

    async def _is_at_rest(self, run: Run, until: int) -> bool:
        if run.status in ENDED:
            return run.status != RunStatus.CONTINUED
        if run.status not in (RunStatus.WAITING, RunStatus.PAUSED, RunStatus.BLOCKED):
            return False
        children = [each["names"][0] for each in run.waiting_for or () if each["kind"] == "child"]
        for child in children:
            with contextlib.suppress(RunNotFound):
                if not await self._is_at_rest((await self._look(child)).run, until):
                    return False
        return run.wake_at is None or run.wake_at > until

    async def _until_drained(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            rests = True
            async for found in self._found("ExecutionStatus = 'Running'"):
                rests = rests and await self._is_at_rest(found.run, wall_clock())
            if rests:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_AFAR)

    def is_live(self, run_id: str) -> bool:
        """See ``Backend``: whether a worker listens to the queue."""
        return bool(self._ask(self._has_workers()))

    async def _has_workers(self) -> bool:
        from temporalio.api.enums.v1 import TaskQueueType
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

        answer = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=self._address.task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
        return any(time.time() - poller.last_access_time.seconds < ALIVE for poller in answer.pollers)

    # --- finding and reading

    def known_document(self, source: str) -> Workflow | None:
        """See ``Backend``. Nothing is kept from which to know it."""
        return None

    def resolve(self, reference: str) -> str:
        """See ``Backend``."""
        if not reference:
            raise UsageError("RUN is empty", hint="give a run id, a workflow id, a prefix or @last")
        if reference == LAST:
            return self._last()
        return str(self._ask(self._resolve(reference)))

    async def _resolve(self, reference: str) -> str:
        with contextlib.suppress(RunNotFound):
            if workflow_id_of(reference) != reference:
                return (await self._look(reference)).run.id
            return (await begin_of(self._client, reference)).run_id
        found: dict[str, None] = {}
        prefix = reference.replace("'", "")
        async for execution in self._client.list_workflows(f"WorkflowId STARTS_WITH '{prefix}'", limit=10):
            if "/" in reference or "/" not in execution.id:
                found[execution.id] = None
        if not found:
            raise RunNotFound(
                f"there is no run {reference}", hint="`flowctl list` shows the runs of this namespace"
            )
        if len(found) > 1:
            raise AmbiguousRun(
                f"{reference} is the beginning of several runs: {', '.join(list(found)[:5])}",
                hint="type more of it",
            )
        return (await begin_of(self._client, *found)).run_id

    def _last(self) -> str:
        try:
            last = json.loads(LAST_FILE.read_text())[self._url]
        except (OSError, ValueError, KeyError):
            raise RunNotFound(
                "no run was started from this folder yet", hint="start one with `flowctl run FILE`"
            ) from None
        return self._latest(str(last))

    def _latest(self, run_id: str) -> str:
        return str(self._ask(begin_of(self._client, workflow_id_of(run_id))).run_id)

    async def _look(self, run_id: str) -> Seen:
        return await seen(self._client, run_id)

    def _seen(self, run_id: str) -> Seen:
        found: Seen = self._ask(self._look(run_id))
        return found

    def status(
        self, run_id: str, *, first: int | None = None, count: int = 200, before: str | None = None
    ) -> dict[str, Any]:
        """See ``Backend``."""
        found = self._seen(run_id)
        run, entries = found.run, found.journal.entries(run_id)
        if before is not None:
            from flowctl.backends import moment

            run, entries = moment.before(run, entries, before)
        return status_document(run, entries, first=first, count=count)

    def standings(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        standings = {}
        for run_id in run_ids:
            with contextlib.suppress(RunNotFound):
                run = self._seen(self._latest(run_id)).run
                standings[run_id] = {"id": run.id, "status": run.status}
        return standings

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
    ) -> Documents:
        """See ``Backend``."""
        found = self._ask(self._select(statuses, workflow, where, limit))
        return [summary(each.run, each.journal.entries(each.run.id)) for each in found]

    def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> Documents:
        """See ``Backend``."""
        found = self._ask(self._select(statuses, workflow, where, limit))
        return [{"id": each.run.id, "status": each.run.status} for each in found]

    async def _select(
        self, statuses: Sequence[str], workflow: str | None, where: Where, limit: int | None
    ) -> Sequence[Seen]:
        query = f"WorkflowType = '{workflow}'" if workflow is not None else ""
        if statuses and not set(statuses) & ENDED:
            query = " AND ".join(filter(None, (query, "ExecutionStatus = 'Running'")))
        selected: list[Seen] = []
        async for found in self._found(query):
            rows = found.journal.list_runs(statuses=statuses, workflow=workflow, where=where, limit=1_000_000)
            if any(row.id == found.run.id for row in rows):
                selected.append(found)
            if len(selected) == limit:
                break
        return selected

    async def _found(self, query: str) -> AsyncIterator[Seen]:
        """Runs of ours, newest first; the last of each chain."""
        async for execution in self._client.list_workflows(query or None):
            ours = execution.task_queue == self._address.task_queue and "flowctl" in await execution.memo()
            if ours and execution.status != WorkflowExecutionStatus.CONTINUED_AS_NEW:
                with contextlib.suppress(RunNotFound):  # it was deleted meanwhile
                    yield await self._look(execution.id)

    def page(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
        after: str | None = None,
        counts: bool = True,
    ) -> tuple[Documents, str | None]:
        """See ``Backend``. A page is found by the number of runs before it."""
        if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 10):
            raise UsageError(
                "that is no place in this list", hint="take the cursor that the page before gave"
            )
        first = int(after or 0)
        found = self._ask(self._select(statuses, workflow, where, first + limit + 1))
        shown = found[first : first + limit]
        documents = [
            summary(each.run, each.journal.entries(each.run.id) if counts else None) for each in shown
        ]
        return documents, str(first + limit) if len(found) > first + limit else None

    def glances(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        found = {}
        for run_id in run_ids:
            with contextlib.suppress(RunNotFound):
                found[run_id] = summary(self._seen(run_id).run)
        return found

    def news(self, mark: Any) -> tuple[Any, Sequence[str]]:
        """See ``Backend``. Temporal is asked once a second; it tells of the latest thousand runs."""
        at, before = mark or (0.0, {})
        if time.monotonic() < at + LOOK_AFAR:
            return mark, ()
        now = self._ask(self._lengths())
        changed = [run_id for run_id, length in now.items() if mark and before.get(run_id) != length]
        return (time.monotonic(), now), changed

    async def _lengths(self) -> dict[str, tuple[int | None, int]]:
        """How each run stands, and how long its history is."""
        lengths: dict[str, tuple[int | None, int]] = {}
        async for execution in self._client.list_workflows(limit=NEWS):
            if execution.task_queue == self._address.task_queue:
                length = execution.history_length
                if execution.status == WorkflowExecutionStatus.RUNNING:
                    described = await self._client.get_workflow_handle(execution.id).describe()
                    length = described.history_length
                lengths.setdefault(execution.id, (execution.status, length))
        return lengths

    def statistics(self) -> dict[str, Any]:
        """See ``Backend``. What is due and how much there is, the server's own metrics tell."""
        counts = self._ask(self._counts())
        runs = [[workflow, status, count] for (workflow, status), count in sorted(counts.items())]
        return {"runs": runs, "due": 0, "workers": int(self.is_live("")), "size": 0}

    async def _counts(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        async for execution in self._client.list_workflows():
            status = _STATUSES.get(execution.status) if execution.status is not None else None
            if execution.task_queue == self._address.task_queue and status is not None:
                key = (execution.workflow_type, status.value)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def pinned(self, run_id: str) -> tuple[Workflow, str]:
        """See ``Backend``."""
        from flowctl.document import stored

        found = self._seen(run_id)
        document = found.journal.document(found.run.digest)
        assert document is not None
        return stored(document.body, document.digest, self._functions), document.source

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        found = self._seen(run_id)
        lines = history_lines(found.run, found.journal.entries(run_id))
        return (line for line in lines if line["seq"] > after or not after)

    def follow(self, run_id: str, *, after: int = 0, rests: bool = False) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        for line in self._tail(run_id, after, rests=rests):
            if line is None:
                time.sleep(LOOK_AFAR)
            else:
                yield line

    def tail(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any] | None]:
        """See ``Backend``."""
        return self._tail(run_id, after, rests=False)

    def _tail(self, run_id: str, after: int, *, rests: bool) -> Iterator[dict[str, Any] | None]:
        while True:
            found = self._seen(run_id)
            for line in history_lines(found.run, found.journal.entries(run_id)):
                if line["seq"] > after or (not after and line["seq"] == 0):
                    yield line
            after = max([after, *(entry.seq for entry in found.journal.entries(run_id))])
            if found.run.status in ENDED or (rests and not self.is_live(run_id)):
                return
            yield None

    def export(self, run_id: str) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        from flowctl.backends.export import export

        found = self._seen(run_id)
        return export(found.journal, found.run)

    # --- asking

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """See ``Backend``."""
        found = self._seen(run_id)
        run = Operations(found.journal, wall_clock).permitted("signal", run_id)
        _, document = document_of(self._ask(begin_of(self._client, workflow_id_of(run_id))), self._functions)
        problem = check_signal(document, name, payload)
        if problem is not None:
            raise problem
        about = {"flowctl": 1, "payload": payload, "principal": principal, "dedup_id": dedup_id}
        self._ask(signal(self._client, workflow_id_of(run_id), name, about | {"at": wall_clock()}))
        return _answer(run)

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.cancel(run_id, reason, principal=principal)))

    def pause(self, run_id: str) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.pause(run_id)))

    def unpause(self, run_id: str) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.unpause(run_id)))

    def resume(self, run_id: str) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.resume(run_id)))

    def terminate(self, run_id: str) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.terminate(run_id))) | {"status": RunStatus.TERMINATED.value}

    def retry(self, run_id: str, *, skip: Sequence[str] = ()) -> dict[str, Any]:
        """See ``Backend``."""
        return _answer(self._ask(self._asking.retry(run_id, skip=skip)))

    async def _restart(self, run: Run, found: Seen) -> None:
        await self._send_off(run, found.journal.store, WorkflowIDReusePolicy.ALLOW_DUPLICATE)

    def replay(
        self,
        run_id: str,
        start: str,
        *,
        input: Mapping[str, Any] | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """See ``Backend``. The new run takes along what the other one recorded."""
        store = self._seen(run_id).journal.store
        run = self._engine(store).replay(run_id, start, input=input, principal=principal)
        self._ask(self._send_off(run, store, WorkflowIDReusePolicy.REJECT_DUPLICATE))
        self._note(run.id)
        return _answer(run)

    # --- documents

    def verdict(self, run_id: str, workflow: Workflow) -> dict[str, Any]:
        """See ``Backend``."""
        found = self._seen(run_id)
        run = Operations(found.journal, wall_clock).permitted("migrate", run_id)
        misfit = Versions(found.journal, wall_clock).misfit(run, workflow)
        path, reason = misfit or (None, None)
        return {"id": run.id, "fits": misfit is None, "path": path, "reason": reason}

    def verdicts(self, workflow: Workflow) -> Documents:
        """See ``Backend``."""
        live = self.select(statuses=sorted(LIVE), workflow=workflow.name)
        return [self.verdict(run["id"], workflow) for run in live]

    def migrate(
        self, run_id: str, workflow: Workflow, source: str, children: Closure | None
    ) -> dict[str, Any]:
        """See ``Backend``. Temporal replays what a run did with the document that it did it with."""
        raise UsageError(
            "a run on Temporal stays with its document",
            hint="say in the document what changes, with a `patch` step; or cancel the run and start it anew",
        )

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """See ``Backend``."""
        _no_registry()

    def deploy(self, workflow: Workflow, source: str) -> bool:
        """See ``Backend``."""
        _no_registry()

    def workflows(self) -> Documents:
        """See ``Backend``."""
        _no_registry()

    def deprecate(self, name: str, version: int, message: str) -> None:
        """See ``Backend``."""
        _no_registry()

    def close(self) -> None:
        """See ``Backend``."""
        if self._told is not None:
            self._told.close()
            if self._plugins is not None and self._plugins.telemetry is not None:
                self._plugins.telemetry.end()
        self._runner.close()


def _no_registry() -> NoReturn:
    raise UsageError(
        "workflows are not deployed to Temporal: a run takes its documents along",
        hint="name the file instead of the workflow; children too can be files",
    )


def _answer(run: Run) -> dict[str, Any]:
    return {"id": run.id, "status": run.status}


def _told(observe: Observer | None) -> Callable[[Run, Sequence[Any]], None]:
    """Passes new entries of a run on, as history shows them."""
    secret = SecretPaths()

    def tell(run: Run, entries: Sequence[Any]) -> None:
        for entry in entries if observe is not None else ():
            for fact in entry.facts():
                line = fact_line(run, fact, entry.seq, secret)
                observe({"run": run.id, "status": run.status, **line})  # type: ignore[misc]

    return tell


async def _held(work: Callable[[asyncio.Event], Any], reins: Holds | None) -> None:
    """Work until it is done, or somebody stops it."""
    stop = asyncio.Event()
    if reins is None:
        await work(stop)
    else:
        with reins.held(asyncio.get_running_loop(), stop.set, lambda: None):
            await work(stop)
