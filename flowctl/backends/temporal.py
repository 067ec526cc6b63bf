"""The backend of a cluster: runs are Temporal workflows, executed by workers anywhere.

What the engine does on one machine with a journal, it does here on the journal that a run's history amounts
to (``runtimes.temporal.remote``): start, retry and replay prepare a run in a journal in memory, which is then
sent off as a workflow; everything that is read is folded from the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from flowctl import values
from flowctl.backends import Observer, StartRequest
from flowctl.engine import Engine
from flowctl.errors import (
    RunIdConflict,
)
from flowctl.journal import Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.model import NO_POLICY, Policy
from flowctl.runtimes.embedded import wall_clock
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.connection import Address, connect, refused
from flowctl.runtimes.temporal.remote import Seen, begin_of, document_of, seen, workflow_id_of
from flowctl.runtimes.temporal.working import working
from flowctl.state import ENDED, RunStatus
from flowctl.status import fact_line, status_document

if TYPE_CHECKING:
    from flowctl.plugins import Plugins

MARK = {"flowctl": 1}
"""The memo of every run, by which ours are told from other workflows of the namespace."""

LOOK = 0.2
"""Seconds between looks at a run that is watched."""


class TemporalBackend:
    """See ``Backend``. ``plugins`` is None where nothing is executed."""

    def __init__(self, url: str, plugins: Plugins | None, settings: Policy | None) -> None:
        self._runner = asyncio.Runner()
        self._address = Address.parse(url)
        self._plugins = plugins
        self._settings = settings or NO_POLICY
        self._client: Client = self._ask(connect(self._address))

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
        from functools import partial

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

    # --- executing

    def drive(self, run_id: str, *, wait: int, observe: Observer | None = None) -> dict[str, Any]:
        """See ``Backend``. This process is a worker for as long; others may do some of the work."""
        until = wall_clock() + wait

        async def drive() -> None:
            async with self._working():
                await self._watch(run_id, until, observe)

        self._ask(drive())
        return self.status(self._latest(run_id))

    def work(
        self,
        *,
        concurrency: int | None = None,
        drain: bool = False,
        observe: Observer,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """See ``Backend``."""

        async def work() -> None:
            async with self._working(concurrency):
                ready()
                await asyncio.Event().wait()

        self._ask(work())

    def _working(self, concurrency: int | None = None) -> Any:
        assert self._plugins is not None
        return working(
            self._client,
            self._address.task_queue,
            self._plugins.activities,
            functions=self._functions,
            secret=self._plugins.resolve_secret,
            concurrency=concurrency,
        )

    async def _watch(self, run_id: str, until: int, observe: Observer | None) -> None:
        told = 0
        while True:
            now = await seen(self._client, run_id)
            if observe is not None:
                for entry in now.journal.entries(now.run.id, told):
                    told = entry.seq
                    for fact in entry.facts():
                        observe({"run": now.run.id, "status": now.run.status, **fact_line(now.run, fact, 0)})
            if await self._is_at_rest(now.run, until):
                return
            await asyncio.sleep(LOOK)

    async def _is_at_rest(self, run: Run, until: int) -> bool:
        if run.status in ENDED:
            return run.status != RunStatus.CONTINUED
        if run.status not in (RunStatus.WAITING, RunStatus.PAUSED, RunStatus.BLOCKED):
            return False
        children = [each["names"][0] for each in run.waiting_for or () if each["kind"] == "child"]
        for child in children:
            if not await self._is_at_rest((await seen(self._client, child)).run, until):
                return False
        return run.wake_at is None or run.wake_at > until

    def _latest(self, run_id: str) -> str:
        return str(self._ask(begin_of(self._client, workflow_id_of(run_id))).run_id)

    # --- reading

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

    def _seen(self, run_id: str) -> Seen:
        found: Seen = self._ask(seen(self._client, run_id))
        return found

    def close(self) -> None:
        """See ``Backend``."""
        self._runner.close()
