"""The two ends of a call: what an attempt is given, and how it ended. Data only.

Times are milliseconds; moments are since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from flowctl.errors import Failure
from flowctl.expressions import SecretRef


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """Everything about one attempt.

    ``args`` are the keyword arguments as JSON, with null where a secret goes. They belong to this attempt
    alone (an activity may change a list that it was given), so each attempt is made with its own. ``secrets``
    maps JSON pointers into ``args`` to the parts of the text to put there. ``timeout`` and
    ``heartbeat_timeout`` are durations, measured from the moment the activity is really called; ``deadline``
    is what the activity is told about it. ``last_heartbeat`` are the details that an earlier attempt of the
    same step left, or this one, if its worker was lost. ``secret``: nobody is to see what goes in and out.
    ``generation`` is how often the run was retried.
    """

    run_id: str
    workflow: str
    version: int
    path: str
    attempt: int
    idempotency_key: str
    name: str
    args: dict[str, Any]
    secrets: Mapping[str, Sequence[str | SecretRef]]
    timeout: int
    heartbeat_timeout: int | None
    principal: str | None
    trace_id: str | None
    last_heartbeat: Any
    started_at: int
    deadline: int
    kind: str = "activity"
    secret: bool = False
    generation: int = 0


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an attempt ended: exactly one of ``value`` (canonical JSON bytes) and ``failure`` is set.

    ``uncertain``: there is no usable answer, and the effect may have happened all the same. ``cancelled``: it
    failed after it had been told to stop. ``heartbeat`` are the last details it reported, as canonical JSON.
    ``secret``: nobody is to see the value.

    Two outcomes are none of the attempt's, which is made again and does not count: it was ``lost`` with
    whoever made it, or it was ``blocked``, ``{"code", "reason"}``, by what is missing where it should have
    been made.
    """

    value: bytes | None = None
    failure: Failure | None = None
    uncertain: bool = False
    cancelled: bool = False
    heartbeat: bytes | None = None
    secret: bool = False
    lost: bool = False
    blocked: Mapping[str, str] | None = None


class Handle(Protocol):
    """An attempt in flight."""

    def cancel(self) -> None:
        """Tell the attempt to stop. It still gets to end, or to time out: its outcome comes as any other."""


class MissingSecret(Exception):
    """Nobody has the secret ``name``. Raised before an attempt has begun, so nothing has happened."""

    def __init__(self, name: str) -> None:
        super().__init__(f"nobody has the secret {name}")
        self.name = name
