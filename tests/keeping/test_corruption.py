"""The short form of the search; ``corruption`` is the long one."""

from __future__ import annotations

import pytest

from flowctl.journal import audit
from tests.keeping.corruption import DAMAGES, search


def test_whatever_is_damaged_is_found_or_changes_no_answer() -> None:
    counts, missed = search(2026, range(300))
    assert missed == []
    assert {kind for kind, outcome in counts if outcome == "found"} == {*DAMAGES, "an edit"}
    assert any(outcome == "harmless" for _, outcome in counts)


def test_the_search_misses_what_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_is_sealed", lambda *row: True)
    _, missed = search(2026, range(150))
    assert missed != []
