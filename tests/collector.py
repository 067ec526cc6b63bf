"""A collector of OpenTelemetry: a server that takes OTLP over HTTP and keeps what came."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What was collected: ``spans`` by id; the latest ``points`` of metrics by name, and of these by process
    and attributes; ``raw``, the bodies of the requests.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: dict[str, Any] = {}
        self.points: dict[str, dict[Any, Any]] = {}
        self.services: set[str] = set()
        self.raw: list[bytes] = []

    def take(self, path: str, body: bytes) -> None:
        self.raw.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services |= {
                    a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                }
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        assert span.span_id.hex() not in self.spans, f"{span.name} came twice"
                        self.spans[span.span_id.hex()] = span
        else:
            assert path == "/v1/metrics"
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                whose = metrics.resource.SerializeToString()
                for scoped in metrics.scope_metrics:
                    for metric in scoped.metrics:
                        points = getattr(metric, str(metric.WhichOneof("data"))).data_points
                        for point in points:
                            about = tuple(sorted((a.key, a.value.string_value) for a in point.attributes))
                            self.points.setdefault(metric.name, {})[whose, about] = point

    def tree(self) -> list[str]:
        """The spans, indented by what they are inside of, in order of their beginning. ``?`` is before those
        that are inside of something that never came.
        """
        lines: list[str] = []

        def show(above: str, depth: int) -> None:
            inside = [span for span in self.spans.values() if span.parent_span_id.hex() == above]
            for span in sorted(inside, key=lambda span: (span.start_time_unix_nano, span.name)):
                lines.append("  " * depth + span.name)
                show(span.span_id.hex(), depth + 1)

        show("", 0)
        known = {"", *self.spans}
        return lines + [
            f"? {each.name}" for each in self.spans.values() if each.parent_span_id.hex() not in known
        ]

    def count(self, metric: str) -> int:
        """What a counter has come to, of all processes; of durations, how many there were."""
        points = self.points.get(metric, {}).values()
        return sum(int(point.count if hasattr(point, "count") else point.as_int) for point in points)


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
