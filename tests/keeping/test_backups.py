"""The short form of the search; ``backups`` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.keeping.backups import search


def test_backups_that_are_taken_under_load_are_whole_and_go_on(tmp_path: Path) -> None:
    counts, wrong = search(2026, 4, tmp_path)
    assert wrong == []
    assert counts["backups"] == 4
