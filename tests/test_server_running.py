"""``flowctl serve`` as people run it: processes, ports and signals; and requests that no browser sends."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flowctl.cli.entry import execute
from flowctl.server.routes import ENDPOINTS
from tests.fuzz.raw_http import LIMITS, request, search, send
from tests.serve_helpers import ORDER, Served, serving

FLOWCTL = [sys.executable, "-m", "flowctl"]


def test_a_run_goes_from_the_printed_address_to_its_end(tmp_path: Path) -> None:
    """Code to cookie, start, wait, signal, end: with two workers beside the server."""
    (tmp_path / "order.yaml").write_text(ORDER.format(version=1))
    db = str(tmp_path / "flowctl.db")
    deploy = [*FLOWCTL, "deploy", str(tmp_path / "order.yaml"), "--db", db]
    subprocess.run(deploy, check=True, capture_output=True)
    command = [*FLOWCTL, "serve", "--db", db, "--port", "0", "--workers", "2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or lines[-1].rstrip() != "}":
                lines.append(process.stdout.readline())
            told = json.loads("".join(lines))
            visit(told["url"])
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    listed = subprocess.run([*FLOWCTL, "list", "--db", db, "--json"], check=True, capture_output=True)
    assert [run["status"] for run in json.loads(listed.stdout)] == ["completed"]


def visit(url: str) -> None:
    origin, _, code = url.partition("/#code=")
    with httpx.Client(base_url=origin, timeout=30, verify=False) as browser:
        session = browser.post("/api/v1/session", json={"code": code}).json()
        headers = {"x-csrf-token": session["csrf"], "origin": origin, "sec-fetch-site": "same-origin"}
        started = browser.post("/api/v1/runs", json={"workflow": "order"}, headers=headers).json()
        path = f"/api/v1/runs/{started['id']}"
        with browser.stream("GET", f"{path}/events") as stream:
            lines = stream.iter_lines()
            next(line for line in lines if '"status":"waiting"' in line)
            answer = browser.post(f"{path}/signals/approve", json={"payload": {"by": "me"}}, headers=headers)
            assert answer.status_code == 202, answer.text
            next(line for line in lines if '"status":"completed"' in line)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_can_reach_is_refused(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["serve", "--db", str(tmp_path / "f.db"), "--listen", address]) == 2
    assert "--insecure-http" in capsys.readouterr().err
    assert not (tmp_path / "f.db").exists()


def test_without_the_extra_serve_says_what_to_install(tmp_path: Path) -> None:
    """In a process in which the modules are not there."""
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from flowctl.cli.entry import execute; sys.exit(execute(['serve', '--db', 'f.db']))"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert "pip install 'flowctl[serve]'" in found.stderr


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert execute(["serve", "--db", str(tmp_path / "f.db"), "--port", port]) == 2
    assert "--port" in capsys.readouterr().err


# --- raw


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("raw"), limits=LIMITS) as found:
        found.start(id="order-1")
        yield found


def test_broken_requests_get_no_5xx_and_do_not_hang(served: Served) -> None:
    """A short form; ``python -m tests.fuzz.raw_http`` is the long one."""
    found = search(served, seed=7, count=250)
    assert len(found) > 5


UNFINISHED: dict[str, bytes] = {
    "nothing": b"",
    "half a line": b"GET /healthz HT",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    "a second head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
    "half a handshake": b"GET /api/v1/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConn",
    "a handshake with a body": b"GET /api/v1/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: upgrade\r\nContent-Length: 4\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n....",
}


@pytest.mark.parametrize("raw", UNFINISHED.values(), ids=UNFINISHED)
def test_a_connection_that_does_not_go_on_is_closed(served: Served, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(raw)
        while connection.recv(4_096):
            pass


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    token = served.client().headers["authorization"]
    raw = (
        "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: {token}\r\nContent-Length: 10\r\n\r\n{{"
    )
    assert send(served.port, raw.encode()) == "408"


def test_requests_by_chance_reach_every_route() -> None:
    sent = b"".join(request(random.Random(number)) for number in range(2_000))
    ends = {each.path.rpartition("/")[2] for each in ENDPOINTS} - {"{run}", "{name}", "{version}"}
    assert [end for end in ends if end.encode() not in sent] == []
