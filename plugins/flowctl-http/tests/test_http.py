"""Requests against a real server, and addresses that none may be made to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import flowctl_files
import flowctl_http
from flowctl import ActivityContext
from flowctl.activities.failures import failure_from
from flowctl.plugins import load

Answer = tuple[int, Mapping[str, str], bytes]


class Server:
    """A server on this machine. ``answers`` are by method and path; ``seen`` is what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                what = f"{self.command} {self.path}"
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.seen.append((what, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, content = outer.answers.get(what, (404, {}, b"nothing here"))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def configure() -> Iterator[Callable[..., None]]:
    def set_up(**settings: Any) -> None:
        flowctl_http.flowctl_configure({"allow": ["127.0.0.1"], **settings})

    set_up()
    yield set_up
    flowctl_http.flowctl_configure({})


Configure = Callable[..., None]


def call(function: Callable[..., Any], *urls: str, **arguments: Any) -> Any:
    """What an activity returns for the last of the URLs, with a client of its own for all of them."""

    async def within() -> Any:
        result = None
        async for client in flowctl_http.client():
            ctx = ActivityContext(idempotency_key="order-1/charge")
            for url in urls:
                result = await function(client, ctx, url, **arguments)
        return result

    return asyncio.run(within())


def request(*urls: str, **arguments: Any) -> Any:
    return call(flowctl_http.request, *urls, **arguments)


def refused(error: type[BaseException], *urls: str, **arguments: Any) -> BaseException:
    with pytest.raises(error) as caught:
        request(*urls, **arguments)
    return caught.value


JSON = {"Content-Type": "application/json; charset=utf-8"}


def test_an_answer_is_data_text_or_base64(server: Server) -> None:
    server.answers = {
        "GET /data?q=a+b": (200, JSON, b'{"n": 1}'),
        "GET /text": (201, {"Content-Type": "text/plain; charset=latin-1"}, b"caf\xe9"),
        "GET /bytes": (200, {}, b"\xff\x00"),
        "GET /claims": (200, JSON, b"{"),
    }
    data = request(server.url + "/data", query={"q": "a b"})
    assert (data["status"], data["encoding"], data["body"]) == (200, "json", {"n": 1})
    assert data["headers"]["content-type"] == JSON["Content-Type"]
    text = request(server.url + "/text")
    assert (text["status"], text["encoding"], text["body"]) == (201, "text", "café")
    assert request(server.url + "/bytes")["body"] == "/wA="
    assert request(server.url + "/claims")["encoding"] == "text"


def test_a_query_is_added_to_the_one_in_the_url(server: Server) -> None:
    server.answers = {"GET /?a=1&b=2": (200, {}, b"")}
    assert request(server.url + "/?a=1", query={"b": 2})["status"] == 200


def test_json_alone_is_the_data(server: Server) -> None:
    server.answers = {"POST /": (200, {}, b"[1]"), "GET /": (204, {}, b""), "GET /html": (200, {}, b"<p>")}
    assert call(flowctl_http.request_json, server.url, method="POST", json={"a": None}) == [1]
    (_, headers, body), *_ = server.seen
    assert (headers["accept"], headers["content-type"]) == ("application/json", "application/json")
    assert json.loads(body) == {"a": None}
    assert call(flowctl_http.request_json, server.url) is None
    with pytest.raises(flowctl_http.NotJson, match=r"/html: the answer is not JSON"):
        call(flowctl_http.request_json, server.url + "/html")


@pytest.mark.parametrize(
    ("sent", "kind", "body"),
    [
        ({"json": [1]}, "application/json", b"[1]"),
        ({"form": {"a": "b c"}}, "application/x-www-form-urlencoded", b"a=b+c"),
        ({"text": "hé"}, None, "hé".encode()),
    ],
)
def test_a_body_is_sent_in_one_of_three_ways(
    server: Server, sent: dict[str, Any], kind: str | None, body: bytes
) -> None:
    server.answers = {"PUT /": (200, {}, b"")}
    request(server.url, method="PUT", **sent)
    ((_, headers, got),) = server.seen
    assert (headers.get("content-type"), got) == (kind, body)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    flowctl_files.flowctl_configure({"roots": {"out": "."}}, str(tmp_path))
    yield tmp_path
    flowctl_files.flowctl_configure({}, ".")


def test_a_file_is_sent_as_it_is_with_its_length(server: Server, root: Path) -> None:
    content = bytes(range(256)) * 4_000
    (root / "report.pdf").write_bytes(content)
    server.answers = {"PUT /r": (201, {"ETag": "x"}, b"")}
    sent = call(flowctl_http.upload, server.url + "/r", root="out", path="report.pdf")
    assert (sent["status"], sent["headers"]["etag"]) == (201, "x")
    assert (sent["size"], sent["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    [(_, headers, body)] = server.seen
    assert body == content
    assert headers["content-length"] == str(len(content))
    assert "transfer-encoding" not in headers
    assert headers["idempotency-key"] == "order-1/charge"


def test_a_file_that_is_refused_is_a_typed_error_and_one_outside_the_root_is_not_sent(
    server: Server, root: Path
) -> None:
    (root / "a").write_text("a")
    with pytest.raises(flowctl_http.HttpClientError):
        call(flowctl_http.upload, server.url + "/nowhere", root="out", path="a")
    for path in ("../a", "gone"):
        with pytest.raises((flowctl_files.FilesError, FileNotFoundError)):
            call(flowctl_http.upload, server.url + "/r", root="out", path=path)
    assert len(server.seen) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_changes_something_carries_the_steps_key(server: Server, method: str) -> None:
    server.answers = {f"{method} /": (200, {}, b""), "GET /": (200, {}, b"")}
    request(server.url, method=method)
    request(server.url, method=method, headers={"idempotency-key": "mine"})
    request(server.url)
    keys = [headers.get("idempotency-key") for _, headers, _ in server.seen]
    assert keys == ["order-1/charge", "mine", None]


STATUSES = {
    404: ("Http404", "HttpClientError", "HttpError"),
    409: ("Http409", "HttpClientError", "HttpError"),
    429: ("Http429", "HttpTryLater", "HttpError"),
    503: ("Http503", "HttpServerError", "HttpError"),
}


@pytest.mark.parametrize(("status", "types"), STATUSES.items())
def test_a_status_is_a_typed_error(server: Server, status: int, types: tuple[str, ...]) -> None:
    server.answers = {"GET /x?key=hush": (status, {"Retry-After": "7"}, b"why not")}
    failure = failure_from(refused(flowctl_http.HttpError, server.url + "/x", query={"key": "hush"}))
    assert failure.types == types
    assert failure.message.startswith(f"GET {server.url}/x: {status} ")
    assert failure.details == {"status": status, "retry_after": "7", "body": "why not"}


def test_what_the_same_request_would_meet_again_is_not_tried_again() -> None:
    plugin = load(entry_points=False, objects=[flowctl_http])
    assert plugin.problems == []
    policy = plugin.activities["http.request"].policy.retry
    assert policy is not None
    hopeless = set(policy.non_retryable or ())
    assert {"HttpClientError", "AddressNotAllowed"} <= hopeless
    assert hopeless.isdisjoint({"HttpTryLater", "HttpServerError", "HttpError"})


def test_expected_statuses_are_results_and_no_others(server: Server) -> None:
    server.answers = {"GET /ok": (200, {}, b"")}
    assert request(server.url + "/none", expect=[404])["status"] == 404
    error = refused(flowctl_http.HttpStatusError, server.url + "/ok", expect=[201])
    assert failure_from(error).types == ("Http200", "HttpStatusError", "HttpError")


# --- where to


def test_what_is_not_public_is_refused_before_anything_is_sent(server: Server, configure: Configure) -> None:
    configure(allow=[])
    error = refused(flowctl_http.AddressNotAllowed, server.url)
    assert str(error).startswith("127.0.0.1 is no public address; to allow it, name it in flowctl.toml:")
    assert server.seen == []


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_another_spelling_of_an_address_gains_nothing(
    server: Server, configure: Configure, host: str
) -> None:
    configure(allow=[])
    with pytest.raises((flowctl_http.AddressNotAllowed, httpx.ConnectError, flowctl_http.InvalidRequest)):
        request(f"http://{host}:{server.port}/")
    assert server.seen == []


PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = """
    0.0.0.0 127.0.0.1 10.1.2.3 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255
    192.0.2.1 198.18.0.1 240.0.0.1 :: ::1 fe80::1%eth0 fc00::1 fec0::1 ff02::1 2001:db8::1 ::ffff:10.0.0.1
    64:ff9b::7f00:1 2002:7f00:1:: 2001:0:4136:e378::
"""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_permitted(address: str) -> None:
    assert flowctl_http.Guard([]).permits("host", address)


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_an_address_that_is_not_public_is_not(address: str) -> None:
    assert not flowctl_http.Guard([]).permits("host", address)


@pytest.mark.parametrize(
    ("allow", "host", "address", "permitted"),
    [
        (["10.0.0.0/8"], "h", "10.9.9.9", True),
        (["10.0.0.0/8"], "h", "::ffff:10.9.9.9", True),
        (["10.0.0.0/8"], "h", "192.168.0.1", False),
        (["Stock.Internal"], "stock.internal.", "192.168.0.1", True),
        (["stock.internal"], "evil.stock.internal", "192.168.0.1", False),
        (["::1"], "h", "::1", True),
    ],
)
def test_networks_and_names_can_be_allowed(
    allow: list[str], host: str, address: str, permitted: bool
) -> None:
    assert flowctl_http.Guard(allow).permits(host, address) is permitted


def test_a_name_is_judged_by_the_address_it_is_connected_to(
    server: Server, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is asked about, and private when it is connected to."""
    configure(allow=[])
    answers = ["8.8.8.8", "127.0.0.1"]
    connected: list[str] = []

    async def resolve(self: Any, host: str, port: int, **options: Any) -> Any:
        return [(2, 1, 6, "", (answers.pop(0), port))]

    async def connect(self: Any, host: str, *args: Any) -> Any:
        import httpcore

        connected.append(host)
        raise httpcore.ConnectError("no route")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    refused(httpx.ConnectError, "http://rebind.example/")
    assert connected == ["8.8.8.8"], "asked once, and connected to that"
    refused(flowctl_http.AddressNotAllowed, "http://rebind.example/")


def test_redirects_are_judged_like_any_request(server: Server, configure: Configure) -> None:
    """The server is allowed by its name only, so what it redirects to is not."""
    configure(allow=["localhost"])
    server.answers = {
        "GET /there": (302, {"Location": f"http://127.0.0.1:{server.port}/secret"}, b""),
        "GET /file": (302, {"Location": "file:///etc/passwd"}, b""),
    }
    here = f"http://localhost:{server.port}"
    refused(flowctl_http.AddressNotAllowed, here + "/there")
    refused(flowctl_http.InvalidRequest, here + "/file")
    assert [what for what, *_ in server.seen] == ["GET /there", "GET /file"]


def test_a_redirect_within_an_origin_keeps_headers_and_to_another_loses_them(
    server: Server, configure: Configure
) -> None:
    configure(allow=["localhost", "127.0.0.1"])
    server.answers = {
        "GET /near": (302, {"Location": "/end"}, b""),
        "GET /far": (302, {"Location": f"http://localhost:{server.port}/end"}, b""),
        "GET /end": (200, {}, b"end"),
    }
    for path in ("/near", "/far"):
        assert request(server.url + path, headers={"X-Api-Key": "hush"})["body"] == "end"
    assert ["x-api-key" in headers for _, headers, _ in server.seen] == [True, True, True, False]


def test_redirects_end_somewhere(server: Server) -> None:
    server.answers = {"GET /": (302, {"Location": "/"}, b"")}
    refused(flowctl_http.TooManyRedirects, server.url + "/")
    assert len(server.seen) == 4


def test_a_redirect_of_what_changes_something_is_an_answer(server: Server) -> None:
    server.answers = {"POST /": (307, {"Location": "/other"}, b"")}
    answer = request(server.url + "/", method="POST", text="x")
    assert (answer["status"], answer["headers"]["location"]) == (307, "/other")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/", "example.com", "", "http://", "http://u:p@example.com/"],
)
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    error = refused(flowctl_http.InvalidRequest, url)
    assert "u:p" not in str(error)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"},
        {"transfer-encoding": "chunked"},
        {"Proxy-Authorization": "x"},
        {"a b": "x"},
        {"A": "x\r\nB: y"},
    ],
)
def test_headers_that_frame_the_message_are_not_the_callers(server: Server, headers: dict[str, str]) -> None:
    refused(flowctl_http.InvalidRequest, server.url, headers=headers)
    assert server.seen == []


def test_one_body_is_enough(server: Server) -> None:
    refused(flowctl_http.InvalidRequest, server.url, method="POST", json={}, text="")


# --- limits


def test_an_answer_is_read_up_to_the_limit(server: Server, configure: Configure) -> None:
    configure(max_bytes=1000)
    server.answers = {"GET /fits": (200, {}, b"x" * 1000), "GET /over": (200, {}, b"x" * 1001)}
    assert len(request(server.url + "/fits")["body"]) == 1000
    refused(flowctl_http.ResponseTooLarge, server.url + "/over")


def test_no_cookie_is_kept_and_no_proxy_is_taken_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers = {"GET /": (200, {"Set-Cookie": "session=1; Path=/"}, b"")}
    answer = request(server.url + "/", server.url + "/")
    assert "set-cookie" not in answer["headers"]
    assert ["cookie" in headers for _, headers, _ in server.seen] == [False, False]


@pytest.mark.parametrize(
    "settings", [{"allowed": []}, {"allow": ["10.0.0.0/33"]}, {"allow": [""]}, {"max_bytes": "1"}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[flowctl_http], settings={"flowctl_http": settings})
    assert [problem.plugin for problem in plugins.problems] == ["flowctl_http"]
    assert "http.request" not in plugins.activities


# --- as it is installed

WORKFLOW = """
dsl: 1
name: fetch
input: {type: object, required: [url], properties: {url: {type: string}}}
steps:
  - {id: get, activity: http.json, with: {url: "${{ input.url }}"}}
output: "${{ steps.get.output.n }}"
"""


def flowctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowctl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_an_installed_plugin_serves_workflows_by_the_settings_of_the_project(
    server: Server, tmp_path: Path
) -> None:
    server.answers = {"GET /": (200, JSON, b'{"n": 7}')}
    (tmp_path / "fetch.yaml").write_text(WORKFLOW)
    (tmp_path / "flowctl.toml").write_text("")
    run = ("run", "fetch.yaml", "-i", f"url={server.url}/", "--json")
    failed = flowctl(tmp_path, *run)
    document = json.loads(failed.stdout)
    assert (document["status"], document["error"]["type"]) == ("failed", "AddressNotAllowed")
    (tmp_path / "flowctl.toml").write_text('[plugins.http]\nallow = ["127.0.0.0/8"]\n')
    done = flowctl(tmp_path, *run)
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, 7)
    assert len(server.seen) == 1
