"""Requests by chance, most of them broken, over raw sockets: no 5xx, no hang, and a server that still answers.

``python -m tests.fuzz.raw_http --seed 1 --count 10000`` does it to a server of its own. Whatever was sent must
be answered, or its connection closed, also when the server waits for the rest of it.
"""

# ruff: noqa: E501 - lists that are read by the line
from __future__ import annotations

import argparse
import collections
import random
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowctl.server.limits import Limits
from flowctl.server.routes import ENDPOINTS
from tests.serve_helpers import TOKENS, Served, serving

PATIENCE = 20.0
"""Seconds that an answer may take."""

AT_ONCE = 16
"""Connections at once: some take as long as the server is patient."""

LIMITS = Limits(
    rate=1e6, burst=1_000_000, failures=1_000_000, streams_per_client=2_000, patience=0.3, keep_alive=1
)

_PARTS = [
    "a", "..", "%2e%2e", "%2F", "%00", "%ff", "%", "%zz", "é", "@last", "order", "1", "", " ", "a" * 300, "\x00",
    "\x7f", ";", "?", "#", "//", "\\", "healthz", "*", "http://evil.example/", "[::1]", "0",
]  # fmt: skip
_METHODS = [
    "GET",
    "POST",
    "DELETE",
    "HEAD",
    "PUT",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "G\x00T",
    "",
    "X" * 999,
]
_VERSIONS = [
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/0.9",
    "HTTP/9.9",
    "http/1.1",
    "",
    "HTTP/1.1 x",
    "HTTP/1.1\x00",
]
_NAMES = [
    "Host", "Authorization", "Cookie", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection",
    "Upgrade", "Origin", "Expect", "Range", "Last-Event-ID", "Idempotency-Key", "X-CSRF-Token", "Sec-WebSocket-Key",
    "Sec-WebSocket-Version", "Sec-Fetch-Site", "X-Forwarded-For", "Accept-Encoding", "If-None-Match", "",
    "Bad Name", "Bad\x00", "X" * 2_000,
]  # fmt: skip
_VALUES = [
    "", "localhost", "evil.example", "chunked", "chunked, chunked", "gzip", "0", "1", "-1", "999999999999", "1e9",
    "0x10", "10, 11", "close", "keep-alive", "upgrade", "websocket", "13", "dGhlIHNhbXBsZSBub25jZQ==",
    "100-continue", "bytes=0-,0-,0-", "null", "http://localhost", "flowctl_session=", "flowctl_session=a.b.c.admin",
    "Bearer", "Bearer x", "Basic eDp4", "application/json", "text/plain", "é", "\x00", "\x0b", "x" * 9_000, "*",
]  # fmt: skip
_BODIES = [
    b"", b"{}", b"[]", b"{", b"\x00", b"\xff\xfe", b'{"workflow":"order"}', b'{"workflow":1}', b"[" * 3_000,
    b'{"payload":' + b"9" * 5_000 + b"}", b"0\r\n\r\n", b"5\r\n{}\r\n", b"ffffffffffffffff\r\n", b"-1\r\n\r\n",
    b"2;x=y\r\n{}\r\n0\r\n\r\n", b'{"input":{"\\ud800":1}}', b'{"source":"a: &a [*a]"}', b"x" * 70_000,
]  # fmt: skip


def request(chance: random.Random) -> bytes:
    """A request: a good one with something wrong, or mostly wrong."""
    endpoint = chance.choice(ENDPOINTS)
    path = endpoint.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + chance.choice(_PARTS) + rest.partition("}")[2]
    if chance.random() < 0.3:
        path += chance.choice(
            ["?", "/", "//", "?a=b", "?limit=", "?limit=-1", "?after=x", "?=&=", "?%", "?count=5"]
        )
        path += chance.choice(_PARTS)
    if chance.random() < 0.1:
        path = chance.choice(
            ["", "*", "/", "x", "//", "http://localhost/healthz", "/" + "a" * 9_000, "/api/v1"]
        )
    method = endpoint.method.replace("WS", "GET") if chance.random() < 0.8 else chance.choice(_METHODS)
    version = "HTTP/1.1" if chance.random() < 0.9 else chance.choice(_VERSIONS)
    headers = [] if chance.random() < 0.05 else [("Host", "localhost")]
    if chance.random() < 0.8:
        headers.append(("Authorization", f"Bearer {TOKENS[chance.choice(list(TOKENS))].text}"))
    if endpoint.method == "WS" and chance.random() < 0.8:
        headers += [("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]  # fmt: skip
    body = chance.choice(_BODIES) if chance.random() < 0.5 else b""
    if chance.random() < 0.8:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 9])):
        headers.append((chance.choice(_NAMES[:20]), chance.choice(_VALUES[:30])))
    if chance.random() < 0.1:
        headers.append((chance.choice(_NAMES), chance.choice(_VALUES)))
    chance.shuffle(headers)
    line = "\r\n" if chance.random() < 0.95 else chance.choice(["\n", "\r", "\r\r\n", "\n\n"])
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers), "", ""]
    raw = line.join(lines).encode("utf-8", "surrogatepass") + body
    return mangled(raw, chance) if chance.random() < 0.2 else raw


def mangled(raw: bytes, chance: random.Random) -> bytes:
    """With bytes changed, left out or doubled."""
    data = bytearray(raw)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[place : place + chance.randrange(1, 9)]
            case 2:
                data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
            case _:
                data[place:place] = data[place : place + chance.randrange(1, 99)]
    return bytes(data)


def send(port: int, raw: bytes) -> str:
    """What came of a request: the status, or ``closed``. ``TimeoutError`` if nothing did."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(raw)
            answer = b""
            while b"\r\n" not in answer and (more := connection.recv(4_096)):
                answer += more
        except ConnectionError:
            return "closed"
    return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else "closed"


def search(served: Served, seed: int, count: int) -> collections.Counter[str]:
    """So many requests; how often each status came. ``AssertionError`` names the one that was wrong."""

    def one(number: int) -> str:
        raw = request(random.Random(f"{seed}.{number}"))
        try:
            status = send(served.port, raw)
        except TimeoutError:
            raise AssertionError(f"seed {seed}, request {number} was not answered: {raw[:2_000]!r}") from None
        assert not status.startswith("5"), f"seed {seed}, request {number} gave {status}: {raw[:2_000]!r}"
        return status

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = collections.Counter(pool.map(one, range(count)))
    assert served.ask("GET", "/api/v1/session").status_code == 200
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), limits=LIMITS) as served:
        served.start(id="order-1")
        print(dict(search(served, options.seed, options.count).most_common()))


if __name__ == "__main__":
    main()
