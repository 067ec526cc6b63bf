"""Attempts and outcomes across the network: plain JSON, so that Temporal's own tools can show them."""

from __future__ import annotations

from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.errors import Failure
from flowctl.expressions import SecretRef

_FIELDS = Attempt.__struct_fields__
_ENCODED = ("value", "failure", "heartbeat")


def raw(data: Any) -> RawValue:
    """As Temporal's own converter would have it, but for characters that are not ASCII: it makes six bytes of
    each, so that what is within our limit could be over Temporal's.
    """
    return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=msgspec.json.encode(data)))


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    """The argument of the activity. References to secrets are there, never their values."""
    data = {name: getattr(attempt, name) for name in _FIELDS}
    data["path"] = str(attempt.path)
    data["secrets"] = {
        where: [part if isinstance(part, str) else {"secret": part.name} for part in parts]
        for where, parts in attempt.secrets.items()
    }
    return data


def attempt_from_json(data: dict[str, Any]) -> Attempt:
    """The inverse."""
    secrets = {
        where: [part if isinstance(part, str) else SecretRef(part["secret"]) for part in parts]
        for where, parts in data["secrets"].items()
    }
    return Attempt(**data | {"secrets": secrets})


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """The result of the activity, or the details of its failure."""
    data: dict[str, Any] = {
        name: value
        for name in Outcome.__struct_fields__
        if name not in _ENCODED and (value := getattr(outcome, name))
    }
    if outcome.heartbeat is not None:
        data["heartbeat"] = msgspec.json.decode(outcome.heartbeat)
    if outcome.failure is not None:
        data["failure"] = outcome.failure.to_json()
    elif outcome.value is not None:
        data["value"] = msgspec.json.decode(outcome.value)
    return data


def outcome_from_json(data: dict[str, Any]) -> Outcome:
    """The inverse. A value that was null is there, as null."""
    failure = Failure.from_json(data["failure"]) if "failure" in data else None
    value, heartbeat = (
        values.encode(data[name]) if name in data else None for name in ("value", "heartbeat")
    )
    rest = {name: data[name] for name in data if name not in _ENCODED}
    return Outcome(value=value, failure=failure, heartbeat=heartbeat, **rest)
