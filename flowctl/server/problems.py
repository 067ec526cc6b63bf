"""Errors as answers: ``application/problem+json`` (RFC 9457) with the codes of the command line.

``Refused`` are the errors that only HTTP has. Whatever is not one of flowctl's own is ``InternalError``: its
text stays in the log, beside the id that the answer names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.errors import (
    AuthorError,
    Conflict,
    FlowctlError,
    InputError,
    InvalidDocument,
    NotFound,
    PayloadTooLarge,
    RunBusy,
    StorageError,
    safe_text,
)


class Refused(FlowctlError):
    """What HTTP refuses before anybody looks at runs. ``wait``: in how many seconds to come again."""

    wait: float | None = None


class BadRequest(Refused):
    """Not what the route takes."""


class Unauthorized(Refused):
    """No token, or a wrong one."""


class Forbidden(Refused):
    """The token's scope does not include it, or it is turned off."""


class NoSuchRoute(Refused):
    """There is nothing there."""


class MethodNotAllowed(Refused):
    """The route has no such verb."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message, hint=f"it has {allowed}")
        self.allowed = allowed


class TooLate(Refused):
    """The body did not come in time."""


class TooLarge(Refused):
    """A body, or a URL, over the limit."""


class UnsupportedMediaType(Refused):
    """Not JSON."""


class WrongHost(Refused):
    """A name that this server does not go by."""


class TooMany(Refused):
    """Over a rate, or as many as there may be at once."""

    def __init__(self, message: str, *, wait: float = 1.0) -> None:
        super().__init__(message, hint="wait, then try again")
        self.wait = wait


class HeadersTooLarge(Refused):
    """Headers over the limit."""


class Overloaded(Refused):
    """Too much is waiting already."""

    wait = 1.0


STATUS: Mapping[type[FlowctlError], int] = {
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NoSuchRoute: 404,
    NotFound: 404,
    MethodNotAllowed: 405,
    TooLate: 408,
    Conflict: 409,
    RunBusy: 409,
    TooLarge: 413,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    WrongHost: 421,
    AuthorError: 422,
    InputError: 422,
    TooMany: 429,
    HeadersTooLarge: 431,
    Overloaded: 503,
    StorageError: 503,
}
"""The status of an error: that of the first class here which it is of."""


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for what is none of ours."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def problem(error: BaseException, request_id: str) -> dict[str, Any]:
    """The document: ``{type, title, status, detail, code, details, request_id}``."""
    status = status_of(error)
    if status == 500 or not isinstance(error, FlowctlError):
        code, details = "InternalError", dict[str, Any]()
        text = f"this is a mistake in flowctl; the log of the server has more about {request_id}"
    else:
        code, details, text = error.code, dict(error.details), safe_text(error)
    if isinstance(error, InvalidDocument):
        details["errors"] = [found.to_json() for found in error.diagnostics]
    return {
        "type": f"urn:flowctl:error:{code}",
        "title": code,
        "status": status,
        "detail": text,
        "code": code,
        "details": details,
        "request_id": request_id,
    }
