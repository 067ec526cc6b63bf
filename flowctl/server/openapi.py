"""The OpenAPI 3.1 document, made of the table of routes. Sockets are not in it: it has no words for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from flowctl.server.access import COOKIE, Scope
from flowctl.server.shapes import SHAPES
from flowctl.server.table import Endpoint, Nothing

_ALWAYS = (400, 413, 421, 429, 431, 503)
"""Statuses that any route may have: a request that is none, or too large, or for somebody else, too many of
them, and too much at once.
"""

_BODY = (408, 415, 422)


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The document for these routes."""
    described = [endpoint for endpoint in endpoints if endpoint.method != "WS"]
    wanted = [kind for each in described for kind in (each.query, each.body) if kind is not None]
    _, components = msgspec.json.schema_components(wanted, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in described:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowctl", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {**SHAPES, **components},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _operation(endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*_parts(endpoint), *_query(endpoint, components), *_headers(endpoint)],
        "responses": _responses(endpoint),
        "security": [] if endpoint.scope is Scope.PUBLIC else [{"token": []}, {"cookie": []}],
        "x-scope": endpoint.scope.word,
    }
    if endpoint.body is not None:
        schema = {"$ref": f"#/components/schemas/{endpoint.body.__name__}"}
        fields = msgspec.structs.fields(endpoint.body)
        operation["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parts(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]


def _query(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    if endpoint.query is Nothing:
        return []
    schema = components[endpoint.query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": each}
        for name, each in schema["properties"].items()
    ]


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    if not endpoint.idempotent:
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}]


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{endpoint.result}"}
    content = {
        media.partition(";")[0]: {"schema": shape if media == "application/json" else {"type": "string"}}
        for media in endpoint.media
    }
    statuses = {endpoint.accepted, *((200,) if endpoint.accepted == 201 else ())}
    good = {str(status): {"description": "Done.", "content": content} for status in sorted(statuses)}
    closed = () if endpoint.scope is Scope.PUBLIC else (401, 403)
    bad = {*endpoint.errors, *_ALWAYS, *closed, *(_BODY if endpoint.body is not None else ())}
    trouble = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return good | {str(status): {"description": "A problem.", "content": trouble} for status in sorted(bad)}
