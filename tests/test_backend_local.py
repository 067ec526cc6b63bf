"""The backend of one machine: which runs it finds, and who holds the reins."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowctl import document
from flowctl.backends import StartRequest, local, open_backend
from flowctl.backends.local import LocalBackend
from flowctl.backends.reins import Reins
from flowctl.errors import AmbiguousRun
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


def test_another_one_shows_the_same_runs(backend: LocalBackend, tmp_path: Path) -> None:
    assert backend.another().select() == backend.select()
    one = open_backend(str(tmp_path / "runs.db"))
    with contextlib.closing(one), contextlib.closing(one.another()) as other:
        assert other.select() == []


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("order", "order-1~3"),
        ("order-1", "order-1~3"),
        ("order-1~1", "order-1"),
        ("order-1~2", "order-1~2"),
        ("order-1/c~1", "order-1/c"),
        ("order-1/", "order-1/c~2"),
        ("@last", "trip"),
    ],
)
def test_a_reference_means_the_latest_of_a_chain_unless_it_names_another(reference: str, meant: str) -> None:
    journal = MemoryJournal()
    journal.create(new_run("order-1"))
    for run_id in ("order-1/c", "order-1/c~2"):
        journal.create(new_run(run_id, parent_id="order-1"))
    for run_id in ("order-1~2", "trip", "order-1~3"):
        journal.create(new_run(run_id))
    assert LocalBackend(journal, None).resolve(reference) == meant


def test_the_beginning_of_several_is_ambiguous_however_long_their_chains_are() -> None:
    journal = MemoryJournal()
    for run_id in ("order-old", "order-new", *(f"order-new~{number}" for number in range(2, 20))):
        journal.create(new_run(run_id))
    with pytest.raises(AmbiguousRun, match="order-new, order-old"):
        LocalBackend(journal, None).resolve("order")


def test_how_runs_stand_is_told_of_the_last_of_a_chain_and_of_no_run_that_is_not_there() -> None:
    journal = MemoryJournal()
    journal.create(new_run("a", status="continued"))
    journal.create(new_run("a~2", workflow_id="a", status="running"))
    journal.create(new_run("b", status="waiting"))
    assert LocalBackend(journal, None).standings(["a", "b", "c"]) == {
        "a": {"id": "a~2", "status": "running"},
        "b": {"id": "b", "status": "waiting"},
    }


def test_a_worker_in_another_thread_is_stopped_by_its_reins() -> None:
    backend, reins, ready = LocalBackend(MemoryJournal(), None), Reins(), threading.Event()
    work = threading.Thread(
        target=backend.work, kwargs={"observe": print, "ready": ready.set, "reins": reins}
    )
    work.start()
    assert ready.wait(10)
    reins.look()
    reins.stop()
    work.join(10)
    assert not work.is_alive()


def test_who_is_stopped_before_it_begins_stops_at_once() -> None:
    reins = Reins()
    reins.stop()
    LocalBackend(MemoryJournal(), None).work(observe=print, reins=reins)
    reins.stop()
    reins.look()


def test_a_run_that_is_driven_can_be_stopped_and_stays_resumable() -> None:
    loaded = document.load("{dsl: 1, name: nap, steps: [{sleep: 1h}]}", "nap.yaml")
    backend, reins = LocalBackend(MemoryJournal(), None), Reins()
    run_id, _ = backend.start(StartRequest(loaded.workflow, loaded.source, {}))
    stop = threading.Timer(0, reins.stop)

    def observe(fact: Mapping[str, Any]) -> None:
        stop.start() if not stop.ident else None

    assert backend.drive(run_id, wait=7_200_000, observe=observe, reins=reins)["status"] == "waiting"
    assert not backend.is_live(run_id)
