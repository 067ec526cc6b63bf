"""The server: uvicorn around the application, and workers beside it.

It listens on the loopback unless somebody insists, says what to do next, and leaves when it is told to. The
workers are processes of their own in the same group: what a workflow's activities do to a process, they do
not do to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from flowctl.errors import UsageError
from flowctl.server.app import App

PORT = 8710

STOPS = (signal.SIGTERM, signal.SIGINT)

BACKLOG = 1_024
"""Connections that may wait to be accepted."""

SPARE = 200
"""Open files that are no connections."""

GRACE = 3
"""Seconds that answers under way have when the server stops."""


class Patient(H11Protocol):
    """HTTP/1.1, patient for so long: a request's head must have come in time, however slowly it is sent."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._forget_head()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: object) -> None:
        """The connection is another protocol's from now on."""
        self._forget_head()
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """What is sent ahead may be the beginning of the next head."""
        self._forget_head()
        super().on_response_complete()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.config.app.limits.patience, self._too_late)  # type: ignore[union-attr]

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_late(self) -> None:
        self._head = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket whose connection ends when what was to open it is no handshake: otherwise nobody would."""

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.close()


class Server(uvicorn.Server):
    """Tells when it listens, and ends live streams, which have no end of their own, when it stops."""

    def __init__(self, app: App, config: uvicorn.Config, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._serves = app
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Being told to stop is no reason to die of it: there are workers to be stopped."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._serves.end_streams()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started and sockets:
            self._listening(sockets[0].getsockname()[1])


def run(app: App, host: str, port: int, listening: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; ``listening`` is told the port. ``UsageError`` if it is taken."""
    _make_room(app.limits.connections + SPARE)
    with listen(host, port) as listener, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server(app, listening).serve(sockets=[listener]))


def _make_room(files: int) -> None:
    """Let this process have so many files open, as far as it may say so itself: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. ``UsageError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}", hint="choose another with --port"
        ) from error
    # For asyncio this is no TCP socket, because it does not say so, and small answers would wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def server(app: App, listening: Callable[[int], None]) -> Server:
    """A server for sockets that are open, within the application's limits."""
    config = uvicorn.Config(
        app,
        http=Patient,
        ws=Socket,
        ws_max_size=4_096,
        ws_per_message_deflate=False,
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="critical",  # it would tell of every malformed request; what fails in here, we tell
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        h11_max_incomplete_event_size=app.limits.headers + app.limits.url,
        limit_concurrency=app.limits.connections,
        timeout_keep_alive=app.limits.keep_alive,
        timeout_graceful_shutdown=GRACE,
    )
    return Server(app, config, listening)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def workers(count: int, arguments: Sequence[str], told: Callable[[str], None]) -> Iterator[None]:
    """So many workers, with these options of ``flowctl worker``; one that dies is replaced. They are stopped,
    and waited for, at the end.
    """
    signal.signal(signal.SIGTERM, _leave)  # until the server has its own: no worker stays behind
    command = [sys.executable, "-m", "flowctl", "worker", *arguments]
    stopped = threading.Event()
    crew = [threading.Thread(target=_employ, args=(command, stopped, told)) for _ in range(count)]
    for each in crew:
        each.start()
    try:
        yield
    finally:
        stopped.set()
        for each in crew:
            each.join()


def _leave(number: int, frame: object) -> None:
    sys.exit(0)


def _employ(command: Sequence[str], stopped: threading.Event, told: Callable[[str], None]) -> None:
    wait = 1.0
    while not stopped.is_set():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
        while process.poll() is None:
            if stopped.wait(0.1):
                process.terminate()
                process.wait()
                return
        told(f"a worker ended with exit code {process.returncode}; another one begins in {wait:g} s")
        stopped.wait(wait)
        wait = min(2 * wait, 60.0)
