"""Every word of the language that can be executed is covered by some case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.loader import load_yaml
from flowctl.document.structure import NOT_YET_ATTRIBUTES, NOT_YET_COMPENSATIONS, NOT_YET_VERBS, VERBS

ROOT = Path(__file__).resolve().parents[2]
DEFS = json.loads((ROOT / "schemas" / "workflow.schema.json").read_text())["$defs"]


def _words() -> list[str]:
    """The verbs, the attributes of their steps, and what may stand in policies and compensations."""
    found = set[str]()
    for verb in VERBS.keys() - NOT_YET_VERBS:
        found |= DEFS[f"{verb}_step"]["properties"].keys()
    found |= _properties(DEFS["retry"])
    found |= _properties(DEFS["compensate"]) - NOT_YET_COMPENSATIONS
    found |= _properties(DEFS["entry"])
    return sorted(found - NOT_YET_VERBS - NOT_YET_ATTRIBUTES - {"id"})


def _properties(schema: Any) -> set[str]:
    """The names of properties anywhere in a schema."""
    if isinstance(schema, list):
        return {name for part in schema for name in _properties(part)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | {
        name for part in schema.values() for name in _properties(part)
    }


COVERED = {
    word
    for file in (ROOT / "tests" / "conformance" / "cases").glob("*.yaml")
    for case in load_yaml(file.read_bytes(), str(file))
    for word in case["covers"]
}


@pytest.mark.parametrize("word", _words())
def test_a_word_of_the_language_is_covered_by_a_case(word: str) -> None:
    assert word in COVERED
