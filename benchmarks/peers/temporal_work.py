"""The work of the comparison, done by Temporal; run by a Python that has its library, and nothing of flowctl.

    temporal_work.py PROGRAM FOLDER PORT sequential N | at_once RUNS

Starts a development server (``PROGRAM``) at PORT that keeps its data in an SQLite file in FOLDER, and a
worker in this process, whose activities do nothing. Prints one JSON document: ``{"seconds": …}``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

STEPS = 5
QUEUE = "bench"
ADDRESS = "127.0.0.1"
PATIENCE = 60
"""Seconds until the server answers."""


@activity.defn
async def noop(n: int) -> int:
    """Nothing, durably."""
    return n


@workflow.defn
class Steps:
    """So many steps, one after the other."""

    @workflow.run
    async def run(self, count: int) -> None:
        """The work."""
        for step in range(count):
            await workflow.execute_activity(noop, step, start_to_close_timeout=timedelta(minutes=5))


async def connected(port: str) -> Client:
    """A client, as soon as the server answers."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await Client.connect(f"{ADDRESS}:{port}")
        except RuntimeError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


async def work(port: str, what: str, number: int) -> float:
    """Seconds that the work took."""
    client = await connected(port)
    async with Worker(client, task_queue=QUEUE, workflows=[Steps], activities=[noop]):

        async def one(name: str, count: int) -> None:
            await client.execute_workflow(Steps.run, count, id=name, task_queue=QUEUE)

        await one("first", STEPS)
        begun = time.perf_counter()
        if what == "sequential":
            await one("long", number)
        else:
            await asyncio.gather(*(one(f"run-{run}", STEPS) for run in range(number)))
        return time.perf_counter() - begun


def main() -> None:
    """Do it."""
    program, folder, port, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    number = int(sys.argv[5])
    command = [program, "server", "start-dev", "--headless", "--port", port, "--log-level", "error"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--db-filename", str(folder / "temporal.db")], stdout=log, stderr=log
        )
        try:
            seconds = asyncio.run(work(port, what, number))
        finally:
            server.kill()
            server.wait()
    sys.stdout.write(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
