"""The workflow: one class for all documents, because Temporal looks a type up and this one answers to any."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, get_args

from temporalio import workflow
from temporalio.common import RawValue

from flowctl.journal import MessageKind
from flowctl.runtimes.temporal.begin import from_chunks
from flowctl.runtimes.temporal.host import TemporalHost
from flowctl.status import status_document

CANCELLED_BY_TEMPORAL = "cancelled on Temporal"

REQUESTS: frozenset[str] = frozenset(get_args(MessageKind)) - {"signal"}
"""Requests come as signals named ``_cancel``, ``_pause`` and so on."""


_watched: list[list[TemporalHost]] = []


@contextlib.contextmanager
def hosts() -> Iterator[list[TemporalHost]]:
    """The hosts of the runs that are taken up, or replayed, in this process meanwhile."""
    found: list[TemporalHost] = []
    _watched.append(found)
    try:
        yield found
    finally:
        _watched.remove(found)


@workflow.defn(dynamic=True)
class FlowctlRun:
    """A chain of runs."""

    hosted_by: ClassVar[type[TemporalHost]] = TemporalHost

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        converter = workflow.payload_converter()
        chunks = [converter.from_payload(arg.payload, bytes) for arg in args]
        self.host = self.hosted_by(from_chunks(chunks))
        for watched in _watched:
            watched.append(self.host)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """Drive it to its end, or to where it continues as new."""
        self.host.take_up()
        while not self.host.over:
            try:
                await workflow.wait_condition(lambda: self.host.over)
            except asyncio.CancelledError:
                self.host.hear("cancel", "cancel", {"data": {"reason": CANCELLED_BY_TEMPORAL}})
        return self.host.result()

    @workflow.signal(dynamic=True)
    def hear(self, name: str, args: Sequence[RawValue]) -> None:
        """A signal of the document, or a request: ``{payload or data, principal, dedup_id}``. What other programs
        send is the payload itself.
        """
        converter = workflow.payload_converter()
        about = converter.from_payload(args[0].payload) if args else None
        kind = name.removeprefix("_")
        if name != kind:
            if kind in REQUESTS and isinstance(about, Mapping):
                self.host.hear(kind, kind, about)  # type: ignore[arg-type]
            return
        ours = isinstance(about, Mapping) and "flowctl" in about
        self.host.hear("signal", name, about if ours else {"payload": about})  # type: ignore[arg-type]

    @workflow.query
    def status(self) -> dict[str, Any]:
        """The status document."""
        return status_document(self.host.run(), self.host.journal.entries(self.host.run_id))
