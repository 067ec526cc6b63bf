"""What happens to a run from outside, and when: signals, cancellation, lost workers, and what people do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.runtimes.operations import Operations

OPERATIONS = frozenset({"pause", "unpause", "terminate", "retry"})
"""What people do to a run besides: events of that name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something from outside, ``at`` milliseconds after the start. ``kind`` is ``signal``, ``cancel``,
    ``lose_worker``, or one of ``OPERATIONS``.
    """

    at: int
    kind: str
    name: str
    data: Any
    principal: str | None = None
    dedup_id: str | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Event:
        """An event from its mapping, ``{at: 5s, signal: approve, payload: …}`` for example."""
        at = parse_duration(data["at"])
        principal = data.get("principal")
        if "signal" in data:
            return cls(at, "signal", data["signal"], data.get("payload"), principal, data.get("dedup_id"))
        if "cancel" in data:
            return cls(at, "cancel", "cancel", {"reason": data["cancel"]}, principal)
        if "lose_worker" in data:
            return cls(at, "lose_worker", "lose_worker", parse_duration(data["lose_worker"]))
        [kind] = data.keys() & OPERATIONS
        return cls(at, kind, kind, data[kind])


def operate(operations: Operations, run_id: str, event: Event) -> None:
    """Do what a person does. ``RunClosed``, ``RunOpen``."""
    if event.kind == "retry" and isinstance(event.data, Mapping):
        operations.retry(run_id, skip=event.data["skip"])
    else:
        getattr(operations, event.kind)(run_id)
