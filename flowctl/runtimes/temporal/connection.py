"""Addresses of Temporal, ``temporal://host:port/namespace?task_queue=Q``, and clients for them.

What an address leaves out comes from where Temporal's own tools look: the variables ``TEMPORAL_ADDRESS``,
``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS…`` and the profile in ``temporal.toml``.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from datetime import timedelta

from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

from flowctl.errors import Unreachable, UsageError

SCHEME = "temporal://"
PORT = 7233
TASK_QUEUE = "flowctl"
ANSWERS_WITHIN = timedelta(seconds=5)

in_use = False
"""Whether this process has had a client: its threads are then there until the end."""

_FORM = "temporal://host:port/namespace?task_queue=NAME"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where runs are on Temporal. ``target`` and ``namespace`` are None if the address leaves them out."""

    target: str | None
    namespace: str | None
    task_queue: str = TASK_QUEUE

    @classmethod
    def parse(cls, url: str) -> Address:
        """From an address. ``UsageError``."""
        parts = urllib.parse.urlsplit(url)
        asked = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        unknown = sorted(set(asked) - {"task_queue"})
        if unknown:
            raise UsageError(f"{url} asks for {', '.join(unknown)}", hint=f"the form is {_FORM}")
        try:
            port = parts.port
        except ValueError:
            raise UsageError(f"{url} has no valid port", hint=f"the form is {_FORM}") from None
        if parts.username is not None or parts.path.count("/") > 1:
            raise UsageError(f"{url} is no address of Temporal", hint=f"the form is {_FORM}")
        host = parts.hostname and (f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
        target = f"{host}:{port or PORT}" if host else None
        namespace = urllib.parse.unquote(parts.path.strip("/")) or None
        return cls(target, namespace, asked.get("task_queue", [TASK_QUEUE])[0] or TASK_QUEUE)


async def connect(address: Address) -> Client:
    """A client, and the certainty that somebody answers and has the namespace. ``Unreachable``,
    ``UsageError``.
    """
    config = _configured(address)
    global in_use
    in_use = True
    try:
        client = await Client.connect(**config)
    except RuntimeError as error:
        raise _unreachable(error, config) from error
    await _look(client)
    return client


def _configured(address: Address) -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"Temporal's own configuration cannot be read: {error}", hint=_CONFIGURED) from error
    target = address.target or config.get("target_host") or f"localhost:{PORT}"
    namespace = address.namespace or config.get("namespace") or "default"
    return config | {"target_host": target, "namespace": namespace}


def _unreachable(error: RuntimeError, config: ClientConnectConfig) -> Unreachable:
    """Why there is no connection. That somebody answered, and refused, only the text of the error says."""
    found = _REFUSED.search(str(error))
    status = getattr(RPCStatusCode, _WORDS.sub("_", found[1]).upper(), None) if found is not None else None
    if status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
        said, hint = _REFUSALS[status]
        return Unreachable(said.format(namespace=config["namespace"]), hint=hint)
    target = config["target_host"]
    if config.get("tls") or (config.get("tls") is None and config.get("api_key")):
        return Unreachable(
            f"no Temporal server answers with TLS at {target}",
            hint="an API key brings TLS along; TEMPORAL_TLS=false is for a server without it",
        )
    return Unreachable(
        f"no Temporal server answers at {target}", hint="`flowctl temporal dev` starts one here"
    )


_REFUSED = re.compile(r"Status \{ code: (\w+)")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")

_CONFIGURED = "look at the variables TEMPORAL_… and at temporal.toml"


async def _look(client: Client) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request, timeout=ANSWERS_WITHIN)
    except RPCError as error:
        raise refused(error, client) from error


def refused(error: RPCError, client: Client) -> Unreachable:
    """What a refusal of the server means, in one line."""
    said, hint = _REFUSALS.get(error.status, (f"refused: {error.message}", None))
    return Unreachable(said.format(namespace=client.namespace), hint=hint)


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
    RPCStatusCode.UNAVAILABLE: ("Temporal does not answer", "try again when the server is up"),
    RPCStatusCode.DEADLINE_EXCEEDED: ("Temporal does not answer", "try again when the server is up"),
}
