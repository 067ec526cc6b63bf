"""What it means that Temporal cannot be reached, or refuses: one line, and what to do.

Some refusals the SDK hands over as errors with a status, others (those of a connection, and those that end a
worker) only as text. It also logs them, with tracebacks; as they are told anyway, ``Told`` drops that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from temporalio.service import RPCError, RPCStatusCode

from flowctl.errors import Unreachable

_NO_ANSWER = ("Temporal does not answer", "try again when the server is up")

_REFUSALS = {
    RPCStatusCode.NOT_FOUND: (
        "Temporal has no namespace {namespace}",
        "name another one in the address, or create it with Temporal's own tools",
    ),
    RPCStatusCode.UNAUTHENTICATED: (
        "Temporal does not accept the API key or certificate",
        "it may have expired: set TEMPORAL_API_KEY anew",
    ),
    RPCStatusCode.PERMISSION_DENIED: (
        "Temporal does not let this API key or certificate use the namespace {namespace}",
        "set TEMPORAL_API_KEY, or name another namespace in the address",
    ),
    RPCStatusCode.UNAVAILABLE: _NO_ANSWER,
    RPCStatusCode.DEADLINE_EXCEEDED: _NO_ANSWER,
}

_AS_TEXT = {
    "Unauthenticated": RPCStatusCode.UNAUTHENTICATED,
    "PermissionDenied": RPCStatusCode.PERMISSION_DENIED,
}
"""Those that are told wherever they come from."""

_STATUS = re.compile(r"Status \{ code: (\w+)")


def refused(error: RPCError, namespace: str) -> Unreachable:
    """What a refusal of the server means."""
    said, hint = _REFUSALS.get(error.status, (f"refused: {error.message}", None))
    return Unreachable(said.format(namespace=namespace), hint=hint)


def refused_by_text(error: BaseException, namespace: str) -> Unreachable | None:
    """The same of an error that has no status; None if it is another one."""
    for status in filter(None, map(_status_in, _with_causes(error))):
        said, hint = _REFUSALS[status]
        return Unreachable(said.format(namespace=namespace), hint=hint)
    return None


def unreachable(error: RuntimeError, config: Mapping[str, Any]) -> Unreachable:
    """Why there is no connection of this configuration (``ClientConnectConfig``)."""
    refusal = refused_by_text(error, config["namespace"])
    if refusal is not None:
        return refusal
    target = config["target_host"]
    if config.get("tls", "api_key" in config):
        return Unreachable(
            f"no Temporal server answers with TLS at {target}",
            hint="an API key brings TLS along; TEMPORAL_TLS=false is for a server without it",
        )
    return Unreachable(
        f"no Temporal server answers at {target}", hint="`flowctl temporal dev` starts one here"
    )


def _with_causes(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__


def _status_in(text: str) -> RPCStatusCode | None:
    found = _STATUS.search(text)
    return _AS_TEXT.get(found[1]) if found is not None else None


class Told(logging.Filter):
    """Drops what is told as an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is news."""
        error = record.exc_info[1] if record.exc_info else None
        return not any(map(_status_in, [record.getMessage(), *_with_causes(error)]))
