"""The backend of one machine: which runs it finds."""

from __future__ import annotations

import pytest

from flowctl.backends import local
from flowctl.backends.local import LocalBackend
from flowctl.journal.memory import MemoryJournal
from flowctl.testing.journal_conformance import new_run


@pytest.fixture
def backend() -> LocalBackend:
    journal = MemoryJournal()
    for number in range(5):
        search = {"customer": f"c-{number % 2}", "number": number}
        attributes = {"search": search, "memo": {"note": "n"}}
        journal.create(new_run(f"r{number}", status="waiting" if number else "failed", attributes=attributes))
    return LocalBackend(journal, None)


def ids(found: list[dict[str, object]]) -> list[object]:
    return [run["id"] for run in found]


def test_runs_are_listed_by_search_attributes_which_show(backend: LocalBackend) -> None:
    listed = backend.list(where=[("customer", ["c-1"])])
    assert ids(listed) == ["r3", "r1"]
    assert (listed[0]["attributes"], listed[0]["memo"]) == ({"customer": "c-1", "number": 3}, {"note": "n"})


@pytest.mark.parametrize("page", [1, 2, 5, 1_000])
def test_all_runs_are_selected_however_many_there_are(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(local, "PAGE", page)
    assert backend.select()[0] == {"id": "r4", "status": "waiting"}
    assert ids(backend.select()) == ["r4", "r3", "r2", "r1", "r0"]
    assert ids(backend.select(limit=3)) == ["r4", "r3", "r2"]
    assert ids(backend.select(statuses=["waiting"], where=[("customer", ["c-0"])])) == ["r4", "r2"]
