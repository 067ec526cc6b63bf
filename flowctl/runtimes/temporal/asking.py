"""What people ask of a run on Temporal: what ``runtimes.operations`` does on a journal, by signals.

Whether it is permitted, the run's state says, as far as Temporal has decided. Whether there is something to
do, the run knows when it hears of it: it may have been asked for something else before. A run that has ended
is retried by another Temporal run of the same workflow id, which takes the journal over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio.client import Client

from flowctl.errors import RunClosed, RunNotFound
from flowctl.journal import MessageKind, Run
from flowctl.runtimes.kin import check_cancel
from flowctl.runtimes.operations import Operations, children_of
from flowctl.runtimes.temporal.remote import Seen, signal, workflow_id_of
from flowctl.state import ENDED

Look = Callable[[str], Awaitable[Seen]]
"""Finds a run."""

Restart = Callable[[Run, Seen], Awaitable[None]]
"""Sends a run off again, with the journal that it is in."""


class Asking:
    """Each returns the run as it was found. ``clock`` is in milliseconds since the epoch."""

    def __init__(self, client: Client, look: Look, restart: Restart, clock: Callable[[], int]) -> None:
        self._client = client
        self._look = look
        self._restart = restart
        self._clock = clock

    async def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> Run:
        """Have it undone. A run that is compensating is. ``InvalidInput``."""
        check_cancel(reason, principal)
        return await self._ask("cancel", run_id, {"reason": reason}, principal)

    async def pause(self, run_id: str, *, principal: str | None = None) -> Run:
        """Let nothing new begin."""
        return await self._ask("pause", run_id, principal=principal)

    async def unpause(self, run_id: str, *, principal: str | None = None) -> Run:
        """Take that back."""
        return await self._ask("unpause", run_id, principal=principal)

    async def resume(self, run_id: str, *, principal: str | None = None) -> Run:
        """Lift a pause, if there is one, and have what is blocked tried again. An ended run is left as it
        is.
        """
        found = await self._look(run_id)
        if found.run.status in ENDED:
            return found.run
        return await self._ask("resume", run_id, principal=principal)

    async def terminate(self, run_id: str, *, principal: str | None = None) -> Run:
        """End it at once, with the children that it waits for. Temporal keeps nothing of who asks."""
        found = await self._look(run_id)
        run = Operations(found.journal, self._clock).permitted("terminate", run_id)
        awaited, closing = children_of(run, found.journal.entries(run.id))
        await self._client.get_workflow_handle(workflow_id_of(run_id)).terminate(reason="flowctl terminate")
        for child in awaited:
            with contextlib.suppress(RunClosed, RunNotFound):
                await self.terminate(child, principal=principal)
        for child in closing:
            with contextlib.suppress(RunClosed, RunNotFound):
                await self.cancel(child, f"its parent {run_id} was terminated", principal=principal)
        return run

    async def retry(self, run_id: str, *, skip: Sequence[str] = (), principal: str | None = None) -> Run:
        """See ``Operations.retry``."""
        found = await self._look(run_id)
        if found.run.status in ENDED:
            run = Operations(found.journal, self._clock).retry(run_id, skip=skip, principal=principal)
            await self._restart(run, found)
            return run
        return await self._ask("retry", run_id, {"generation": found.run.generation}, principal)

    async def _ask(
        self,
        kind: MessageKind,
        run_id: str,
        data: dict[str, Any] | None = None,
        principal: str | None = None,
    ) -> Run:
        found = await self._look(run_id)
        run = Operations(found.journal, self._clock).permitted(kind, run_id)
        about = {"data": data or {}, "principal": principal, "at": self._clock()}
        await signal(self._client, workflow_id_of(run_id), f"_{kind}", about)
        return run
