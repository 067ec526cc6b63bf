"""What is read of a run on Temporal is what has been decided, and no more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio.client import Client

from flowctl.document import load
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.remote import seen
from tests.temporal.server import Server

DOCUMENT = "dsl: 1\nname: nap\nsteps: [{sleep: 1s}]\n"
SOON = 20
"""Seconds."""


def test_a_run_that_has_hardly_begun_is_as_it_was_accepted(server: Server) -> None:
    """Its history is one event, as that of a child is for a moment; a replay of that would never end."""
    store = MemoryStore()
    engine = Engine(MemoryJournal(store), {}, secret=lambda name: None)
    workflow = load(DOCUMENT, "nap.yaml").workflow
    run, _ = engine.start(workflow, DOCUMENT, {}, id="nap-1", children=Closure({}, {}))

    async def look() -> tuple[str, int]:
        client = await Client.connect(server.target)
        await client.start_workflow(
            "nap",
            args=to_chunks(Begin(run.id, pack(store))),
            id=run.id,
            task_queue="nobody",
            start_delay=timedelta(hours=1),
        )
        found = await asyncio.wait_for(seen(client, run.id), SOON)
        return found.run.status, len(found.journal.entries(run.id))

    assert asyncio.run(look()) == ("created", 0)
