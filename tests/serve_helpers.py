"""A server on a port of its own, in this process, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from flowctl.backends import Backend, StartRequest, open_backend
from flowctl.document import load
from flowctl.plugins import Plugins
from flowctl.plugins import load as load_plugins
from flowctl.server.access import Access, Scope, Token
from flowctl.server.app import App, serve_app
from flowctl.server.limits import Limits
from flowctl.server.running import listen, server

ORDER = """
dsl: 1
name: order
version: {version}
input: {{type: object, properties: {{n: {{type: integer, default: 1}}}}}}
signals:
  approve:
    payload: {{type: object, properties: {{by: {{type: string}}}}, required: [by]}}
steps:
  - id: a
    activity: core.echo
    with: {{value: "${{{{ input.n }}}}"}}
  - attributes: {{search: {{customer: c-1}}}}
  - id: w
    wait_for_signal: approve
    timeout: 1h
"""

TOKENS = {
    name: Token(name, Scope[name.upper()], f"{name}-token-".ljust(43, "x"))
    for name in ("read", "operate", "deploy", "admin")
}


class Served:
    """An application, where it listens, and what its runs are in."""

    def __init__(self, app: App, port: int, backend: Backend, stop: Callable[[], None]) -> None:
        self.app = app
        self.stop = stop
        self.port = port
        self.backend = backend
        self.url = f"http://localhost:{port}"

    def client(self, token: str | None = "admin", **headers: str) -> httpx.Client:
        """A client with the token of that scope."""
        if token is not None:
            headers["authorization"] = f"Bearer {TOKENS[token].text}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, verify=False)

    def on_loop(self, act: Callable[[], None]) -> None:
        """Do something where the server lives."""
        assert self.app.hub._loop is not None
        self.app.hub._loop.call_soon_threadsafe(act)

    def ask(self, method: str, path: str, token: str | None = "admin", **options: Any) -> httpx.Response:
        """One request, with its answer read."""
        with self.client(token) as client:
            return client.request(method, path, **options)

    def start(self, *, version: int = 1, id: str | None = None, drive: bool = True, **input: Any) -> str:
        """A run of ``order``, driven until it waits."""
        source = ORDER.format(version=version)
        workflow = load(source, "order.yaml").workflow
        run_id, _ = self.backend.start(StartRequest(workflow, source, input, id=id))
        if drive:
            self.backend.drive(run_id, wait=0)
        return run_id


def access() -> Access:
    """Four tokens, one for each scope."""
    return Access(TOKENS.values())


def plugins() -> Plugins:
    return load_plugins([])


@contextlib.contextmanager
def serving(
    folder: Path, *, allow_deploy: bool = True, limits: Limits | None = None, port: int = 0
) -> Iterator[Served]:
    """A server on a database in this folder."""
    path = str(folder / "flowctl.db")
    known = plugins()
    limits = limits or Limits(rate=1e6, burst=1_000_000, failures=1_000_000)
    app = serve_app(path, access=access(), plugins=known, allow_deploy=allow_deploy, limits=limits)
    listener = listen("127.0.0.1", port)
    listening = threading.Event()
    running = server(app, lambda port: listening.set())

    def stop() -> None:
        running.should_exit = True

    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])))
    thread.start()
    backend = open_backend(path, plugins=known)
    try:
        assert listening.wait(20)
        served = Served(app, listener.getsockname()[1], backend, stop)
        while served.ask("GET", "/readyz", token=None).status_code != 200:
            pass
        yield served
    finally:
        stop()
        thread.join()
        app.close()
        listener.close()
        backend.close()


class Stream:
    """Server-sent events, one after the other."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, str, Any]:
        """The next event: its id, name and data."""
        event: dict[str, str] = {}
        for line in self._lines:
            if not line and event:
                return event["id"], event["event"], json.loads(event["data"])
            name, _, value = line.partition(": ")
            if name:
                event[name] = value
        raise EOFError

    def until(self, name: str, **wanted: Any) -> Any:
        """The data of the next event of that name that has these values."""
        while True:
            _, found, data = self.next()
            if found == name and all(data[key] == value for key, value in wanted.items()):
                return data


@contextlib.contextmanager
def stream(client: httpx.Client, path: str, **headers: str) -> Iterator[Stream]:
    """A live stream."""
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield Stream(response)
