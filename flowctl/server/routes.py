"""All routes there are."""

from __future__ import annotations

from flowctl.server import documents, runs, system

ENDPOINTS = (*runs.ENDPOINTS, *documents.ENDPOINTS, *system.ENDPOINTS)
