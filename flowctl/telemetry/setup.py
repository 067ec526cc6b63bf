"""The providers of this process, which export by OTLP over HTTP, as the SDK's variables say.

Whatever providers the application has set before are left alone: activities then use those, and find
themselves in the right trace all the same.

A collector that is away costs nobody anything: what cannot be sent is dropped, who leaves waits ``PATIENCE``,
and of all that the SDK has to say of it, a line is shown now and then.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from typing import NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from flowctl.telemetry.spans import Ids

NONE = "none"
"""What ``OTEL_TRACES_EXPORTER`` and ``OTEL_METRICS_EXPORTER`` say if there is to be none."""

PATIENCE = 3.0
"""Seconds that whoever leaves waits for the last to be sent."""

QUIET = 300.0
"""Seconds between two complaints."""

log = logging.getLogger("flowctl.telemetry")


class Providers(NamedTuple):
    """What makes spans and instruments."""

    tracers: TracerProvider
    meters: MeterProvider

    def flush(self) -> None:
        """Export what there is, if that does not take too long."""
        both = [
            threading.Thread(target=provider.force_flush, daemon=True)
            for provider in (self.tracers, self.meters)
        ]
        until = time.monotonic() + PATIENCE
        for each in both:
            each.start()
        for each in both:
            each.join(max(0.0, until - time.monotonic()))


def provide() -> Providers:
    """Make them, and let activities find them too."""
    complaints = logging.getLogger("opentelemetry.exporter")
    complaints.propagate = False
    complaints.addHandler(_Complaints())
    named = _resource()
    tracers = TracerProvider(resource=named, id_generator=Ids(), shutdown_on_exit=False)
    if _wanted("TRACES"):
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if _wanted("METRICS") else []
    meters = MeterProvider(readers, resource=named, shutdown_on_exit=False)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(meters)
    return Providers(tracers, meters)


def _resource() -> Resource:
    """What the variables say, and else who we are: counters of two processes must not be taken for one's."""
    named = Resource.create()
    ours: dict[str, str] = {}
    if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours[SERVICE_NAME] = "flowctl"
    if SERVICE_INSTANCE_ID not in named.attributes:
        ours[SERVICE_INSTANCE_ID] = str(uuid.uuid4())
    return named.merge(Resource(ours))


class _Complaints(logging.Handler):
    """What the exporters say in many lines, said in one, now and then."""

    _said = -QUIET

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if record.levelno >= logging.WARNING and now >= self._said + QUIET:
            self._said = now
            log.warning("telemetry does not arrive, and is dropped meanwhile: %.200s", record.getMessage())


def _wanted(what: str) -> bool:
    return os.environ.get(f"OTEL_{what}_EXPORTER") != NONE
