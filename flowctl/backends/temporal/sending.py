"""Runs on their way: prepared by the engine in a journal in memory, and sent off with it as a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from flowctl import values
from flowctl.backends import StartRequest
from flowctl.engine import Engine
from flowctl.errors import RunIdConflict
from flowctl.journal import Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.model import Policy
from flowctl.runtimes.temporal import card
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.remote import Seen, begin_of, begun

if TYPE_CHECKING:
    from flowctl.plugins import Plugins

_INDEX = {
    card.STATUS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    card.ATTRIBUTES.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


async def is_indexed(client: Client) -> bool:
    """Whether the search attributes of ``card`` are registered. Who may not know that has none."""
    try:
        found = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError:
        return False
    return _INDEX.items() <= dict(found.custom_attributes).items()


class Sending:
    """From what is asked for to a workflow. ``functions`` are those that expressions may call."""

    def __init__(
        self,
        client: Client,
        task_queue: str,
        plugins: Plugins | None,
        functions: Mapping[str, Any],
        settings: Policy,
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._plugins = plugins
        self._functions = functions
        self._settings = settings

    async def start(self, request: StartRequest) -> tuple[Run, bool]:
        """See ``Backend.start``."""
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
            await self._send_off(run, store, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError:
            return await self._existing(run), False
        return run, True

    async def replay(
        self, found: Seen, start: str, input: Mapping[str, Any] | None, principal: str | None
    ) -> Run:
        """See ``Backend.replay``. The new run takes along what the other one recorded."""
        store = found.journal.store
        run = self._engine(store).replay(found.run.id, start, input=input, principal=principal)
        await self._send_off(run, store, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        return run

    async def restart(self, run: Run, found: Seen) -> None:
        """See ``Restart``."""
        await self._send_off(run, found.journal.store, WorkflowIDReusePolicy.ALLOW_DUPLICATE)

    async def _send_off(self, run: Run, store: MemoryStore, reuse: WorkflowIDReusePolicy) -> None:
        indexed = await is_indexed(self._client)
        begin = Begin(
            run.id,
            pack(store),
            self._policies(store),
            self._settings,
            self._task_queue,
            cards=True,
            indexed=indexed,
        )
        await self._client.start_workflow(
            run.workflow,
            args=to_chunks(begin),
            id=run.workflow_id,
            task_queue=self._task_queue,
            id_reuse_policy=reuse,
            memo=card.memo_of(run, MemoryJournal(store).entries(run.id)),
            search_attributes=TypedSearchAttributes(card.index_of(run) if indexed else []),
        )

    async def _existing(self, asked: Run) -> Run:
        first, _ = begun(await begin_of(self._client, asked.workflow_id))
        if first.digest != asked.digest or not values.equal(first.input, asked.input):
            raise RunIdConflict(
                f"the id {asked.workflow_id} belongs to a run of another document or input",
                hint="choose another --id, or start it with the same file and input",
            )
        return first

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
