"""HTTP requests as activities of flowctl, over httpx.

Rules:

1. A connection is made to public addresses only, and to what ``[plugins.http] allow`` in ``flowctl.toml``
   names. That is judged where the connection is made, by the very address it is made to: a name that resolves
   to something else the second time gains nothing, and every redirect passes here too.
2. Redirects are followed for GET and HEAD only, and to another origin without the caller's headers. For other
   methods a redirect is an answer.
3. A status from 400 on is an error, its type named for it: ``Http404`` is an ``HttpClientError`` is an
   ``HttpError``. What the same request cannot cure is not tried again.
4. What changes something carries the step's idempotency key, the same for every attempt.
5. A file goes out from within the roots of flowctl-files only, in pieces, and its length is told first. Its
   content is never an argument or a result.
6. Nothing comes from the environment: no proxies, no ``.netrc``, no cookies from one request to the next. An
   answer is read up to a limit, and no longer than the attempt may take.

httpx is imported when the first request is made: every command loads its plugins, and few make requests.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowctl import ActivityContext, activity, hookimpl, resource

if TYPE_CHECKING:
    import httpcore
    import httpx

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FOLLOWED = frozenset({"GET", "HEAD"})
AGENT = {"User-Agent": "flowctl-http", "Accept": "*/*", "Accept-Encoding": "identity"}

OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
"""Headers that say where a message ends and whom it is for: never the caller's to choose."""

NOT_SHOWN = frozenset({"set-cookie", "connection", "keep-alive", "transfer-encoding"})
PIECE = 1 << 18
"""Bytes of a file that are read at a time."""

EXCERPT = 2_000
"""Characters of an answer that an error shows."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.http]``. ``allow`` are networks, addresses and names of hosts that may be reached besides
    public addresses; ``max_bytes`` bounds an answer; ``redirects`` are followed at most."""

    allow: tuple[str, ...] = ()
    max_bytes: int = 1_000_000
    redirects: int = 3
    connect_timeout: float = 10.0


class HttpError(Exception):
    """The answer has a status from 400 on, or is not what was asked for."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details


class HttpClientError(HttpError):
    """4xx: the same request would be refused again."""


class HttpTryLater(HttpError):
    """408, 425, 429: the request may be repeated; ``details.retry_after`` is what the server said."""


class HttpServerError(HttpError):
    """5xx."""


class HttpStatusError(HttpError):
    """A status below 400 that is not among the expected ones."""


class TooManyRedirects(HttpError):
    """Over ``[plugins.http] redirects``."""


class ResponseTooLarge(HttpError):
    """Over ``[plugins.http] max_bytes``."""


class NotJson(HttpError):
    """The answer is not JSON."""


class AddressNotAllowed(Exception):
    """The host has no public address, and ``[plugins.http] allow`` does not name it."""


class InvalidRequest(Exception):
    """A URL, a header or a body that makes no sense."""


HOPELESS = (
    HttpClientError,
    HttpStatusError,
    TooManyRedirects,
    ResponseTooLarge,
    NotJson,
    AddressNotAllowed,
    InvalidRequest,
    "FilesError",
    "FileNotFoundError",
    "InvalidInput",
)
"""What the same request would meet again."""

_settings = Settings()


@hookimpl
def flowctl_configure(settings: Mapping[str, Any]) -> None:
    """Take ``[plugins.http]``."""
    global _settings
    found = msgspec.convert(settings, Settings)
    Guard(found.allow)
    _settings = found


class Guard:
    """Which addresses a connection may be made to. ``ValueError`` for an entry that is neither a network nor
    a host's name."""

    def __init__(self, allow: Iterable[str]) -> None:
        self.networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self.names: set[str] = set()
        for entry in allow:
            try:
                self.networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if not entry or not all(c.isalnum() or c in "-._" for c in entry):
                    raise ValueError(
                        f"allow: {entry!r} is neither a network nor the name of a host"
                    ) from None
                self.names.add(entry.lower().rstrip("."))

    def permits(self, host: str, address: str) -> bool:
        """Whether ``address``, which ``host`` resolved to, may be connected to."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        named = host.lower().rstrip(".") in self.names
        return named or any(ip in network for network in self.networks) or is_public(ip)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to. ``AddressNotAllowed``, ``OSError``."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [address for address in addresses if self.permits(host, address)]
        if not permitted:
            which = f" is {', '.join(addresses)}, which" if addresses != [host] else ""
            raise AddressNotAllowed(
                f"{host}{which} is no public address; to allow it, name it in flowctl.toml:"
                f' [plugins.http] allow = ["{host}"]'
            )
        return permitted


_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is reached over the internet only; what holds an IPv4 address is judged by that."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _transport(settings: Settings) -> httpx.AsyncHTTPTransport:
    """A transport that connects through the guard."""
    import httpcore
    import httpx

    guard, inner = Guard(settings.allow), httpcore.AnyIOBackend()

    class Backend(httpcore.AsyncNetworkBackend):
        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.AsyncNetworkStream:
            error: Exception | None = None
            try:
                for address in await guard.addresses(host, port):
                    try:
                        return await inner.connect_tcp(address, port, timeout, local_address, socket_options)
                    except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                        error = failed
            except (OSError, UnicodeError) as failed:
                raise httpcore.ConnectError(f"{host}: {failed}") from failed
            assert error is not None
            raise error

        async def sleep(self, seconds: float) -> None:
            await inner.sleep(seconds)

    transport = httpx.AsyncHTTPTransport(trust_env=False)
    # httpx has no argument for it. Were this to miss, requests would go out unguarded: the tests look.
    assert isinstance(transport._pool, httpcore.AsyncConnectionPool)
    transport._pool._network_backend = Backend()
    return transport


@resource
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """One client, whose connections all requests share."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx

    for name in ("httpx", "httpcore"):  # they log whole URLs and headers, which may hold secrets
        logging.getLogger(name).setLevel(logging.WARNING)
    async with httpx.AsyncClient(
        transport=_transport(_settings),
        headers=AGENT,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(None, connect=_settings.connect_timeout),
        trust_env=False,
    ) as opened:
        yield opened


@activity("http.request", timeout="30s", non_retryable=HOPELESS)
async def request(
    client: httpx.AsyncClient,
    ctx: ActivityContext,
    url: str,
    method: Method = "GET",
    headers: dict[str, str] | None = None,
    query: dict[str, str | int | float | bool] | None = None,
    json: Any = None,
    form: dict[str, str] | None = None,
    text: str | None = None,
    expect: list[int] | None = None,
) -> dict[str, Any]:
    """Make a request; returns ``{status, headers, encoding, body}``.

    ``body`` is data if the answer is JSON (``encoding`` says ``json``), else text, or base64 for what is no
    text. ``json``, ``form`` and ``text`` are ways to send a body; give one at most. ``expect`` lists the
    statuses that are results, in place of all below 400.
    """
    response, content = await _exchange(
        client, _request(client, ctx, url, method, headers, query, json, form, text)
    )
    _judge(response, content, expect)
    return _answer(response, content)


@activity("http.json", timeout="30s", non_retryable=HOPELESS)
async def request_json(
    client: httpx.AsyncClient,
    ctx: ActivityContext,
    url: str,
    method: Method = "GET",
    headers: dict[str, str] | None = None,
    query: dict[str, str | int | float | bool] | None = None,
    json: Any = None,
) -> Any:
    """Make a request that is answered with JSON; returns the data alone, null for an empty answer."""
    asked = {"Accept": "application/json", **(headers or {})}
    response, content = await _exchange(client, _request(client, ctx, url, method, asked, query, json))
    _judge(response, content, None)
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(
            f"{_place(response)}: the answer is not JSON: {error}", _details(response, content)
        ) from None


@activity("http.upload", timeout="5m", non_retryable=HOPELESS)
async def upload(
    client: httpx.AsyncClient,
    ctx: ActivityContext,
    url: str,
    root: str,
    path: str,
    method: Literal["PUT", "POST"] = "PUT",
    headers: dict[str, str] | None = None,
    expect: list[int] | None = None,
) -> dict[str, Any]:
    """Send a file; returns ``{status, headers, encoding, body, size, sha256}``, the last two of what was
    sent.

    ``root`` is one of ``[plugins.files.roots]``, ``path`` a file below it.
    """
    try:
        from flowctl_files import opened
    except ImportError:
        raise InvalidRequest("to send files, install flowctl-files") from None
    with opened(root, path) as file:
        size, digest = os.fstat(file).st_size, hashlib.sha256()

        async def pieces() -> AsyncIterator[bytes]:
            while piece := await asyncio.to_thread(os.read, file, PIECE):
                digest.update(piece)
                yield piece

        built = _request(client, ctx, url, method, headers, None, None)
        built.headers["Content-Length"] = str(
            size
        )  # a file that grows meanwhile is an error, as it should be
        built.stream = client.build_request(method, url, content=pieces()).stream
        response, content = await _exchange(client, built)
    _judge(response, content, expect)
    return _answer(response, content) | {"size": size, "sha256": digest.hexdigest()}


def _request(
    client: httpx.AsyncClient,
    ctx: ActivityContext,
    url: str,
    method: Method,
    headers: Mapping[str, str] | None,
    query: Mapping[str, Any] | None,
    json: Any,
    form: Mapping[str, str] | None = None,
    text: str | AsyncIterator[bytes] | None = None,
) -> httpx.Request:
    import httpx

    if sum(given is not None for given in (json, form, text)) > 1:
        raise InvalidRequest("json, form and text exclude each other")
    try:
        place = httpx.URL(url)
        if query:  # added to what the URL has: the client's own params would replace that
            place = place.copy_merge_params(query)
        built = client.build_request(method, place, headers=_own(headers), json=json, data=form, content=text)
    except (httpx.InvalidURL, UnicodeError, TypeError) as error:
        raise InvalidRequest(f"{error}") from None
    _check(built.url)
    if method not in SAFE:
        built.headers.setdefault("Idempotency-Key", ctx.idempotency_key)
    return built


def _own(headers: Mapping[str, str] | None) -> dict[str, str]:
    for name, value in (headers or {}).items():
        lowered = name.lower()
        if lowered in OURS or lowered.startswith("proxy-"):
            raise InvalidRequest(f"the header {name} is not the caller's to choose")
        if not name or not all((c.isalnum() and c.isascii()) or c in "-_." for c in name):
            raise InvalidRequest(f"{name!r} is not the name of a header")
        if any(c in "\r\n\0" for c in value):
            raise InvalidRequest(f"the header {name} has a line break in it")
    return dict(headers or {})


def _check(url: httpx.URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidRequest(
            f"{url.copy_with(userinfo=b'', query=None)} is no URL that begins with http:// or https://"
        )
    if url.userinfo:
        raise InvalidRequest("a URL is no place for a password; use a header, and a secret")


async def _exchange(client: httpx.AsyncClient, request: httpx.Request) -> tuple[httpx.Response, bytes]:
    """Send a request; the last answer, redirects followed, and its content."""
    left = _settings.redirects
    while True:
        response = await client.send(request, stream=True)
        try:
            follow = response.next_request if request.method in FOLLOWED else None
            if follow is None:
                return response, await _content(response)
        finally:
            await response.aclose()
        _check(follow.url)
        if _origin(follow.url) != _origin(request.url):
            follow = client.build_request(follow.method, follow.url)
        if left == 0:
            raise TooManyRedirects(f"{_place(response)}: more than {_settings.redirects} redirects")
        request, left = follow, left - 1


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _settings.max_bytes:
            raise ResponseTooLarge(
                f"{_place(response)}: the answer is over {_settings.max_bytes:,} bytes", _details(response)
            )
    return bytes(content)


def _judge(response: httpx.Response, content: bytes, expect: list[int] | None) -> None:
    status = response.status_code
    if status in expect if expect is not None else status < 400:
        return
    raise _status_error(status)(
        f"{_place(response)}: {status} {response.reason_phrase}".rstrip(), _details(response, content)
    )


@functools.cache
def _status_error(status: int) -> type[HttpError]:
    """The class of a status: Http404 is an HttpClientError."""
    if status in (408, 425, 429):
        base: type[HttpError] = HttpTryLater
    else:
        base = {4: HttpClientError, 5: HttpServerError}.get(status // 100, HttpStatusError)
    return type(f"Http{status}", (base,), {})


def _place(response: httpx.Response) -> str:
    """The method and URL, without the query, which may hold what is nobody's business."""
    return f"{response.request.method} {response.request.url.copy_with(query=None, fragment=None)}"


def _details(response: httpx.Response, content: bytes = b"") -> dict[str, Any]:
    return {
        "status": response.status_code,
        "retry_after": response.headers.get("retry-after"),
        "body": content[: EXCERPT * 4].decode("utf-8", "replace")[:EXCERPT] or None,
    }


def _answer(response: httpx.Response, content: bytes) -> dict[str, Any]:
    encoding, body = _decoded(response, content)
    shown = {name: value for name, value in response.headers.items() if name.lower() not in NOT_SHOWN}
    return {"status": response.status_code, "headers": shown, "encoding": encoding, "body": body}


def _decoded(response: httpx.Response, content: bytes) -> tuple[str, Any]:
    """An answer's content as data: how it is encoded, and the data."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return "json", msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # text that claims to be JSON is text
    try:
        text = content.decode(response.charset_encoding or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return "base64", base64.b64encode(content).decode()
    return ("base64", base64.b64encode(content).decode()) if "\0" in text else ("text", text)
