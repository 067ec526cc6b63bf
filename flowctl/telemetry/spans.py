"""Spans: a run, in it its steps, in these their attempts. Steps of a block are inside of the block's.

A span is made when it is over, by whoever recorded that, with the times of the record and an id that follows
from the run and the path (``flowctl.trace``). So a run that several processes had a hand in is one trace with
no span twice, and nothing needs to be remembered from one event to the next. A child's run is inside of the
attempt that called it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from flowctl.activities import Attempt
from flowctl.path import chain_number
from flowctl.trace import attempt_span, run_span, step_span

SCOPE = "flowctl"

WELL = frozenset({"completed", "compensated", "continued", "cancelled", "terminated"})
"""Ends of runs that are no errors: what failed and was undone is as it should be."""

_ENDED = re.compile(
    r"dev\.flowctl\.run\.(completed|compensated|compensation_failed|failed|cancelled|terminated|continued)\Z"
)
_STEP = re.compile(
    r"dev\.flowctl\.step\.(completed|failed|cancelled|retrying|compensated|compensation_failed)\Z"
)
_INDEX = re.compile(r"\[\d+\]")


class Ids(IdGenerator):
    """Ids by chance, but for spans that are told theirs, one at a time in each thread."""

    def __init__(self) -> None:
        self._chance = RandomIdGenerator()
        self._told = threading.local()

    def tell(self, trace_id: int, span_id: int) -> None:
        """What the next span of this thread is to have."""
        self._told.ids = (trace_id, span_id)

    def generate_trace_id(self) -> int:
        """See ``IdGenerator``."""
        ids = getattr(self._told, "ids", None)
        return self._chance.generate_trace_id() if ids is None else int(ids[0])

    def generate_span_id(self) -> int:
        """See ``IdGenerator``."""
        ids, self._told.ids = getattr(self._told, "ids", None), None
        return self._chance.generate_span_id() if ids is None else int(ids[1])


class Spans:
    """Makes spans of events."""

    def __init__(self, tracers: TracerProvider) -> None:
        self._tracer = tracers.get_tracer(SCOPE)
        self._sampler = tracers.sampler
        self._ids = tracers.id_generator

    def hear(self, event: Mapping[str, Any]) -> None:
        """Make the spans that are over with it."""
        data = event["data"]
        if data["trace_id"] is None or "started_at" not in data:
            return
        if ended := _ENDED.match(event["type"]):
            self._run(event, data, ended[1])
        elif ended := _STEP.match(event["type"]):
            self._attempt(event, data)
            if ended[1] != "retrying":
                self._step(event, data, ended[1])

    def context(self, trace_id: str, span_id: str) -> context.Context:
        """To be inside of that span, which may be another process's."""
        trace_number = int(trace_id, 16)
        decision = self._sampler.should_sample(None, trace_number, SCOPE).decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        place = SpanContext(trace_number, int(span_id, 16), is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(place), context.Context())

    def _run(self, event: Mapping[str, Any], data: Mapping[str, Any], status: str) -> None:
        attributes = {"flowctl.status": status, "flowctl.workflow_id": data["workflow_id"]}
        error = data.get("error") if status not in WELL else None
        span, above = run_span(data["run_id"]), _above(data)
        self._make(f"run {data['workflow']}", span, above, data["started_at"], event, attributes, error)

    def _step(self, event: Mapping[str, Any], data: Mapping[str, Any], status: str) -> None:
        run_id, path, block = data["run_id"], data["path"], data["block"]
        generation = data.get("generation", 0)
        above = step_span(run_id, block, generation) if block is not None else run_span(run_id)
        word, subject = ("undo", path.removesuffix(".undo")) if path.endswith(".undo") else ("step", path)
        attributes = {"flowctl.status": status, "flowctl.verb": data["verb"]}
        span, name = step_span(run_id, path, generation), f"{word} {_INDEX.sub('', subject)}"
        self._make(name, span, above, data["started_at"], event, attributes, data.get("error"))

    def _attempt(self, event: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        number = data.get("attempt")
        if not number:  # a wait, a block: there is nothing to try
            return
        run_id, path, generation = data["run_id"], data["path"], data.get("generation", 0)
        span, above = attempt_span(run_id, path, number, generation), step_span(run_id, path, generation)
        name, attributes = f"attempt {data['name']}", {"flowctl.attempt": number}
        self._make(name, span, above, data["attempt_started_at"], event, attributes, data.get("error"))

    def _make(
        self,
        name: str,
        span_id: str,
        above: str | None,
        started_at: str,
        event: Mapping[str, Any],
        attributes: Mapping[str, Any],
        error: Mapping[str, Any] | None,
    ) -> None:
        data = event["data"]
        about = {
            "flowctl.run_id": data["run_id"],
            "flowctl.workflow": data["workflow"],
            "flowctl.version": data["version"],
        }
        if "path" in data:
            about["flowctl.path"] = data["path"]
        parent = self.context(data["trace_id"], above) if above is not None else context.Context()
        if isinstance(self._ids, Ids):
            self._ids.tell(int(data["trace_id"], 16), int(span_id, 16))
        span = self._tracer.start_span(
            name, parent, attributes={**about, **attributes}, start_time=_nanoseconds(started_at)
        )
        if error is not None:
            span.set_attribute("error.type", error["type"])
            span.set_status(Status(StatusCode.ERROR, f"{error['type']}: {error['message']}"))
        span.end(_nanoseconds(event["time"]))


@contextlib.contextmanager
def inside(spans: Spans, attempt: Attempt) -> Iterator[None]:
    """Be inside of the span of an attempt, in this thread or task."""
    if attempt.trace_id is None:
        yield
        return
    span = attempt_span(attempt.run_id, attempt.path, attempt.attempt, attempt.generation)
    token = context.attach(spans.context(attempt.trace_id, span))
    try:
        yield
    finally:
        context.detach(token)


def _above(data: Mapping[str, Any]) -> str | None:
    """What a run is inside of: the attempt that called it; what undoes a child, of its parent; what goes on
    with a run, of the first of its chain.
    """
    run_id, parent = data["run_id"], data["parent_id"]
    if parent is None:
        return run_span(data["workflow_id"]) if chain_number(run_id) > 1 else None
    called = run_id.removeprefix(f"{parent}/")
    if called == run_id or "~" in called:
        return run_span(parent)
    path, _, number = called.partition("#")
    return attempt_span(parent, path, int(number or 1))


def _nanoseconds(moment: str) -> int:
    """Of an RFC 3339 time in UTC, to the millisecond."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000) * 1_000_000
