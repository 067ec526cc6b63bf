"""The work of the comparison, done by Prefect; run by its own Python, which has nothing of flowctl.

    prefect_work.py FOLDER PORT sequential N | at_once RUNS

Starts a server at PORT that keeps its data in an SQLite file in FOLDER, and calls flows of tasks that do
nothing in this process, their results persisted there. Prints one JSON document: ``{"seconds": …}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

STEPS = 5
ADDRESS = "127.0.0.1"
PATIENCE = 120
"""Seconds until the server answers."""


async def work(what: str, number: int) -> float:
    """Seconds that the work took."""
    from prefect import flow, task  # reads the environment

    @task(persist_result=True)
    async def noop(n: int) -> int:
        return n

    @flow(persist_result=True)
    async def steps(count: int) -> int:
        for step in range(count):
            await noop(step)
        return count

    await steps(STEPS)
    begun = time.perf_counter()
    if what == "sequential":
        await steps(number)
    else:
        await asyncio.gather(*(steps(STEPS) for _ in range(number)))
    return time.perf_counter() - begun


def wait_for(address: str) -> None:
    """Return when the server answers."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health"):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main() -> None:
    """Do it."""
    folder, port, what, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    address = f"http://{ADDRESS}:{port}/api"
    os.environ.update(
        PREFECT_HOME=str(folder / "home"),
        PREFECT_API_URL=address,
        PREFECT_LOGGING_LEVEL="ERROR",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", ADDRESS, "--port", port]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([*command, "--no-ui"], stdout=log, stderr=log)
        try:
            wait_for(address)
            seconds = asyncio.run(work(what, number))
        finally:
            server.kill()
            server.wait()
    sys.stdout.write(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
