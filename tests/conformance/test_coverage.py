"""Every word of the language is covered by some case, and the page says by which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.loader import load_yaml
from flowctl.document.structure import VERBS
from tests.conformance.table import ATTRIBUTES, OUTCOMES, PAGE, cells, impossible, table, written

ROOT = Path(__file__).resolve().parents[2]
DEFS = json.loads((ROOT / "schemas" / "workflow.schema.json").read_text())["$defs"]


def _words() -> list[str]:
    """The verbs, the attributes of their steps, and what may stand in policies and compensations."""
    found = set[str]()
    for verb in VERBS:
        found |= DEFS[f"{verb}_step"]["properties"].keys()
    found |= _properties(DEFS["retry"])
    found |= _properties(DEFS["compensate"])
    found |= _properties(DEFS["entry"])
    return sorted(found - {"id"})


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


def test_every_verb_and_attribute_is_shown_in_every_way_it_can_end() -> None:
    missing = {
        word
        for word in (*VERBS, *ATTRIBUTES)
        for outcome in OUTCOMES
        if (word, outcome) not in cells() and not impossible(word, outcome)
    }
    assert missing == set()


def test_the_page_says_which_case_shows_what() -> None:
    assert written(PAGE.read_text(encoding="utf-8")) == table(), "run python -m tests.conformance.table"
