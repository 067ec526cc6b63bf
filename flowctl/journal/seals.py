"""Seals: a checksum in each row that has no place in a chain, so that damage to it shows.

Entries are chained by their hashes. The rows of runs, messages and definitions change, or stand alone; each
carries a checksum of its columns. It is a guard against bits that flip and hands that slip, not against
somebody who computes it anew.

Columns that are null do not count, so one that is added later breaks no seal. What changes without the rest
of a row (who has a run, and how far its chain has come) is not covered: it is checked against the entries.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SEALED: Mapping[str, tuple[str, ...]] = {
    "runs": (
        *("id", "workflow_id", "workflow", "version", "digest", "input", "created_at", "deadline", "status"),
        *("parent_id", "principal", "trace_id", "started_at", "completed_at", "output", "error", "saga"),
        *("waiting_for", "blocked", "attributes", "pins", "inherited", "origin", "wake_at", "generation"),
    ),
    "inbox": ("kind", "name", "data", "at", "principal", "dedup_id"),
    "heartbeats": ("path", "attempt", "details"),
    "definitions": ("name", "version", "digest", "deployed_at", "deprecated"),
}
"""The columns that each table's seal covers."""

UNSEALED = ("key", "session", "entries", "size", "head", "due_at")
"""The columns of a run that its seal does not cover."""

_encode = msgspec.json.Encoder(order="sorted").encode


def seal_run(row: Mapping[str, Any]) -> int:
    """The seal of a run's row, from the columns that it covers and that are not null, as they are stored."""
    return zlib.crc32(_encode(row))


def seal(table: str, values: Sequence[Any]) -> int:
    """The seal of any row, of its values in the order of ``SEALED``."""
    row = {name: value for name, value in zip(SEALED[table], values, strict=True) if value is not None}
    return zlib.crc32(_encode(row))
