"""What the tests of the scenarios share: servers that kill whoever asks them, between effect and answer.

The servers are those of ``examples/services``, in a thread of the test, which knows whom to kill.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.services.mailbox import Mailbox
from examples.services.serving import HOST, Handler
from examples.services.stage import ROOT, Stage, environment

on_temporal_too = pytest.mark.parametrize("database", ["sqlite", "temporal"], indirect=True)
"""See ``examples/conftest.py``."""


def own_id(here: Stage) -> str:
    """The id of a run, which no other test has: on Temporal, all are on one server."""
    return here.folder.parent.name


class Killer:
    """Kills one process, once."""

    def __init__(self) -> None:
        self.victims: SimpleQueue[int] = SimpleQueue()

    def strike(self) -> bool:
        """SIGKILL to the victim, if there is one."""
        try:
            victim = self.victims.get_nowait()
        except Empty:
            return False
        os.kill(victim, signal.SIGKILL)
        return True

    def kills(self, here: Stage, *arguments: str) -> None:
        """Call flowctl, and have it killed; fails if it lives to its end."""
        process = subprocess.Popen(
            here.command(*arguments),
            cwd=here.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.victims.put(process.pid)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, said


@contextmanager
def deadly_http(handler: type[Handler], killer: Killer, asked: str) -> Iterator[str]:
    """The URL of a server that strikes instead of answering what begins like ``asked``: ``PUT /reports``."""

    class Deadly(handler):  # type: ignore[valid-type, misc]
        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            if f"{self.command} {self.path}".startswith(asked) and killer.strike():
                self.close_connection = True
                return
            super().answer(status, content, **headers)

    server = ThreadingHTTPServer((HOST, 0), Deadly)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def deadly_mailbox(here: Stage, killer: Killer) -> Iterator[Path]:
    """The folder of a mail server that keeps a message and strikes instead of saying so."""
    folder = here.folder / "mailbox"
    folder.mkdir()

    class Deadly(Mailbox):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            answer = await super().handle_DATA(server, session, envelope)
            killer.strike()
            return answer

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await loop.create_server(lambda: SMTP(Deadly(folder)), HOST, 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    port = server.sockets[0].getsockname()[1]
    settings = here.folder / "flowctl.toml"
    settings.write_text(re.sub(r"port = \d+", f"port = {port}", settings.read_text()))
    try:
        yield folder
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
    mine = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not mine:
            task.cancel()


MORTAL = """
import os, signal
from sqlalchemy import event
from sqlalchemy.pool import Pool

@event.listens_for(Pool, "checkin")
def die(connection, record):
    if os.path.exists("mortal") and connection.execute({query!r}).fetchone():
        os.unlink("mortal")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def dies_after(here: Stage, query: str, *arguments: str) -> None:
    """Call flowctl, which kills itself as soon as ``query`` finds what a transaction has just committed."""
    plugins = here.folder / "mortals"
    plugins.mkdir()
    (plugins / "mortal.py").write_text(MORTAL.format(query=query))
    (here.folder / "mortal").touch()
    own = here.folder / "plugins"
    folders = [str(each) for each in (own, plugins) if each.is_dir()]
    options = [word for folder in folders for word in ("--plugins-dir", folder)]
    here.flowctl(*arguments, *options, exits=-signal.SIGKILL)


def played(script: Path, folder: Path) -> str:
    """What a play shows, played to its end in that folder."""
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
