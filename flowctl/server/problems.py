"""Errors as answers: ``application/problem+json`` (RFC 9457) with the codes of the command line.

``Refused`` are the errors that only HTTP has. Whatever is not one of flowctl's own is ``InternalError``: its
text stays in the log, beside the id that the answer names.
"""

from __future__ import annotations

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

STATUS: tuple[tuple[type[FlowctlError], int], ...] = (
    (PayloadTooLarge, 413),
    (AuthorError, 422),
    (InputError, 422),
    (NotFound, 404),
    (Conflict, 409),
    (RunBusy, 409),
    (StorageError, 503),
)
"""The status of an error: that of the first class which it is of."""


class Refused(FlowctlError):
    """What HTTP refuses before anybody looks at runs."""

    status = 400
    wait: float | None = None


class BadRequest(Refused):
    """Not what the route takes."""


class Unauthorized(Refused):
    """No token, or a wrong one."""

    status = 401


class Forbidden(Refused):
    """The token's scope does not include it, or it is turned off."""

    status = 403


class NoSuchRoute(Refused):
    """There is nothing there."""

    status = 404


class MethodNotAllowed(Refused):
    """The route has no such verb."""

    status = 405

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message, hint=f"it has {allowed}")
        self.allowed = allowed


class TooLate(Refused):
    """The body did not come in time."""

    status = 408


class TooLarge(Refused):
    """A body, or a URL, over the limit."""

    status = 413


class UnsupportedMediaType(Refused):
    """Not JSON."""

    status = 415


class WrongHost(Refused):
    """A name that this server does not go by."""

    status = 421


class TooMany(Refused):
    """Over a rate, or as many as there may be at once."""

    status = 429

    def __init__(self, message: str, *, wait: float = 1.0) -> None:
        super().__init__(message, hint="wait, then try again")
        self.wait = wait


class HeadersTooLarge(Refused):
    """Headers over the limit."""

    status = 431


class Overloaded(Refused):
    """Too much is waiting already."""

    status = 503
    wait = 1.0


def status_of(error: BaseException) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


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
