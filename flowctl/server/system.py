"""Routes about the server itself: sessions of browsers, health, metrics, and the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flowctl.backends import Backend
from flowctl.server import metrics
from flowctl.server.access import COOKIE, LIFETIME, Grant, Scope
from flowctl.server.problems import BadRequest, Overloaded, TooMany, Unauthorized
from flowctl.server.table import API, Answer, Ask, Endpoint

Secret = Annotated[str, Meta(max_length=200)]


class LoginBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token, or the code of the URL that was printed at the start. One of them."""

    code: Secret | None = None
    token: Secret | None = None


async def _log_in(ask: Ask) -> Answer:
    access, body = ask.app.access, ask.body
    if (body.code is None) == (body.token is None):
        raise BadRequest("give either code or token")
    client = ask.peer
    if ask.app.failures.exhausted(client):
        raise TooMany("too many wrong tokens came from there", wait=60.0)
    grant = access.by_code(body.code) if body.code is not None else access.by_token(body.token)
    if grant is None:
        ask.app.failures.wait(client)
        raise Unauthorized(
            "that is no token, or the code was used already",
            hint="`flowctl serve` prints a new one at each start; tokens are in the file beside the database",
        )
    value, grant = access.cookie_for(grant)
    return Answer(_session(ask, grant), status=201, headers={"set-cookie": _cookie(ask, value, LIFETIME)})


async def _log_out(ask: Ask) -> Answer:
    return Answer({}, headers={"set-cookie": _cookie(ask, "", 0)})


async def _who(ask: Ask) -> Any:
    return _session(ask, ask.grant)


def _session(ask: Ask, grant: Grant) -> dict[str, Any]:
    return {
        "name": grant.name,
        "scope": grant.scope.word,
        "csrf": grant.csrf,
        "expires": grant.expires,
        "deploys": ask.app.deploys,
    }


def _cookie(ask: Ask, value: str, seconds: int) -> str:
    secure = "; Secure" if ask.scheme == "https" else ""
    path = ask.root or "/"
    return f"{COOKIE}={value}; Max-Age={seconds}; Path={path}; HttpOnly; SameSite=Strict{secure}"


async def _healthy(ask: Ask) -> Any:
    return {"status": "ok"}


async def _ready(ask: Ask) -> Any:
    if not ask.app.hub.ready:
        raise Overloaded("the database cannot be read at the moment")
    return {"status": "ok"}


def _server(backend: Backend, ask: Ask) -> Any:
    from flowctl import __version__

    figures = backend.statistics()
    statuses: dict[str, int] = {}
    for _, status, count in figures["runs"]:
        statuses[status] = statuses.get(status, 0) + count
    return {
        "version": __version__,
        "deploys": ask.app.deploys,
        "runs": statuses,
        "due": figures["due"],
        "workers": figures["workers"],
        "database_bytes": figures["size"],
    }


def _metrics(backend: Backend, ask: Ask) -> Answer:
    app = ask.app
    server = {
        "live_streams": app.seats.taken,
        "watched_runs": app.hub.channels,
        "questions_waiting": app.desk.waiting,
    }
    text = metrics.exposition(backend.statistics(), app.hub.tally, server, app.requests)
    return Answer(text, media=metrics.MEDIA)


async def _openapi(ask: Ask) -> Any:
    return ask.app.openapi


ENDPOINTS = (
    Endpoint(
        method="GET", path="/healthz", scope=Scope.PUBLIC, name="isAlive",
        summary="Whether the server answers.", answers=_healthy, result="Health",
    ),
    Endpoint(
        method="GET", path="/readyz", scope=Scope.PUBLIC, name="isReady",
        summary="Whether it can read the database.", answers=_ready, result="Health",
    ),
    Endpoint(
        method="GET", path="/metrics", scope=Scope.READ, name="getMetrics",
        summary="Figures for Prometheus.", reads=_metrics, media=("text/plain",),
    ),
    Endpoint(
        method="POST", path=f"{API}/session", scope=Scope.PUBLIC, name="logIn",
        summary="Trade a token or a one-time code for a cookie.", answers=_log_in, body=LoginBody,
        result="Session", accepted=201, errors=(401,),
    ),
    Endpoint(
        method="GET", path=f"{API}/session", scope=Scope.READ, name="getSession",
        summary="Who asks, and the CSRF token of his cookie.", answers=_who, result="Session",
    ),
    Endpoint(
        method="DELETE", path=f"{API}/session", scope=Scope.READ, name="logOut",
        summary="Forget the cookie.", answers=_log_out, result="Empty",
    ),
    Endpoint(
        method="GET", path=f"{API}/server", scope=Scope.READ, name="getServer",
        summary="The server, and the database's runs by status.", reads=_server, result="Server",
    ),
    Endpoint(
        method="GET", path=f"{API}/openapi.json", scope=Scope.READ, name="getOpenApi",
        summary="This document.", answers=_openapi,
    ),
)  # fmt: skip
