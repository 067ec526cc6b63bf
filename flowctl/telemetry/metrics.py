"""Metrics: how many runs and steps there were, what became of them, how long they took, and what waits.

Counted is what this process has recorded; whoever collects adds up. ``flowctl.queue_depth`` is of a journal,
as it is when it is looked at: whoever collects takes the highest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from flowctl.errors import FlowctlError
from flowctl.journal.opening import connect
from flowctl.wall_clock import wall_clock

SCOPE = "flowctl"

COUNTED: Mapping[str, str] = {
    "run.started": "flowctl.runs.started",
    "run.completed": "flowctl.runs.completed",
    "run.failed": "flowctl.runs.failed",
    "run.compensation_failed": "flowctl.runs.failed",
    "run.compensated": "flowctl.runs.compensated",
    "run.cancelled": "flowctl.runs.cancelled",
    "run.terminated": "flowctl.runs.cancelled",
    "step.started": "flowctl.steps.started",
    "step.waiting": "flowctl.steps.started",
    "step.completed": "flowctl.steps.completed",
    "step.failed": "flowctl.steps.failed",
    "step.compensated": "flowctl.steps.compensated",
    "step.compensation_failed": "flowctl.steps.failed",
    "step.retrying": "flowctl.steps.retries",
}
"""What counts as what: the type of an event, without what all begin with, and the counter."""

IN_MEMORY = "memory:"
ENDS_OF_RUNS = frozenset(name for name in COUNTED if name.startswith("run.")) - {"run.started"}
ENDS_OF_STEPS = frozenset(
    {"step.completed", "step.failed", "step.compensated", "step.compensation_failed", "step.cancelled"}
)


class Metrics:
    """The instruments of one process."""

    def __init__(self, meters: MeterProvider) -> None:
        meter = meters.get_meter(SCOPE)
        self._counters = {
            name: meter.create_counter(name, unit="1") for name in dict.fromkeys(COUNTED.values())
        }
        self._runs = meter.create_histogram("flowctl.run.duration", unit="s")
        self._steps = meter.create_histogram("flowctl.step.duration", unit="s")
        meter.create_observable_gauge("flowctl.queue_depth", [self._queue_depth], unit="1")
        self._due: dict[str, Callable[[], int]] = {}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Count it."""
        kind, data = event["type"].removeprefix("dev.flowctl."), event["data"]
        about = {"flowctl.workflow": data["workflow"]}
        if kind.startswith("step."):
            about["flowctl.step"] = data["name"] or data["verb"]
        again = kind == "step.started" and data.get("attempt", 0) > 1
        if kind in COUNTED and not again:
            self._counters[COUNTED[kind]].add(1, about)
        if kind in ENDS_OF_RUNS and "started_at" in data:
            self._runs.record(_seconds(event), about | {"flowctl.status": kind.removeprefix("run.")})
        elif kind in ENDS_OF_STEPS:
            self._steps.record(_seconds(event), about | {"flowctl.status": kind.removeprefix("step.")})

    def watch(self, address: str, due: Callable[[], int] | None = None) -> None:
        """Count what waits there: by asking ``due``, or else the journal at that address."""
        if address != IN_MEMORY:  # of which nobody else can see anything
            self._due[address] = due or partial(_due_in, address)

    def _queue_depth(self, options: CallbackOptions) -> Iterable[Observation]:
        """In a thread of the SDK's, with a connection of its own: nobody waits for it."""
        for due in list(self._due.values()):
            with contextlib.suppress(FlowctlError):
                yield Observation(due())


def _due_in(url: str) -> int:
    with contextlib.closing(connect(url, read_only=True)) as journal:
        return journal.due(wall_clock())


def _seconds(event: Mapping[str, Any]) -> float:
    begun, ended = event["data"]["started_at"], event["time"]
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
