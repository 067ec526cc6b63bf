"""JSON Schemas of what routes answer with, by name: docs/cli.md in the words of OpenAPI."""

from __future__ import annotations

from typing import Any

from flowctl.state import RunStatus, StepStatus

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_WHOLE: Schema = {"type": "integer"}
_WHOLE_OR_NULL: Schema = {"type": ["integer", "null"]}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_OBJECT_OR_NULL: Schema = {"type": ["object", "null"]}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ANY: Schema = {}
_RUN_STATUS: Schema = {"type": "string", "enum": [str(status) for status in RunStatus]}
_STEP_STATUS: Schema = {"type": "string", "enum": [str(status) for status in StepStatus]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _of(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _without(shape: Schema, *names: str) -> Schema:
    return _of(**{name: each for name, each in shape["properties"].items() if name not in names})


_STEP = _of(
    path=_TEXT, kind=_TEXT_OR_NULL, name=_TEXT_OR_NULL, status=_STEP_STATUS, attempt=_WHOLE, input=_ANY,
    output=_ANY, error=_OBJECT_OR_NULL, started_at=_TEXT_OR_NULL, completed_at=_TEXT_OR_NULL,
    compensation=_OBJECT_OR_NULL,
)  # fmt: skip

_WAITING = _of(path=_TEXT, kind=_TEXT, names=_TEXTS, until=_TEXT_OR_NULL)
_SAGA = _of(undone=_TEXTS, failed=_TEXTS, in_doubt=_TEXTS, not_undone=_TEXTS, skipped=_TEXTS)

_STATUS = _of(
    id=_TEXT, workflow_id=_TEXT, workflow=_TEXT, version=_WHOLE, digest=_TEXT, parent_id=_TEXT_OR_NULL,
    status=_RUN_STATUS, input=_ANY, output=_ANY, error=_OBJECT_OR_NULL, current_steps=_TEXTS,
    waiting_for=_list(_WAITING), blocked=_OBJECT_OR_NULL, attributes=_OBJECT, memo=_OBJECT,
    principal=_TEXT_OR_NULL, trace_id=_TEXT_OR_NULL, saga=_SAGA, created_at=_TEXT, started_at=_TEXT_OR_NULL,
    completed_at=_TEXT_OR_NULL, attempt=_WHOLE, history_length=_WHOLE, history_size=_WHOLE,
    step_counts=_OBJECT_OR_NULL, steps=_list(_ref("Step")),
)  # fmt: skip

_VERSION = _of(name=_TEXT, version=_WHOLE, digest=_TEXT, deployed_at=_TEXT, deprecated=_TEXT_OR_NULL)
_SIGNAL = _of(name=_TEXT, description=_TEXT_OR_NULL, payload_schema=_ANY)

SHAPES: dict[str, Schema] = {
    "Any": {},
    "Empty": _OBJECT,
    "Step": _STEP,
    "RunStatus": _STATUS,
    "RunSummary": _without(_STATUS, "input", "output", "steps"),
    "RunPage": _of(runs=_list(_ref("RunSummary")), next=_TEXT_OR_NULL, place=_TEXT),
    "Started": _of(id=_TEXT, workflow_id=_TEXT, created=_BOOLEAN),
    "Accepted": _of(id=_TEXT, status=_RUN_STATUS),
    "Entry": _of(seq=_WHOLE, at=_TEXT, path=_TEXT, kind=_TEXT, attempt=_WHOLE),
    "History": _of(entries=_list(_ref("Entry")), next=_WHOLE_OR_NULL),
    "Graph": _of(title=_TEXT, description=_TEXT, nodes=_list(_OBJECT), state=_OBJECT_OR_NULL),
    "Document": _of(
        name=_TEXT, version=_WHOLE, digest=_TEXT, description=_TEXT_OR_NULL, deprecated=_TEXT_OR_NULL,
        input_schema=_OBJECT_OR_NULL, signals=_list(_SIGNAL), source=_TEXT, body=_OBJECT,
    ),
    "Actions": _of(
        id=_TEXT, status=_RUN_STATUS, live=_BOOLEAN, commands=_OBJECT,
        signals=_list(_of(**_SIGNAL["properties"], awaited=_BOOLEAN)),
    ),
    "Difference": _of(runs=_list(_OBJECT), differences=_list(_OBJECT), times=_list(_OBJECT)),
    "Workflows": _of(workflows=_list(_VERSION)),
    "Deployed": _of(deployed=_list(_OBJECT), open_runs=_list(_OBJECT)),
    "Deprecated": _of(name=_TEXT, version=_WHOLE, deprecated=_TEXT),
    "Session": _of(
        name=_TEXT, scope=_TEXT, csrf=_TEXT_OR_NULL, expires=_WHOLE_OR_NULL, deploys=_BOOLEAN
    ),
    "Server": _of(
        version=_TEXT, deploys=_BOOLEAN, runs=_OBJECT, due=_WHOLE, workers=_WHOLE, database_bytes=_WHOLE
    ),
    "Health": _of(status=_TEXT),
    "Problem": _of(
        type=_TEXT, title=_TEXT, status=_WHOLE, detail=_TEXT, code=_TEXT, details=_OBJECT, request_id=_TEXT
    ),
}  # fmt: skip
