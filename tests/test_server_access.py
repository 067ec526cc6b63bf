"""Who may do what over HTTP: the matrix of routes and tokens, made by walking the table of routes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from flowctl.errors import UsageError
from flowctl.server.access import COOKIE, Access, Grant, Scope, Token
from flowctl.server.limits import Limits
from flowctl.server.routes import ENDPOINTS
from flowctl.server.table import UNSAFE, Ask, Endpoint, Router
from tests.serve_helpers import TOKENS, Served, serving

NOBODY = Grant("nobody", Scope.PUBLIC)
PARTS = {"run": "no-such-run", "name": "nothing", "version": "1"}
PUBLIC = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/api/v1/session")}

ROUTES = [pytest.param(each, id=f"{each.method} {each.path}") for each in ENDPOINTS]
CLOSED = [pytest.param(each, id=f"{each.method} {each.path}") for each in ENDPOINTS if each.scope]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("matrix")) as found:
        yield found


def knock(served: Served, endpoint: Endpoint, **headers: str) -> int:
    """The status with which a route answers; of a stream or socket, that it begins with."""
    path = endpoint.url(**PARTS)
    if endpoint.method == "WS":
        return asyncio.run(shake_hands(f"ws://localhost:{served.port}{path}", headers))
    body = {"content": b"{}"} if endpoint.body is not None else {}
    headers = {"content-type": "application/json", **headers}
    with (
        httpx.Client(base_url=served.url, headers=headers, verify=False) as client,
        client.stream(endpoint.method, path, **body) as response,  # type: ignore[arg-type]
    ):
        return response.status_code


async def shake_hands(url: str, headers: dict[str, str]) -> int:
    try:
        async with websockets.connect(url, additional_headers=headers):
            return 101
    except websockets.exceptions.InvalidStatus as refused:
        return refused.response.status_code


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_only_these_routes_are_public() -> None:
    assert {(each.method, each.path) for each in ENDPOINTS if each.scope is Scope.PUBLIC} == PUBLIC


@pytest.mark.parametrize("endpoint", CLOSED)
def test_nobody_gets_in_without_a_token(served: Served, endpoint: Endpoint) -> None:
    assert knock(served, endpoint) == 401
    assert knock(served, endpoint, authorization=bearer("x" * 43)) == 401
    assert knock(served, endpoint, authorization=f"Basic {TOKENS['admin'].text}") == 401
    assert knock(served, endpoint, cookie=f"{COOKIE}=0.0.0.admin") == 401


@pytest.mark.parametrize("endpoint", CLOSED)
@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_token_opens_the_routes_of_its_scope_and_no_others(
    served: Served, endpoint: Endpoint, token: Token
) -> None:
    status = knock(served, endpoint, authorization=bearer(token.text))
    assert (status == 403) == (token.scope < endpoint.scope)
    assert status not in (401, 500)


@pytest.mark.parametrize("endpoint", CLOSED)
def test_a_cookie_changes_nothing_without_its_csrf_token(served: Served, endpoint: Endpoint) -> None:
    cookie, grant = served.app.access.cookie_for(served.app.access.by_token(TOKENS["admin"].text) or NOBODY)
    headers = {"cookie": f"{COOKIE}={cookie}"}
    expected = endpoint.method in UNSAFE
    assert (knock(served, endpoint, **headers) == 403) == expected
    assert (knock(served, endpoint, **headers, **{"x-csrf-token": "0" * 64}) == 403) == expected
    origin = f"http://localhost:{served.port}"
    assert grant.csrf is not None
    assert knock(served, endpoint, **headers, **{"x-csrf-token": grant.csrf, "origin": origin}) not in (
        401,
        403,
    )


FOREIGN = {
    "another site's": {"origin": "https://evil.example"},
    "another port's": {"origin": "http://localhost:1"},
    "of no site": {"origin": "null"},
    "one that the browser says is": {"sec-fetch-site": "cross-site"},
}


@pytest.mark.parametrize("endpoint", [each for each in CLOSED if each.values[0].method in UNSAFE])  # type: ignore[union-attr]
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_page_of_another_site_changes_nothing_and_opens_no_socket(
    served: Served, endpoint: Endpoint, headers: dict[str, str]
) -> None:
    assert knock(served, endpoint, authorization=bearer(TOKENS["admin"].text), **headers) == 403


@pytest.mark.parametrize("endpoint", ROUTES)
def test_a_name_that_we_do_not_go_by_is_refused_everywhere(served: Served, endpoint: Endpoint) -> None:
    headers = {"host": "evil.example", "authorization": bearer(TOKENS["admin"].text)}
    if endpoint.method != "WS":  # the client there insists on its own
        assert knock(served, endpoint, **headers) == 421


@pytest.mark.parametrize("endpoint", [each for each in ROUTES if each.values[0].method != "WS"])  # type: ignore[union-attr]
def test_verbs_that_a_route_does_not_have_lead_nowhere(served: Served, endpoint: Endpoint) -> None:
    path = endpoint.url(**PARTS)
    known = {each.method for each in ENDPOINTS if each.path == endpoint.path}
    for verb in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
        assert served.ask(verb, path, token=None).status_code == 401
        assert served.ask(verb, path).status_code == 405


SPELLINGS = [
    "/api/v1/runs/", "/api/v1//runs", "/api/v1/runs/healthz", "/api/v1/runs%2Fhealthz", "/api/v1/./runs",
    "/api/v1/runs/x/../..", "/api/v1/runs/x/healthz", "/API/v1/runs", "/api/v1/openapi.json/", "/api/v2/runs",
    "/api", "/api/", "/api/v1/runs/a/b/c/d/e", "/api/v1/session/x",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_other_spelling_of_a_path_gets_past_the_gate(served: Served, path: str) -> None:
    with httpx.Client(base_url=served.url, verify=False) as client:
        request = client.build_request("GET", "/")
        request.extensions["target"] = path.encode()
        status = client.send(request).status_code
    assert status == (200 if path == "/API/v1/runs" else 401)  # that is a path of the dashboard's


def test_there_is_no_cors(served: Served) -> None:
    answer = served.ask("GET", "/api/v1/runs", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_route_that_does_not_say_its_scope_cannot_be_made() -> None:
    async def answer(ask: Ask) -> Any:
        return {}

    with pytest.raises(TypeError):
        Endpoint(method="GET", path="/x", name="x", summary="x", answers=answer)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="scope"):
        Endpoint(method="GET", path="/x", name="x", summary="x", answers=answer, scope=None)  # type: ignore[arg-type]


def test_a_route_cannot_be_there_twice() -> None:
    with pytest.raises(TypeError, match="twice"):
        Router([ENDPOINTS[0], ENDPOINTS[0]])


# --- cookies and codes


def test_a_code_is_good_once_and_not_for_long() -> None:
    now = [1_000.0]
    access = Access(TOKENS.values(), clock=lambda: now[0])
    code = access.new_code()
    assert access.by_code("x" + code) is None
    assert access.by_code(code) is not None
    assert access.by_code(code) is None
    code, now[0] = access.new_code(), now[0] + 601
    assert access.by_code(code) is None


def test_a_cookie_ends_and_cannot_be_made_up() -> None:
    now = [1_000.0]
    access = Access(TOKENS.values(), clock=lambda: now[0])
    cookie, grant = access.cookie_for(access.by_token(TOKENS["read"].text) or NOBODY)
    assert access.by_cookie(cookie) == grant
    assert access.by_cookie(cookie.replace(".read", ".admin")) is None
    assert access.by_cookie("0" + cookie) is None
    assert access.by_cookie("") is None
    now[0] += 12 * 3600 + 1
    assert access.by_cookie(cookie) is None


def test_a_browser_logs_in_with_the_code_and_out_again(served: Served) -> None:
    with httpx.Client(base_url=served.url, verify=False) as browser:
        answer = browser.post("/api/v1/session", json={"code": served.app.access.new_code()})
        assert answer.status_code == 201
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        who = browser.get("/api/v1/session").json()
        assert who["csrf"] == answer.json()["csrf"]
        assert browser.delete("/api/v1/session").status_code == 403
        assert browser.delete("/api/v1/session", headers={"x-csrf-token": who["csrf"]}).status_code == 200
        assert browser.get("/api/v1/session").status_code == 401


def test_a_browser_that_is_signed_in_can_become_somebody_else(served: Served) -> None:
    with httpx.Client(base_url=served.url, verify=False) as browser:
        for name in ("read", "operate"):
            answer = browser.post("/api/v1/session", json={"token": TOKENS[name].text})
            assert answer.status_code == 201
            assert browser.get("/api/v1/session").json()["name"] == name
        foreign = {"origin": "http://elsewhere.example"}
        asked = {"token": TOKENS["read"].text}
        assert browser.post("/api/v1/session", json=asked, headers=foreign).status_code == 403


def test_wrong_tokens_run_out(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(failures=3)) as served:
        statuses = [
            httpx.get(f"{served.url}/api/v1/runs", headers={"authorization": bearer("x" * 43)}).status_code
            for _ in range(5)
        ]
        assert statuses == [401, 401, 401, 429, 429]
        login = served.ask("POST", "/api/v1/session", token=None, json={"token": "x" * 43})
        assert login.status_code == 429
        assert served.ask("GET", "/api/v1/runs").status_code == 200


def test_a_client_that_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(rate=0.001, burst=2)) as served, served.client() as client:
        answers = [client.get("/api/v1/session") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 1


# --- the file of tokens


def test_the_first_start_makes_a_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    access = Access.beside(str(tmp_path / "f.db"))
    assert access.path is not None
    assert stat.S_IMODE(os.stat(access.path).st_mode) == 0o600
    [token] = access.tokens().values()
    assert token.scope is Scope.ADMIN
    assert len(token.text) >= 43
    assert [*Access.beside(str(tmp_path / "f.db")).tokens().values()] == [token]


def test_what_is_changed_in_the_file_holds_at_once(tmp_path: Path) -> None:
    access = Access.beside(str(tmp_path / "f.db"))
    [old] = access.tokens().values()
    path = Path(str(access.path))
    new = "n" * 43
    path.write_text(f"# comment\n\nwatcher read {new}\n")
    assert access.by_token(old.text) is None
    grant = access.by_token(new)
    assert grant is not None
    assert (grant.name, grant.scope) == ("watcher", Scope.READ)
    path.write_text("something else")
    assert access.by_token(new) is None


def test_a_file_of_tokens_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = Path(str(Access.beside(str(tmp_path / "f.db")).path))
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        Access.beside(str(tmp_path / "f.db"))


def test_a_file_of_tokens_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.db.tokens").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        Access.beside(str(tmp_path / "f.db"))


@pytest.mark.parametrize("line", ["owner admin short", f"owner king {'x' * 43}", f"a/b read {'x' * 43}", "x"])
def test_a_line_that_is_no_token_is_refused(tmp_path: Path, line: str) -> None:
    path = Path(str(Access.beside(str(tmp_path / "f.db")).path))
    path.write_text(line)
    with pytest.raises(UsageError, match="NAME SCOPE TOKEN"):
        Access.beside(str(tmp_path / "f.db"))
