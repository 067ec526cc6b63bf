"""All routes there are."""

from __future__ import annotations

from flowctl.server import documents, runs, system

ENDPOINTS = (
    *runs.ENDPOINTS,
    *documents.endpoints(runs.GraphQuery, ("application/json", *runs.MEDIA.values())),
    *system.ENDPOINTS,
)
