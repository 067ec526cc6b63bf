"""What every request must get past, in this order, before a route sees it.

1. It is not too large, and asks for a name that we go by: a page of somebody else's, whose name was made to
   lead here, still sends its own (DNS rebinding).
2. Whoever asks shows a token or a cookie, and not too often. Only routes that say so are public; an API path
   that leads nowhere is no exception.
3. The token's scope includes the route.
4. What changes something, or opens a socket, does not come from another site's page, and with a cookie it has
   its CSRF token. What is public (to sign in anew) is not asked with the cookie, only beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from flowctl.server.access import COOKIE, Access, Grant, Scope, matches
from flowctl.server.limits import Limits, Rate
from flowctl.server.problems import (
    Forbidden,
    HeadersTooLarge,
    TooLarge,
    TooMany,
    Unauthorized,
    WrongHost,
)
from flowctl.server.table import UNSAFE, Endpoint

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

CSRF = "x-csrf-token"

_SAME_SITE = frozenset({"same-origin", "none"})
_PUBLIC = Grant("nobody", Scope.PUBLIC)


class Gate:
    """``hosts`` are names with or without a port; one without goes with any."""

    def __init__(self, access: Access, hosts: Collection[str], limits: Limits) -> None:
        self._access = access
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limits = limits
        self._rate = Rate(limits.rate, limits.burst)
        self.failures = Rate(limits.failures / 60, limits.failures)

    def check_size(self, target: int, headers: int) -> None:
        """``TooLarge``, ``HeadersTooLarge``: bytes of the URL and of the headers."""
        if target > self._limits.url:
            raise TooLarge(f"the URL is longer than {self._limits.url} bytes")
        if headers > self._limits.headers:
            raise HeadersTooLarge(f"the headers are longer than {self._limits.headers} bytes")

    def check_host(self, headers: Mapping[str, str]) -> None:
        """``WrongHost``."""
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if host not in self._hosts and name not in self._hosts:
            raise WrongHost("this server does not go by that name", hint="start it with --host-name NAME")

    def identify(self, endpoint: Endpoint | None, headers: Mapping[str, str], peer: str) -> Grant:
        """Who asks. ``Unauthorized``, ``TooMany``."""
        grant = self._grant(headers)
        if grant is None:
            if endpoint is not None and endpoint.scope is Scope.PUBLIC:
                return _PUBLIC
            if self._shows_something(headers) and self.failures.wait(peer):
                raise TooMany("too many wrong tokens came from there", wait=60.0)
            raise Unauthorized("this takes a token", hint="send the header Authorization: Bearer TOKEN")
        wait = self._rate.wait(f"{grant.name}@{peer}")
        if wait:
            raise TooMany("that is too many requests at once", wait=wait)
        return grant

    def is_still_good(self, grant: Grant, now: float) -> bool:
        """Whether what somebody has shown when a stream began still holds."""
        token = self._access.tokens().get(grant.name)
        return (
            token is not None
            and token.scope >= grant.scope
            and (grant.expires is None or now < grant.expires)
        )

    def authorize(self, endpoint: Endpoint, grant: Grant, headers: Mapping[str, str]) -> None:
        """``Forbidden``."""
        if grant.scope < endpoint.scope:
            raise Forbidden(
                f"the token {grant.name} has scope {grant.scope.word}",
                hint=f"this takes {endpoint.scope.word}",
            )
        if endpoint.method not in UNSAFE:
            return
        self._check_origin(headers)
        by_cookie = grant.csrf is not None and endpoint.scope is not Scope.PUBLIC
        if by_cookie and endpoint.method != "WS" and not matches(grant.csrf, headers.get(CSRF)):
            raise Forbidden("the header X-CSRF-Token is not that of the session")
        if by_cookie and endpoint.method == "WS" and "origin" not in headers:
            raise Forbidden("a browser says where a socket's page is from")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and not _is_of(origin, headers.get("host", "")):
            raise Forbidden("that page is from another site")
        if site is not None and site not in _SAME_SITE:
            raise Forbidden("that page is from another site")

    def _grant(self, headers: Mapping[str, str]) -> Grant | None:
        given = headers.get("authorization")
        if given is not None:
            kind, _, token = given.partition(" ")
            return self._access.by_token(token.strip()) if kind.lower() == "bearer" else None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self._access.by_cookie(cookie.value) if cookie is not None else None

    def _shows_something(self, headers: Mapping[str, str]) -> bool:
        return "authorization" in headers or COOKIE in headers.get("cookie", "")


def _is_of(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and bool(host)
