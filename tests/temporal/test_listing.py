"""Runs are listed by their cards, without their histories, whether the search attributes are registered or
not; and with them, the server leaves out what is not asked for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecution

from flowctl.backends.reins import Reins
from flowctl.backends.temporal import listing
from flowctl.backends.temporal.backend import TemporalBackend
from flowctl.embedding.loading import Documents
from flowctl.errors import RunNotFound, UsageError
from flowctl.plugins import load
from flowctl.runtimes.temporal import card
from tests.console import ROOT
from tests.temporal.server import Server

INDEXED, PLAIN = "lane-0", "lane-1"

DOCUMENT = """
dsl: 1
name: desk
input: {properties: {item: {}, ends: {type: boolean, default: false}}}
signals: {go: {}}
steps:
  - attributes: {search: {item: "${{ input.item }}"}, memo: {note: "for ${{ input.item }}"}}
  - if: not input.ends
    wait_for_signal: go
output: done
"""

ITEMS: list[Any] = ["desk", "a 'quoted' \\ one", "ü" * 300, 2, 2.5, True, "2"]

ALL_SEARCH_ATTRIBUTES = {card.STATUS.name: "Keyword", card.ATTRIBUTES.name: "KeywordList"}


@pytest.fixture(scope="module")
def indexed(server: Server, program: str) -> None:
    """They are registered as docs/temporal.md says."""
    page = (ROOT / "docs" / "temporal.md").read_text(encoding="utf-8")
    [command] = [line for line in page.splitlines() if line.startswith("temporal operator search-attribute")]
    words = command.split()
    there = ["--namespace", INDEXED, "--address", server.target]
    subprocess.run([program, *words[1:], *there], check=True, capture_output=True)
    assert dict(zip(words[5::4], words[7::4], strict=True)) == ALL_SEARCH_ATTRIBUTES


@pytest.fixture(params=[INDEXED, PLAIN])
def backend(
    request: pytest.FixtureRequest, server: Server, indexed: None, tmp_path: Path, monkeypatch: Any
) -> Iterator[TemporalBackend]:
    """In a namespace with search attributes, and in one without; with a queue of its own."""
    monkeypatch.chdir(tmp_path)
    url = server.url(request.param, request.node.name.partition("[")[0])
    opened = TemporalBackend(url, load(entry_points=False), None)
    yield opened
    opened.close()


def start(backend: TemporalBackend, item: Any, *, ends: bool = False, id: str | None = None) -> str:
    documents = Documents(backend, load(entry_points=False))
    run_id, _ = backend.start(documents.request(DOCUMENT, {"item": item, "ends": ends}, id, None))
    return run_id


def settled(backend: TemporalBackend, *run_ids: str) -> None:
    """Run them until they rest, and until the index knows."""
    backend.work(drain=True, observe=lambda run: None, reins=Reins())
    known(backend, *run_ids)


def known(backend: TemporalBackend, *run_ids: str) -> None:
    """Until the index knows of all of them what Temporal knows of each."""
    backend._ask(_known(backend._client, run_ids))


async def _known(client: Client, run_ids: Sequence[str]) -> None:
    async def state(execution: WorkflowExecution) -> tuple[Any, ...]:
        return execution.status, (await execution.memo())[card.CARD]

    for run_id in run_ids:
        stands = await state(await client.get_workflow_handle(run_id).describe())
        query = f"WorkflowId = '{run_id}'"
        while stands not in [await state(each) async for each in client.list_workflows(query)]:
            pass


@pytest.fixture
def no_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads one fails."""

    async def read(*about: Any) -> None:
        raise AssertionError(f"the history of {about[1]} was read")

    monkeypatch.setattr(listing, "seen", read)


def test_runs_are_found_by_attribute_and_state_without_their_histories(
    backend: TemporalBackend, no_histories: None
) -> None:
    waiting = {start(backend, item): item for item in ITEMS}
    ended = start(backend, "desk", ends=True)
    settled(backend, *waiting, ended)

    def ids(**how: Any) -> list[str]:
        return [run["id"] for run in backend.list(**how)]

    assert ids() == [ended, *reversed(waiting)]
    assert ids(limit=2) == ids()[:2]
    for run_id, item in waiting.items():
        assert ids(where=[("item", [item])], statuses=["waiting"]) == [run_id]
    assert len(ids(where=[("item", ["2", 2])])) == 2
    assert ids(where=[("item", ["desk"])], statuses=["completed", "failed"]) == [ended]
    assert ids(statuses=["failed", "running", "terminated"]) == []
    assert ids(where=[("item", ["chair"])]) == []
    assert ids(where=[("colour", ["desk"])]) == []
    assert ids(workflow="chair") == []
    assert len(ids(workflow="desk")) == len(waiting) + 1


def test_the_server_leaves_out_what_is_not_asked_for_where_it_can(
    backend: TemporalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = [start(backend, item) for item in ITEMS]
    settled(backend, *run_ids)
    looked_at = []
    row = listing.Listing._row

    async def look(self: Any, execution: Any) -> Any:
        looked_at.append(execution.id)
        return await row(self, execution)

    monkeypatch.setattr(listing.Listing, "_row", look)
    found = {
        "item": backend.list(where=[("item", ["desk"])]),
        "state": backend.list(statuses=["paused"]),
        "end": backend.list(statuses=["completed"]),
    }
    assert {by: len(runs) for by, runs in found.items()} == {"item": 1, "state": 0, "end": 0}
    everything = 2 * sorted(run_ids)  # of all that is open, the card is looked at
    assert sorted(looked_at) == (run_ids[:1] if backend._client.namespace == INDEXED else sorted(everything))


def test_what_is_listed_is_what_status_shows(backend: TemporalBackend) -> None:
    waits, ends, killed = start(backend, "desk"), start(backend, "lamp", ends=True), start(backend, "sofa")
    settled(backend, waits, ends, killed)
    backend.terminate(killed)
    fresh = start(backend, "chair")
    known(backend, killed, fresh)
    listed = {run["id"]: run for run in backend.list()}
    for run_id in (waits, ends, killed, fresh):
        status = backend.status(run_id)
        for left_out in ("input", "output", "steps"):
            del status[left_out]
        assert listed[run_id] == status
        assert list(listed[run_id]) == list(status)
    assert {run_id: run["status"] for run_id, run in listed.items()} == {
        waits: "waiting", ends: "completed", killed: "terminated", fresh: "created"
    }  # fmt: skip
    assert [run["id"] for run in backend.list(statuses=["terminated"])] == [killed]
    glances = backend.glances([waits, killed, "nobody"])
    assert {run_id: run["status"] for run_id, run in glances.items()} == {
        waits: "waiting", killed: "terminated"
    }  # fmt: skip


def test_pages_follow_each_other_without_a_gap(backend: TemporalBackend) -> None:
    started = [start(backend, number) for number in range(5)]
    settled(backend, *started)
    found, after = [], None
    while True:
        runs, after = backend.page(limit=2, after=after, counts=False)
        found += [run["id"] for run in runs]
        if after is None:
            break
    assert found == started[::-1]
    with pytest.raises(UsageError):
        backend.page(after="x")


def test_a_card_that_would_be_too_large_is_left_out_and_the_history_read(
    backend: TemporalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "LARGEST", 10)
    run_id = start(backend, "desk")
    settled(backend, run_id)
    [listed] = backend.list(where=[("item", ["desk"])], statuses=["waiting"])
    assert (listed["id"], listed["attributes"], listed["memo"]) == (
        run_id, {"item": "desk"}, {"note": "for desk"}
    )  # fmt: skip


def test_a_prefix_means_a_run_if_only_one_begins_with_it(backend: TemporalBackend) -> None:
    name = f"prefix-{backend._client.namespace}"
    settled(backend, start(backend, 1, id=f"{name}-1"))
    assert backend.resolve(name) == f"{name}-1"
    for nobody in (f"{name}-2", "it's", "\\", "' OR WorkflowId != '"):
        with pytest.raises(RunNotFound):
            backend.resolve(nobody)


def test_attributes_of_a_run_with_very_many_are_told_in_part_and_it_is_found_all_the_same() -> None:
    from flowctl.journal import Run

    search = {f"a{number:03}": number for number in range(card.MANY + 1)}
    run = Run("r", "r", "w", 1, "d", None, 0, 0, attributes={"search": search, "memo": {}})
    _, (_, told) = card.index_of(run)
    assert len(told) == card.MANY + 1
    assert told[-1] == card.MORE
    assert "a000=0" in told


@pytest.mark.parametrize(
    ("one", "other", "same"), [(1, 1.0, True), ("x", "y", False), (True, 1, False), ("ü", "u", False)]
)
def test_values_that_are_equal_have_equal_entries(one: Any, other: Any, same: bool) -> None:
    assert (card.entry_of("n", one) == card.entry_of("n", other)) is same
