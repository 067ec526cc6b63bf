"""``flowctl serve`` under many eyes: subscribers of the list and of single runs, and pages of large runs.

Run it by hand, ``python -m benchmarks.serving [--subscribers 1000] [--runs 10000] [--steps 10000]``: a server
in a process of its own, everything over real sockets. It prints how long a change takes from the moment it is
durable until every subscriber has it, what that costs the server in memory, and how long pages take.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowctl.backends import Backend, StartRequest, open_backend
from flowctl.document import load
from flowctl.plugins import load as load_plugins

WAITS = """
dsl: 1
name: waits
version: 1
signals: {go: {}}
steps:
  - wait_for_signal: go
    timeout: 24h
"""
LONG = """
dsl: 1
name: long
version: 1
input: {type: object, properties: {count: {type: integer}}, required: [count]}
steps:
  - id: all
    foreach: ${{ range(input.count) }}
    steps:
      - id: one
        activity: core.echo
        with: {value: "${{ item }}"}
"""
TOKEN = "benchmark-token-".ljust(43, "x")
HEAD = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
ALL_RUNS = f"GET /api/v1/events {HEAD}\r\n".encode()
SOCKET = (
    f"GET /api/v1/socket {HEAD}Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()

SERVER = """
import sys
from flowctl.plugins import load
from flowctl.server.access import Access, Scope, Token
from flowctl.server.app import serve_app
from flowctl.server.limits import Limits
from flowctl.server.running import run
many = int(sys.argv[2]) + 100
limits = Limits(streams=many, streams_per_client=many, connections=many + 100, rate=1e6, burst=1_000_000)
access = Access([Token("bench", Scope.ADMIN, sys.argv[3])])
app = serve_app(sys.argv[1], access=access, plugins=load([]), limits=limits)
run(app, "127.0.0.1", 0, lambda port: print(port, flush=True))
app.close()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=50, help="one after the other")
    parser.add_argument("--burst", type=int, default=500, help="as fast as they can be written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "flowctl.db")
        with contextlib.closing(open_backend(path, plugins=load_plugins([]))) as backend:
            runs = [start(backend, WAITS, {}) for _ in range(options.runs)]
            long = start(backend, LONG, {"count": options.steps})
            backend.drive(long, wait=0)
            with served(path, options.subscribers) as (port, _):
                pages(port, long)
            for over, kind in SUBSCRIBERS.items():
                print(f"over {over}:")
                with served(path, options.subscribers) as (port, pid):
                    get(port, "/server")  # the first question opens the database
                    asyncio.run(measure(backend, port, pid, runs, options, kind))


def start(backend: Backend, source: str, given: dict[str, Any]) -> str:
    workflow = backend.known_document(source) or load(source, "benchmark").workflow
    return backend.start(StartRequest(workflow, source, given))[0]


@contextlib.contextmanager
def served(path: str, subscribers: int) -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-c", SERVER, path, str(subscribers), TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def get(port: int, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://localhost:{port}/api/v1{path}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        body: bytes = answer.read()
        return body


def pages(port: int, long: str) -> None:
    """What a dashboard asks for when it opens a page."""
    get(port, "/server")  # the first question opens the database
    for name, path in {
        "50 runs of the list": "/runs?limit=50&counts=false",
        "500 runs of the list": "/runs?limit=500&counts=false",
        "counts by status": "/server",
        "the long run, its last 200 steps": f"/runs/{long}",
        "the long run, 1,000 steps from its middle": f"/runs/{long}?first=5000&count=1000",
        "the long run's graph": f"/runs/{long}/graph",
        "the long run's last 500 lines of history": f"/runs/{long}/history?before=1000000000&limit=500",
    }.items():
        times, size = [], 0
        for _ in range(3):
            begun = time.perf_counter()
            size = len(get(port, path))
            times.append(time.perf_counter() - begun)
        print(f"{name}: {min(times) * 1000:.0f} ms, {size / 1000:.0f} kB")


class Subscriber:
    """One live stream of all runs; remembers when it learnt of which state of which run."""

    request = ALL_RUNS

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], float] = {}
        self.bytes = 0

    async def listen(self, port: int, ready: asyncio.Semaphore) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(self.request)
        try:
            await self.read(reader, ready)
        finally:
            writer.close()

    async def read(self, reader: asyncio.StreamReader, ready: asyncio.Semaphore) -> None:
        while line := await reader.readline():
            self.bytes += len(line)
            if line.startswith(b"event: ready"):
                ready.release()
            elif line.startswith(b'data: {"id"'):
                self.note(line[6:])

    def note(self, document: bytes) -> None:
        """How a run stands: no more is looked at than is needed, for a thousand do it at once."""
        now = time.monotonic()
        head, _, rest = document[7:].partition(b'"')
        status = rest.partition(b'"status":"')[2].partition(b'"')[0]
        self.seen.setdefault((head.decode(), status.decode()), now)


class SocketSubscriber(Subscriber):
    """The same over a WebSocket: frames of a server are a length, and a text."""

    request = SOCKET

    async def read(self, reader: asyncio.StreamReader, ready: asyncio.Semaphore) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        ready.release()
        while True:
            kind, length = await reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            message = await reader.readexactly(length)
            self.bytes += length
            if kind & 15 == 1:
                for part in message.split(b'"event":"run","data":')[1:]:
                    self.note(part)


SUBSCRIBERS = {"server-sent events": Subscriber, "WebSockets": SocketSubscriber}


async def measure(
    backend: Backend,
    port: int,
    pid: int,
    runs: list[str],
    options: argparse.Namespace,
    kind: type[Subscriber],
) -> None:
    count, changes = options.subscribers, options.changes
    before = memory(pid)
    ready = asyncio.Semaphore(0)
    subscribers = [kind() for _ in range(count)]
    tasks = [asyncio.create_task(each.listen(port, ready)) for each in subscribers]
    for _ in subscribers:
        await asyncio.wait_for(ready.acquire(), 60)
    print(f"{count} subscribers: {memory(pid) - before:.0f} MB more than the {before:.0f} MB without")

    delays = []
    for run_id in runs[:changes]:
        await asyncio.to_thread(backend.pause, run_id)
        durable = time.monotonic()
        while not all((run_id, "paused") in each.seen for each in subscribers):
            await asyncio.sleep(0.005)
            if time.monotonic() - durable > 30:
                raise SystemExit("a change did not come to everybody within 30 s")
        delays.append(max(each.seen[run_id, "paused"] for each in subscribers) - durable)
    print(
        f"a change, until the last of them has it: median {statistics.median(delays) * 1000:.0f} ms,"
        f" of nine in ten at most {statistics.quantiles(delays, n=10)[-1] * 1000:.0f} ms,"
        f" worst {max(delays) * 1000:.0f} ms of {changes}"
    )

    begun, wanted = time.monotonic(), runs[changes : changes + options.burst]
    for run_id in wanted:
        await asyncio.to_thread(backend.pause, run_id)
    written = time.monotonic()
    peak = memory(pid)
    while not all((wanted[-1], "paused") in each.seen for each in subscribers):
        peak = max(peak, memory(pid))
        await asyncio.sleep(0.02)
    last = max(each.seen[wanted[-1], "paused"] for each in subscribers)
    print(
        f"{len(wanted)} changes in {written - begun:.1f} s: everybody has the last {last - written:.1f} s"
        f" later; {sum(each.bytes for each in subscribers) / 1e6:.0f} MB sent, the server took {peak:.0f} MB"
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    slow = await stuck(port, 20, kind.request)
    for run_id in runs[: changes + options.burst]:
        await asyncio.to_thread(backend.unpause, run_id)
    print(f"20 subscribers that read nothing, after {len(wanted)} more changes: {memory(pid):.0f} MB")
    for writer in slow:
        writer.close()


async def stuck(port: int, count: int, request: bytes) -> list[asyncio.StreamWriter]:
    """Streams that nobody reads."""
    found = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(request)
        await writer.drain()
        found.append(writer)
    return found


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
