"""Who may do what: tokens, scopes, and the cookies that browsers get for them.

1. A token is 256 random bits in a file that only its owner can read, one a line: ``NAME SCOPE TOKEN``. It is
   made at the first start. Whoever changes the file changes who may enter, at once and without a restart.
2. Scopes are steps: who may operate may read. What a route needs is part of the route (``table``).
3. A browser trades a token, or the one-time code in the fragment of the URL that is printed at the start, for
   a cookie that scripts cannot read. It is signed with its token, so that it ends with it and outlives a
   restart. What is asked with a cookie changes something only together with the CSRF token, which only our
   own page can read.
4. Nothing secret is compared by ``==``, logged, or part of a URL's query.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

import msgspec

from flowctl.errors import UsageError

ENDING = ".tokens"
"""What the name of the file of tokens ends in; it stands beside the database."""

COOKIE = "flowctl_session"
LIFETIME = 12 * 3600
"""Seconds that a cookie is good for."""

CODE_LIFETIME = 600
"""Seconds that the code of a printed URL is good for."""

MAX_BYTES = 64 << 10
"""Bytes of a file of tokens; a larger one is something else."""


class Scope(IntEnum):
    """What somebody may do: each includes those before it. ``PUBLIC`` needs no token, and shows no data."""

    PUBLIC = 0
    READ = 1
    OPERATE = 2
    DEPLOY = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """As files and documents write it."""
        return self.name.lower()


class Grant(msgspec.Struct, frozen=True):
    """Somebody who has shown a token: its name and scope, and, if it came as a cookie, that cookie's CSRF
    token and when it ends, in seconds since the epoch.
    """

    name: str
    scope: Scope
    csrf: str | None = None
    expires: int | None = None


class Token(msgspec.Struct, frozen=True):
    """A line of the file."""

    name: str
    scope: Scope
    text: str


class Access:
    """What is known of tokens, as the file has it now. ``path`` is None for tokens that are in no file."""

    def __init__(
        self, tokens: Iterable[Token], path: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._tokens = {token.name: token for token in tokens}
        self._path = path
        self._seen = _signature(path)
        self._clock = clock
        self._codes: dict[str, tuple[str, float]] = {}

    @classmethod
    def beside(cls, database: str) -> Access:
        """The tokens beside a database; one that may do all is made if there is no file. ``UsageError``."""
        path = database + ENDING
        if not os.path.lexists(path):
            _write(path, [Token("owner", Scope.ADMIN, new_token())])
        return cls(_read(path), path)

    @classmethod
    def in_memory(cls, scopes: Mapping[str, Scope] | None = None) -> Access:
        """New tokens that are in no file."""
        named = scopes or {"owner": Scope.ADMIN}
        return cls(Token(name, scope, new_token()) for name, scope in named.items())

    @property
    def path(self) -> str | None:
        """The file."""
        return self._path

    def tokens(self) -> Mapping[str, Token]:
        """By name, as the file has them now. One that cannot be read admits nobody."""
        if self._path is not None and (seen := _signature(self._path)) != self._seen:
            try:
                self._tokens = {token.name: token for token in _read(self._path)}
            except UsageError:
                self._tokens = {}
            self._seen = seen
        return self._tokens

    def by_token(self, text: str) -> Grant | None:
        """Who has this token; looks at all of them, so that the time it takes tells nothing."""
        given, found = _digest(text), None
        for token in self.tokens().values():
            if hmac.compare_digest(_digest(token.text), given):
                found = Grant(token.name, token.scope)
        return found

    # --- browsers

    def new_code(self) -> str:
        """A code that can be traded for a cookie of the first token, once."""
        code = secrets.token_urlsafe(32)
        first = next(iter(self.tokens()), "")
        self._codes = {_digest(code).hex(): (first, self._clock() + CODE_LIFETIME)}
        return code

    def by_code(self, code: str) -> Grant | None:
        """Who was given this code, if it is still good; afterwards it is not."""
        name, until = self._codes.pop(_digest(code).hex(), ("", 0.0))
        token = self.tokens().get(name)
        return Grant(token.name, token.scope) if token is not None and self._clock() < until else None

    def cookie_for(self, grant: Grant) -> tuple[str, Grant]:
        """A new cookie's value, and the grant that it stands for."""
        token = self.tokens()[grant.name]
        expires = int(self._clock()) + LIFETIME
        claim = f"{expires}.{secrets.token_urlsafe(12)}.{token.name}"
        value = f"{_sign(token, 'cookie', claim)}.{claim}"
        return value, Grant(token.name, token.scope, _sign(token, "csrf", value), expires)

    def by_cookie(self, value: str) -> Grant | None:
        """Who has this cookie."""
        signature, _, claim = value.partition(".")
        expires, _, rest = claim.partition(".")
        token = self.tokens().get(rest.partition(".")[2])
        if token is None or not hmac.compare_digest(
            _sign(token, "cookie", claim).encode(), signature.encode()
        ):
            return None
        until = int(expires)
        if until <= self._clock():
            return None
        return Grant(token.name, token.scope, _sign(token, "csrf", value), until)


def matches(expected: str | None, given: str | None) -> bool:
    """Whether a CSRF token is the one expected."""
    return bool(expected and given and hmac.compare_digest(expected.encode(), given.encode()))


def new_token() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _sign(token: Token, purpose: str, text: str) -> str:
    return hmac.new(_digest(token.text), f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def _signature(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _write(path: str, tokens: Iterable[Token]) -> None:
    lines = "".join(f"{token.name} {token.scope.word} {token.text}\n" for token in tokens)
    text = "# NAME SCOPE TOKEN: who may use `flowctl serve`; scopes are read, operate, deploy and admin\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"the tokens {path} cannot be written: {error.strerror}") from error
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text + lines)
        file.flush()
        os.fsync(descriptor)


def _read(path: str) -> list[Token]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise UsageError(f"the tokens {path} cannot be read: {error.strerror}") from error
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_mode & 0o077:
            raise UsageError(
                f"others than its owner can read the tokens {path}",
                hint=f"chmod 600 {path}, and make new ones",
            )
        lines = file.read(MAX_BYTES).splitlines()
    return [_token(line.split(), path) for line in lines if line.strip() and not line.startswith("#")]


def _token(words: list[str], path: str) -> Token:
    scopes = {scope.word: scope for scope in Scope if scope}
    match words:
        case [name, scope, text] if scope in scopes and len(text) >= 32 and _is_name(name):
            return Token(name, scopes[scope], text)
    raise UsageError(
        f"a line of the tokens {path} is not NAME SCOPE TOKEN",
        hint=f"scopes are {', '.join(scopes)}, and a token has at least 32 characters",
    )


def _is_name(name: str) -> bool:
    return len(name) <= 60 and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
