"""An activity, for people and tools: what ``flowctl activities NAME`` shows and editors complete."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from flowctl.activities.binding import result_bytes
from flowctl.activities.definition import Activity
from flowctl.clock import format_duration
from flowctl.errors import FlowctlError
from flowctl.retry import RetryPolicy

_NONE = inspect.Parameter.empty


def describe(activity: Activity) -> dict[str, Any]:
    """``{name, signature, doc, isolation, parameters, additional, resources, result, policy, memory, plugin,
    origin}``, all JSON.

    ``parameters`` is a list of ``{name, required, default, schema}``, ``result`` a JSON schema; a schema is
    ``{}`` where nothing is declared, or the type is nobody's but the author's. ``additional`` says whether
    other arguments are taken; ``resources`` are the parameters that are given one. ``signature`` has what
    arguments fill, nothing else. Durations of ``policy`` are text.
    """
    binding = activity.binding
    return {
        "name": activity.name,
        "signature": f"{activity.name}{_signature(activity)}",
        "doc": activity.doc,
        "isolation": activity.isolation,
        "parameters": [
            {
                "name": parameter.name,
                "required": parameter.required,
                "default": _default(parameter.default),
                "schema": _schema(parameter.annotation),
            }
            for parameter in binding.parameters
        ],
        "additional": binding.rest is not None,
        "resources": list(activity.resources),
        "result": _schema(binding.returns),
        "policy": _policy(activity),
        "memory": activity.memory if activity.isolation == "process" else None,
        "plugin": activity.plugin,
        "origin": activity.origin,
    }


def _signature(activity: Activity) -> inspect.Signature:
    whole = inspect.signature(activity.function)
    given = activity.binding.given
    shown = [
        each.replace(annotation=_verbatim(each.annotation))
        for each in whole.parameters.values()
        if each.name not in given
    ]
    return whole.replace(parameters=shown, return_annotation=_verbatim(whole.return_annotation))


class _Verbatim(str):
    """An annotation that was never evaluated, shown as it was written."""

    __slots__ = ()
    __repr__ = str.__str__


def _verbatim(annotation: Any) -> Any:
    return _Verbatim(annotation) if isinstance(annotation, str) else annotation


def _schema(annotation: Any) -> dict[str, Any]:
    if annotation is _NONE:
        return {}
    try:
        return msgspec.json.schema(annotation, schema_hook=_own_schema)
    except Exception:  # a stranger's type; that it has no schema is no reason not to show the rest
        return {}


def _own_schema(kind: type) -> dict[str, Any]:
    own = getattr(kind, "model_json_schema", None)  # pydantic's
    schema: dict[str, Any] = own() if own is not None else {}
    return schema


def _default(value: Any) -> Any:
    try:
        return msgspec.json.decode(result_bytes(value, "default"))
    except FlowctlError:
        return repr(value)


def _policy(activity: Activity) -> dict[str, Any]:
    policy = activity.policy
    durations = {
        name: format_duration(value)
        for name in ("timeout", "total_timeout", "heartbeat_timeout")
        if (value := getattr(policy, name)) is not None
    }
    return {**durations, **({"retry": _retry(policy.retry)} if policy.retry is not None else {})}


def _retry(retry: RetryPolicy) -> dict[str, Any]:
    shown = msgspec.structs.asdict(retry)
    for name in ("delay", "max_delay"):
        shown[name] = format_duration(shown[name])
    for name in ("retryable", "non_retryable"):
        shown[name] = list(shown[name]) if shown[name] is not None else None
    return shown
