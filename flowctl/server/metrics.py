"""``/metrics``: what Prometheus reads, in its text format.

How many runs there are comes from the journal whenever somebody asks; what has happened comes from the
watcher and counts from the start of this process. What an author or client chose is in labels, escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from flowctl.server.live import BUCKETS, Tally

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]


def exposition(
    statistics: Mapping[str, Any],
    tally: Tally,
    server: Mapping[str, float],
    requests: Counter[tuple[str, str]],
) -> str:
    """The whole text. ``server`` are gauges of this process by name, ``requests`` counts by method and
    status.
    """
    runs = [("", {"workflow": flow, "status": status}, n) for flow, status, n in statistics["runs"]]
    ended = [("", {"workflow": flow, "status": status}, n) for (flow, status), n in tally.ended.items()]
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        ("flowctl_runs", "gauge", "Runs in the database, by status.", runs),
        ("flowctl_runs_due", "gauge", "Runs that wait for a worker.", [("", {}, statistics["due"])]),
        ("flowctl_workers", "gauge", "Live workers.", [("", {}, statistics["workers"])]),
        ("flowctl_database_bytes", "gauge", "Size of the database and its log.",
         [("", {}, statistics["size"])]),
        ("flowctl_runs_started_total", "counter", "Runs accepted since this server was started.",
         [("", {"workflow": flow}, n) for flow, n in tally.started.items()]),
        ("flowctl_runs_ended_total", "counter", "Runs that ended since this server was started.", ended),
        ("flowctl_run_duration_seconds", "histogram", "How long runs took that ended since then.",
         _histogram(tally)),
        ("flowctl_http_requests_total", "counter", "Requests answered.",
         [("", {"method": method, "status": status}, n) for (method, status), n in requests.items()]),
        *((f"flowctl_server_{name}", "gauge", "Of this server.", [("", {}, number)])
          for name, number in server.items()),
    ]  # fmt: skip
    return "".join(_family(*family) for family in families)


def _histogram(tally: Tally) -> Iterator[Sample]:
    for workflow, counts in tally.buckets.items():
        bounds = [*map(str, BUCKETS), "+Inf"]
        for bound, count in zip(bounds, accumulate(counts), strict=True):
            yield "_bucket", {"workflow": workflow, "le": bound}, count
        yield "_sum", {"workflow": workflow}, tally.seconds[workflow]
        yield "_count", {"workflow": workflow}, sum(counts)


def _family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{suffix}{_labels(labels)} {value}" for suffix, labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
