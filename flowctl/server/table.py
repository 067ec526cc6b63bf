"""What a route is, and the router: a table, walked segment by segment.

1. Nothing answers that is not an ``Endpoint``, and none can be made without saying which scope it needs.
2. Paths are matched as they were sent: ``%2F`` is part of a segment, so a child's run id is one, and no
   trailing slash, suffix or other spelling leads to a route by another way.
3. What goes in is a msgspec struct: unknown keys and wrong types are refused before anybody sees them, and
   the OpenAPI document has the same schema.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_origin, get_type_hints
from urllib.parse import quote, unquote_to_bytes

import msgspec

from flowctl.backends import Backend
from flowctl.server.access import Grant, Scope
from flowctl.server.problems import BadRequest, MethodNotAllowed, NoSuchRoute

API = "/api/v1"

Method = Literal["GET", "POST", "DELETE", "WS"]
UNSAFE = frozenset({"POST", "DELETE", "WS"})
"""What a page of somebody else's must not make a browser do. The messages of a socket any page could read."""


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """Of a route that takes no query, or no body."""


class Ask(msgspec.Struct):
    """One request: who asks, the parts of the path by name, the query and the body as the route takes them,
    and headers by name in lower case. ``app`` is the server, ``root`` where in a larger application it is
    mounted, ``peer`` the address of the client.
    """

    endpoint: Endpoint
    grant: Grant
    parts: dict[str, str]
    headers: Mapping[str, str]
    query: Any
    body: Any
    app: Any
    peer: str = ""
    scheme: str = "http"
    root: str = ""

    def key(self) -> str | None:
        """The idempotency key that the client gave."""
        return self.headers.get("idempotency-key")


class Answer(msgspec.Struct):
    """``content`` is data for JSON, or text or bytes of the ``media`` type."""

    content: Any
    status: int = 200
    media: str = "application/json"
    headers: dict[str, str] = {}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A route. Exactly one of the functions answers: ``reads`` and ``writes`` in a thread that has a backend,
    ``answers`` on the loop, ``streams`` for as long as both sides like.

    ``result`` names the schema of what it answers with (``shapes``); ``accepted`` is the status then.
    """

    method: Method
    path: str
    scope: Scope
    name: str
    summary: str
    reads: Callable[[Backend, Ask], Any] | None = None
    writes: Callable[[Backend, Ask], Any] | None = None
    answers: Callable[[Ask], Awaitable[Any]] | None = None
    streams: Callable[..., Any] | None = None
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    result: str = "Any"
    accepted: int = 200
    media: Sequence[str] = ("application/json",)
    errors: Sequence[int] = ()
    idempotent: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.scope, Scope):
            raise TypeError(f"{self.method} {self.path} does not say which scope it needs")
        given = [self.reads, self.writes, self.answers, self.streams]
        if sum(each is not None for each in given) != 1:
            raise TypeError(f"{self.method} {self.path} needs one function that answers")

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of its path; ``{name}`` stands for any one."""
        return tuple(self.path.split("/")[1:])

    def url(self, **parts: str) -> str:
        """Its path with these parts in place."""
        return re.sub(r"\{(\w+)\}", lambda match: quote(parts[match[1]], safe=""), self.path)


class Router:
    """Finds the endpoint of a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._tree: dict[str, Any] = {}
        for endpoint in self.endpoints:
            node = self._tree
            for segment in endpoint.segments:
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            methods = node.setdefault("", {})  # no segment of a route is empty
            if endpoint.method in methods:
                raise TypeError(f"{endpoint.method} {endpoint.path} is there twice")
            methods[endpoint.method] = endpoint

    def find(self, method: str, raw_path: bytes) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint, and the parts of the path. ``NoSuchRoute``, ``MethodNotAllowed``, ``BadRequest``."""
        segments = raw_path.split(b"/")[1:]
        methods = self._walk(self._tree, segments) if segments and all(segments) else None
        if not methods:
            raise NoSuchRoute("there is nothing at this path", hint=f"{API}/openapi.json lists what there is")
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            raise MethodNotAllowed(f"this path has no {method[:20]}", ", ".join(sorted(methods)))
        given = zip(endpoint.segments, segments, strict=True)
        return endpoint, {name[1:-1]: _text(part) for name, part in given if name.startswith("{")}

    def _walk(self, node: dict[str, Any], segments: Sequence[bytes]) -> dict[str, Endpoint] | None:
        if not segments:
            return node.get("")
        first, rest = segments[0].decode("latin-1"), segments[1:]
        for name in (first, "{}"):
            if name in node and name != "":
                found = self._walk(node[name], rest)
                if found is not None:
                    return found
        return None


def _text(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadRequest("a part of the path is not UTF-8 text") from None


def convert_query(pairs: Sequence[tuple[str, str]], wanted: type[msgspec.Struct]) -> Any:
    """The query of a URL as a route takes it. ``BadRequest``."""
    several = {field for field, kind in get_type_hints(wanted).items() if get_origin(kind) is list}
    names = {field.encode_name: field.name for field in msgspec.structs.fields(wanted)}
    data: dict[str, Any] = {}
    for name, value in pairs:
        if names.get(name) in several:
            data.setdefault(name, []).append(value)
        elif name in data:
            raise BadRequest(f"{name[:60]!r} is in the query twice")
        else:
            data[name] = value
    return _convert(data, wanted, "the query", strict=False)


def convert_body(data: Any, wanted: type[msgspec.Struct]) -> Any:
    """The JSON of a body as a route takes it. ``BadRequest``."""
    return _convert(data, wanted, "the body", strict=True)


def _convert(data: Any, wanted: type[msgspec.Struct], what: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(data, wanted, strict=strict)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{what} is not what this route takes: {error}") from None
