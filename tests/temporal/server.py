"""A development server of Temporal for tests: found, started on a free port, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from flowctl.runtimes.temporal.server import VARIABLE, program, words

DOWNLOADS_WITHIN = 60
"""Seconds."""

STARTS_WITHIN = 60

EAGER = ["--dynamic-config-value", "system.enableActivityEagerExecution=true"]
"""A worker may begin what it has just asked for itself. That saves a trip, of which tests make very many."""

HOW_TO = f"name its program in {VARIABLE} (docs/temporal.md says how to get it)"


class NoServer(Exception):
    """There is no program that could be started."""


def find(folder: Path) -> str:
    """The program; if it is nowhere, it is fetched into ``folder``, as ``temporalio`` does. ``NoServer``."""
    found = program()
    if found is not None:
        return found
    if os.environ.get(VARIABLE):
        raise NoServer(f"{VARIABLE} names {os.environ[VARIABLE]}, which cannot be executed")
    try:
        folder.mkdir(exist_ok=True)
        asyncio.run(asyncio.wait_for(_fetch(folder), DOWNLOADS_WITHIN))
    except (RuntimeError, TimeoutError):
        raise NoServer(f"no Temporal server here, and none could be fetched; {HOW_TO}") from None
    return str(next(folder.iterdir()))


async def _fetch(folder: Path) -> None:
    environment = await WorkflowEnvironment.start_local(
        download_dest_dir=str(folder), dev_server_startup_timeout=timedelta(seconds=DOWNLOADS_WITHIN)
    )
    await environment.shutdown()


def free_port() -> int:
    """One that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server. With a ``database`` it can be killed and started again, and knows what it knew."""

    def __init__(
        self,
        path: str,
        folder: Path,
        *,
        namespaces: Sequence[str] = (),
        kept: bool = False,
        eager: bool = True,
    ) -> None:
        self.port = free_port()
        database = str(folder / "temporal.db") if kept else None
        started = words(path, port=self.port, database=database, namespaces=namespaces)
        self._words = [*started, *EAGER] if eager else started
        self._path = path
        self._log = folder / "server.log"
        self._namespaces = ("default", *namespaces)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def url(self, namespace: str = "default", task_queue: str = "flowctl") -> str:
        """For ``--db``."""
        return f"temporal://{self.target}/{namespace}?task_queue={task_queue}"

    def start(self) -> None:
        """Return once it answers. ``NoServer``."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        until = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop(signal.SIGKILL)
                raise NoServer(f"Temporal's server does not start: {self._log.read_text()[-800:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Asked in another process: whoever forks must not have used Temporal's library before."""
        asked = [self._path, "workflow", "list", "--limit", "1", "--address", self.target, "--namespace"]
        return all(
            subprocess.run([*asked, namespace], capture_output=True, check=False).returncode == 0
            for namespace in self._namespaces
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Have it end, in one way or the other."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()


@contextlib.contextmanager
def serving(folder: Path, *, namespaces: Sequence[str] = (), kept: bool = False) -> Iterator[Server]:
    """A server that is gone afterwards. ``NoServer``."""
    server = Server(find(folder / "downloads"), folder, namespaces=namespaces, kept=kept)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
