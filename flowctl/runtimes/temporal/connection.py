"""Addresses of Temporal, ``temporal://host:port/namespace?task_queue=Q``, and clients for them.

What an address leaves out comes from where Temporal's own tools look: the variables ``TEMPORAL_ADDRESS``,
``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS…`` and the profile in ``temporal.toml``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import urllib.parse
from datetime import timedelta

from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError

from flowctl.errors import UsageError
from flowctl.runtimes.temporal import failing
from flowctl.runtimes.temporal.refusals import Told, refused, unreachable

SCHEME = "temporal://"
PORT = 7233
TASK_QUEUE = "flowctl"
ANSWERS_WITHIN = timedelta(seconds=5)
LOGGER = "temporalio"

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
        client = await Client.connect(**config, runtime=runtime())
    except RuntimeError as error:
        raise unreachable(error, config) from error
    await _look(client)
    return client


def _configured(address: Address) -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(
            f"Temporal's own configuration cannot be read: {error}",
            hint="see the variables TEMPORAL_… and temporal.toml",
        ) from error
    config["target_host"] = address.target or config.get("target_host") or f"localhost:{PORT}"
    config["namespace"] = address.namespace or config.get("namespace") or "default"
    return config


@functools.cache
def runtime() -> Runtime:
    """The threads of Temporal's SDK. What they log goes to Python's log; by themselves they would write to
    standard output.
    """
    for name in (LOGGER, f"{LOGGER}.worker._worker"):
        logging.getLogger(name).addFilter(Told())
    logging.getLogger(LOGGER).addFilter(failing.SaidInPython())
    logging.getLogger(failing.LOGGER).addFilter(failing.OneLine())
    forwarding = LogForwardingConfig(logging.getLogger(LOGGER))
    said = TelemetryFilter(core_level="WARN", other_level="ERROR").formatted()
    said += ",temporalio_common::payload_limits=ERROR"  # how large a run may be that moves, ``begin`` says
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(said, forwarding)))


async def _look(client: Client) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request, timeout=ANSWERS_WITHIN)
    except RPCError as error:
        raise refused(error, client.namespace) from error


def backlog(address: Address) -> int:
    """How many runs are due and wait for a worker, as the server reckons. Asked with a client, and on a loop,
    of its own, from any thread. ``Unreachable``.
    """
    return asyncio.run(_backlog(address))


async def _backlog(address: Address) -> int:
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    client = await connect(address)
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=address.task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        report_stats=True,
    )
    try:
        found = await client.workflow_service.describe_task_queue(request, timeout=ANSWERS_WITHIN)
    except RPCError as error:
        raise refused(error, client.namespace) from error
    return found.stats.approximate_backlog_count
