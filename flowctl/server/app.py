"""The ASGI application: from a request to an answer, by way of the gate and the table of routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowctl import values
from flowctl.backends import Backend, open_backend, replays
from flowctl.errors import FlowctlError, InternalError, StorageError, UsageError
from flowctl.server import openapi, streams
from flowctl.server.access import Access
from flowctl.server.assets import Assets
from flowctl.server.desk import Desk
from flowctl.server.gate import LOOPBACK, Gate
from flowctl.server.limits import Limits
from flowctl.server.live import Hub
from flowctl.server.problems import (
    BadRequest,
    MethodNotAllowed,
    Overloaded,
    Refused,
    TooLarge,
    TooLate,
    Unauthorized,
    UnsupportedMediaType,
    problem,
    status_of,
)
from flowctl.server.routes import ENDPOINTS
from flowctl.server.table import UNSAFE, Answer, Ask, Endpoint, Router, convert_body, convert_query

log = logging.getLogger("flowctl.server")

STILL_GOOD = 15.0
"""Seconds after which a stream asks again whether its token is still one."""

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';"
    " img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none';"
    " form-action 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer."""

REMOTE = os.path.join(".flowctl", "temporal")
"""Beside what tokens are kept of runs that are not in a file here."""

PICTURE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The policy of a picture, which has its style inside, when somebody opens it by itself."""


def serve_app(
    db: str | Backend,
    *,
    access: Access | None = None,
    hosts: Collection[str] = LOOPBACK,
    plugins: Any = None,
    settings: Any = None,
    allow_deploy: bool = False,
    limits: Limits | None = None,
) -> App:
    """The API and the dashboard as an ASGI application, to be run by itself or mounted in another one.

    ``db`` is what ``--db`` takes, or a backend. ``access`` says who may enter: without it, those with a token
    of the file beside the database, or of ``REMOTE``, which is made if it is not there. ``hosts`` are the
    names that the application is reached by. ``plugins`` must be those of the workers: without the activities
    that a document names, nobody can start a run of it. ``UsageError``, ``StorageError``.
    """
    from flowctl.journal.opening import path_of
    from flowctl.plugins import load

    known = plugins if plugins is not None else load([])
    backend = open_backend(db, plugins=known, settings=settings) if isinstance(db, str) else db
    if access is None:
        access = Access.in_memory()
        if isinstance(db, str) and db != "memory:":
            access = Access.beside(os.path.realpath(REMOTE if replays(db) else path_of(db)))
    return App(
        backend,
        access,
        hosts=hosts,
        vocabulary=known.vocabulary,
        deploys=allow_deploy,
        limits=limits or Limits(),
    )


class App:
    """See ``serve_app``. It begins with the first request, and ends with its server's lifespan or
    ``close``.
    """

    def __init__(
        self,
        backend: Backend,
        access: Access,
        *,
        hosts: Collection[str],
        vocabulary: Mapping[str, Any],
        deploys: bool,
        limits: Limits,
        endpoints: Collection[Endpoint] = ENDPOINTS,
    ) -> None:
        from flowctl import __version__

        self.access = access
        self.vocabulary = vocabulary
        self.deploys = deploys
        self.limits = limits
        self.router = Router(endpoints)
        self.openapi = openapi.document(endpoints, __version__)
        self.desk = Desk(backend, waiting=limits.waiting)
        self.hub = Hub(lambda: self.desk.open(read_only=True))
        self.seats = streams.Seats(limits.streams, limits.streams_per_client)
        self.requests: Counter[tuple[str, str]] = Counter()
        self._gate = Gate(access, hosts, limits)
        self.failures = self._gate.failures
        self._assets = Assets()
        self._backend = backend
        self._begun = False
        self.leaving = asyncio.Event()

    def end_streams(self) -> None:
        """Let all live streams end, because the server stops. On the loop."""
        self.leaving.set()

    def knows_a_workflow(self) -> bool:
        """Whether anything is deployed. Where nothing can be, nothing is missing."""
        try:
            return bool(self._backend.workflows())
        except UsageError:
            return True

    def close(self) -> None:
        """Stop watching and give everything back. Idempotent."""
        self.hub.close()
        self.desk.close()
        with contextlib.suppress(StorageError):
            self._backend.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if not self._begun:
            self._begun = True
            self.hub.start()
        exchange = Exchange(self, scope, receive, send)
        try:
            await exchange.answer(self._gate)
        except Gone:
            log.debug("%s: the client went away, or took nothing for too long", exchange.id)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._begun = True
                self.hub.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def asset(self, path: str, etag: str | None) -> Response:
        """A file of the dashboard, or its page."""
        found = self._assets.find(path)
        headers = {"etag": found.etag, "cache-control": found.cache}
        if etag == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.media, headers=headers)


class Gone(Exception):
    """The client has left, or takes nothing."""


class Exchange:
    """One request and its answer."""

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = os.urandom(8).hex()
        self._app = app
        self._scope = scope
        self._receive = receive
        self._raw_send = send
        self._method = "WS" if scope["type"] == "websocket" else str(scope["method"])
        self._peer = (scope.get("client") or ("", 0))[0]
        self._root = scope.get("root_path", "").rstrip("/")
        self._headers = _headers(scope)

    async def answer(self, gate: Gate) -> None:
        """Whatever it is that was asked, answer it."""
        try:
            await self._answer(gate)
        except FlowctlError as error:
            if status_of(error) >= 500:
                log.warning("%s: %s: %s", self.id, error.code, error)
            await self._refuse(error)
        except Gone:
            raise
        except Exception as error:
            log.exception("%s: %s %s failed", self.id, self._method, self._scope.get("path", ""))
            await self._refuse(InternalError(type(error).__name__))

    async def _answer(self, gate: Gate) -> None:
        path = self._path()
        query = self._scope.get("query_string", b"")
        size = sum(len(name) + len(value) + 4 for name, value in self._scope["headers"])
        gate.check_size(len(path) + len(query), size)
        gate.check_host(self._headers)
        if self._is_asset(path):
            if self._method not in ("GET", "HEAD"):
                raise MethodNotAllowed("this path has no such verb", "GET")
            text = path.decode("latin-1")
            await self._respond(self._app.asset(text, self._headers.get("if-none-match")))
            return
        missing: Refused | None = None
        try:
            endpoint, parts = self._app.router.find(self._method, path)
        except Refused as error:
            endpoint, parts, missing = None, {}, error
        grant = gate.identify(endpoint, self._headers, self._peer)
        if endpoint is None:
            assert missing is not None
            raise missing
        gate.authorize(endpoint, grant, self._headers)
        ask = Ask(
            endpoint, grant, parts, self._headers, convert_query(_pairs(query), endpoint.query),
            await self._body(endpoint), self._app, self._peer, self._scope.get("scheme", "http"), self._root,
        )  # fmt: skip
        if endpoint.method in UNSAFE:
            log.info("%s: %s asks %s %s", self.id, grant.name, endpoint.name, parts)
        if endpoint.streams is not None:
            await self._stream(ask, gate)
        else:
            await self._respond(_response(await self._carry_out(ask)))

    def _path(self) -> bytes:
        """The path as it was sent, without where we are mounted."""
        raw = self._scope.get("raw_path")
        path: bytes = raw if raw is not None else quote(self._scope["path"]).encode()
        root = quote(self._root).encode()
        return path.removeprefix(root) if path.startswith(root + b"/") else (b"/" if path == root else path)

    def _is_asset(self, path: bytes) -> bool:
        if self._method == "WS":
            return False
        try:
            self._app.router.find("GET", path)
        except MethodNotAllowed:
            return False
        except Refused:
            first = path.split(b"/")[1:2]
            return first != [b"api"]
        return False

    async def _carry_out(self, ask: Ask) -> Answer:
        endpoint, desk = ask.endpoint, self._app.desk
        if endpoint.reads is not None:
            reads = endpoint.reads
            try:
                async with asyncio.timeout(self._app.limits.answer):
                    result = await desk.read(lambda backend: reads(backend, ask))
            except TimeoutError:
                raise Overloaded("the database did not answer in time") from None
        elif endpoint.writes is not None:
            writes = endpoint.writes
            result = await asyncio.shield(desk.write(lambda backend: writes(backend, ask)))
        else:
            assert endpoint.answers is not None
            result = await endpoint.answers(ask)
        return result if isinstance(result, Answer) else Answer(result, status=endpoint.accepted)

    # --- what comes in

    async def _body(self, endpoint: Endpoint) -> Any:
        if endpoint.body is None:
            return None
        raw = await self._read()
        if not raw:
            return convert_body({}, endpoint.body)
        if self._headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType("the body is not JSON", hint="send Content-Type: application/json")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise BadRequest("the body is not UTF-8 text") from None
        return convert_body(_decoded(text), endpoint.body)

    async def _read(self) -> bytes:
        limit, found = self._app.limits.body, bytearray()
        length = self._headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > limit:
            raise TooLarge(f"the body is longer than {limit} bytes")
        try:
            async with asyncio.timeout(self._app.limits.patience):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    found += message.get("body", b"")
                    if len(found) > limit:
                        raise TooLarge(f"the body is longer than {limit} bytes")
                    if not message.get("more_body", False):
                        return bytes(found)
        except TimeoutError:
            raise TooLate("the body did not come in time") from None

    # --- what goes out

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._app.limits.stall):  # wait_for can swallow a cancellation
                await self._raw_send(message)
        except OSError:  # it has left, or took nothing for too long
            raise Gone from None

    async def _respond(self, response: Response) -> None:
        self._app.requests[_known(self._method), str(response.status_code)] += 1
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        response.headers["x-request-id"] = self.id
        response.headers.setdefault("cache-control", "no-store")
        if self._method == "WS":
            await self._respond_to_upgrade(response)
            return
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
        await self._send(start)
        body = b"" if self._method == "HEAD" else bytes(response.body)
        await self._send({"type": "http.response.body", "body": body})

    async def _respond_to_upgrade(self, response: Response) -> None:
        if "websocket.http.response" not in self._scope.get("extensions", {}):
            await self._send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http.response"
        start = {"type": f"{kind}.start", "status": response.status_code, "headers": response.raw_headers}
        await self._send(start)
        await self._send({"type": f"{kind}.body", "body": bytes(response.body)})

    async def _refuse(self, error: FlowctlError) -> None:
        content = msgspec.json.encode(problem(error, self.id))
        response = Response(content, status_of(error), media_type="application/problem+json")
        match error:
            case MethodNotAllowed():
                response.headers["allow"] = error.allowed.replace("WS", "GET")
            case Refused() if error.wait is not None:
                response.headers["retry-after"] = str(max(1, round(error.wait)))
            case Unauthorized():
                response.headers["www-authenticate"] = "Bearer"
        await self._respond(response)

    # --- streams

    async def _stream(self, ask: Ask, gate: Gate) -> None:
        assert ask.endpoint.streams is not None
        with self._app.seats.seat(f"{ask.grant.name}@{self._peer}"):
            batches = ask.endpoint.streams(ask)
            first = await anext(batches)  # what can be refused is refused before anything was sent
            begin, write = (
                (self._accept, self._send_message) if self._method == "WS" else (self._open, self._send_text)
            )
            await begin()
            sending = asyncio.create_task(self._pour(ask, gate, first, batches, write))
            leaving = asyncio.create_task(self._until_gone())
            stopping = asyncio.create_task(self._app.leaving.wait())
            tasks = (sending, leaving, stopping)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    self._tell_why(sending.exception())
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await batches.aclose()
            if not leaving.done() or leaving.cancelled():
                await self._end()

    def _tell_why(self, error: BaseException | None) -> None:
        """A stream is over. Its beginning was sent already, so what went wrong is for the log."""
        if isinstance(error, Gone):
            raise error
        if error is not None:
            log.warning("%s: the stream ends: %s", self.id, error)

    async def _pour(
        self,
        ask: Ask,
        gate: Gate,
        first: Any,
        batches: streams.Batches,
        write: Callable[[Any], Awaitable[None]],
    ) -> None:
        await write(first)
        checked = time.monotonic()
        async for events in batches:
            if time.monotonic() - checked > STILL_GOOD:
                checked = time.monotonic()
                if not gate.is_still_good(ask.grant, time.time()):
                    break
            await write(events)

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass

    async def _open(self) -> None:
        self._app.requests[_known(self._method), "200"] += 1
        headers = {
            **SECURITY,
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-request-id": self.id,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _accept(self) -> None:
        self._app.requests["WS", "101"] += 1
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})

    async def _send_text(self, events: Any) -> None:
        body = streams.as_text(events)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_message(self, events: Any) -> None:
        await self._send({"type": "websocket.send", "text": streams.as_message(events)})

    async def _end(self) -> None:
        if self._method == "WS":
            await self._send({"type": "websocket.close", "code": 1008})
        else:
            await self._send({"type": "http.response.body", "body": b""})


def _headers(scope: Scope) -> dict[str, str]:
    """By name; of one that came twice, whatever the intermediaries make of it, none can be chosen."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise BadRequest("the query is not UTF-8 text, or has more than 100 parts") from None


def _decoded(text: str) -> Any:
    return values.decode(text, "the body")


def _response(answer: Answer) -> Response:
    content = answer.content
    if answer.media == "application/json":
        content = msgspec.json.encode(content)
    response = Response(content, answer.status, media_type=answer.media, headers=answer.headers)
    if answer.media == "image/svg+xml":
        response.headers["content-security-policy"] = PICTURE
    return response


def _known(method: str) -> str:
    """A label of few values, whatever somebody sends."""
    return method if method in ("GET", "HEAD", "POST", "DELETE", "WS") else "other"
