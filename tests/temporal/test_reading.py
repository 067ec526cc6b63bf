"""What is read of a run on Temporal is what has been decided, and no more."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from temporalio.client import Client

from flowctl import document
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.remote import seen
from tests.temporal.conftest import Begun
from tests.temporal.server import Server

DOCUMENT = "dsl: 1\nname: nap\nsteps: [{sleep: 1s}]\n"
SOON = 20
"""Seconds."""


def test_a_run_that_has_hardly_begun_is_as_it_was_accepted(server: Server) -> None:
    """Its history is one event, as that of a child is for a moment; a replay of that would never end."""
    store = MemoryStore()
    engine = Engine(MemoryJournal(store), {}, secret=lambda name: None)
    workflow = document.load(DOCUMENT, "nap.yaml").workflow
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


AGAIN = """
dsl: 1
name: again
signals: {tick: {}}
steps:
  - {id: tick, wait_for_signal: tick}
  - {id: next, continue_as_new: {input: {}}}
"""

IN_TIME = """
dsl: 1
name: in_time
signals: {go: {}}
steps:
  - {id: go, wait_for_signal: go, timeout: 2s, on_timeout: continue}
output: ${{ steps.go.output }}
"""


def test_a_run_is_asked_again_though_its_end_would_follow_from_what_it_was_asked_before(begun: Begun) -> None:
    backend, run_id = begun(AGAIN)
    for _ in range(2):
        assert backend.signal(run_id, "tick", None)["status"] == "waiting"
    third = backend.drive(run_id, wait=0)["id"]
    assert third == f"{run_id}~3"
    backend.pause(third)
    backend.unpause(third)
    backend.cancel(third, "never mind")
    assert backend.drive(third, wait=0)["status"] == "cancelled"


def test_a_signal_that_comes_too_late_is_not_shown_as_what_a_run_got(begun: Begun) -> None:
    backend, run_id = begun(IN_TIME)
    time.sleep(2.5)
    backend.signal(run_id, "go", {"by": "Ada"})
    assert backend.status(run_id)["status"] == "waiting"
    ended = backend.drive(run_id, wait=10_000)
    assert (ended["status"], ended["output"]) == ("completed", None)
    assert backend.status(run_id) == ended
