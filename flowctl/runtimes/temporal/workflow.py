"""The workflow: one class for all documents, because Temporal looks a type up and this one answers to any."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, get_args

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.worker._workflow import _WorkflowWorker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from flowctl.document import json_schema
from flowctl.journal import MessageKind
from flowctl.runtimes.temporal.begin import from_chunks
from flowctl.runtimes.temporal.host import TemporalHost
from flowctl.status import status_document

CANCELLED_BY_TEMPORAL = "cancelled on Temporal"

REQUESTS: frozenset[str] = frozenset(get_args(MessageKind)) - {"signal"}
"""Requests come as signals named ``_cancel``, ``_pause`` and so on."""


PURE = (
    "flowctl",
    "msgspec",
    "re2",
    "jsonschema",
    "jsonschema_specifications",
    "referencing",
    "attr",
    "attrs",
)
"""Modules that the sandbox does not load anew for each run: they keep nothing between runs, and the
interpreter knows no clock, no chance and no loop (``tests/test_layering.py`` asserts it).
"""


LONGEST = 60.0
"""Seconds that one workflow task may take before Temporal's library takes it for a deadlock. Its own two are
too few to read a document of ten thousand steps, or to take up a run that has made as many."""

_WorkflowWorker._deadlock_timeout_seconds = property(lambda worker: LONGEST, lambda worker, seconds: None)  # type: ignore[assignment]
"""There is no option for it (1.35), neither of workers nor of replayers: ``debug_mode`` lifts the limit, but
runs all tasks on the worker's own loop, one after the other. ``tests/temporal/test_slow_tasks.py`` fails if
this has no effect any more.
"""


def sandbox() -> SandboxedWorkflowRunner:
    """Temporal's own sandbox, which refuses what would not be replayed alike."""
    json_schema.prepare()
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PURE))


class Watched(NamedTuple):
    """A host, of which Temporal run, and to which queue its worker listens."""

    workflow_id: str
    temporal_run: str
    task_queue: str
    host: TemporalHost


_watches: dict[object, list[Watched]] = {}


@contextlib.contextmanager
def hosts() -> Iterator[list[Watched]]:
    """The hosts of the runs that are taken up, or replayed, in this process meanwhile."""
    found: list[Watched] = []
    watch = object()
    _watches[watch] = found
    try:
        yield found
    finally:
        del _watches[watch]


@workflow.defn(dynamic=True)
class FlowctlRun:
    """A chain of runs."""

    hosted_by: ClassVar[type[TemporalHost]] = TemporalHost

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        converter = workflow.payload_converter()
        chunks = [converter.from_payload(arg.payload, bytes) for arg in args]
        self.host = self.hosted_by(from_chunks(chunks))
        self._cancelled = False
        info = workflow.info()
        for found in list(_watches.values()):
            found.append(Watched(info.workflow_id, info.run_id, info.task_queue, self.host))

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """Drive it to its end, or to where it continues as new."""
        self.host.take_up()
        while not self.host.over:
            try:
                await workflow.wait_condition(lambda: self.host.over)
            except asyncio.CancelledError:
                if self._cancelled or workflow.cancellation_reason() is None:
                    self.host.put_aside()
                    raise
                self._cancelled = True
                self.host.hear("cancel", "cancel", {"data": {"reason": CANCELLED_BY_TEMPORAL}})
        return self.host.result()

    @workflow.signal(dynamic=True)
    def hear(self, name: str, args: Sequence[RawValue]) -> None:
        """A signal of the document, or a request: ``{payload or data, principal, dedup_id}``. What other
        programs send is the payload itself.
        """
        try:
            about = workflow.payload_converter().from_payload(args[0].payload) if args else None
        except Exception:  # whatever converters raise for what others have written
            self.host.refuse(name)
            return
        kind = name.removeprefix("_")
        if name == kind:
            ours = isinstance(about, Mapping) and "flowctl" in about
            self.host.hear("signal", name, about if ours else {"payload": about})
        elif kind in REQUESTS:
            self.host.hear(kind, kind, about)  # type: ignore[arg-type]

    @workflow.query
    def status(self) -> dict[str, Any]:
        """The status document."""
        return status_document(self.host.run(), self.host.journal.entries(self.host.run_id))
