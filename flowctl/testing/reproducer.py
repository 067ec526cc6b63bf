"""A failure that breaks something, as a case in YAML: pasted among the cases of its file, it fails alike."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flowctl.clock import parse_duration
from flowctl.testing.every import Broken
from flowctl.testing.running import Scenario, lasting, run

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
"""Texts that mean themselves without quotes, but for the words of YAML."""

_WORDS = frozenset({"true", "false", "null"})


def reproducer(scenario: Scenario, broken: Broken) -> str:
    """The case with what went wrong, and nothing that it does not need."""
    written, variant = scenario.written, broken.variant
    made: dict[str, Any] = {"case": f"{scenario.name}, but {variant}"}
    made |= {key: written[key] for key in ("input", "secrets", "unmocked", "mocks") if key in written}
    if events := _events(scenario, broken):
        made["events"] = events
    failures = [fault.to_json() for fault in (*scenario.faults, *variant.faults)]
    if failures:
        made["failures"] = failures
    made |= {key: written[key] for key in ("until", "invariants") if key in written}
    made["expect"] = {"status": broken.status}
    lines = [f"{key}: {flow(value)}" for key, value in made.items()]
    return "- " + "\n  ".join(lines)


def _events(scenario: Scenario, broken: Broken) -> list[Any]:
    """The events of the case but the one that stays away; none if the same goes wrong, and breaks the same,
    without any.
    """
    events = sorted(scenario.written.get("events", ()), key=lambda event: parse_duration(event["at"]))
    if broken.variant.without is not None:
        del events[broken.variant.without]
    if events:
        came = run(scenario, faults=broken.variant.faults, events=())
        struck = all(fault.step in came.steps for fault in broken.variant.faults)
        same = came.status["status"] == broken.status and lasting(scenario, came) == list(broken.mismatches)
        if struck and same:
            return []
    return events


def flow(value: Any) -> str:
    """A value as YAML on one line, with as few quotes as it can be."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    plain = _PLAIN.match(text) and text.lower() not in _WORDS
    return text if plain or re.fullmatch(r"\d+(ms|[smhd])", text) else json.dumps(text, ensure_ascii=False)
