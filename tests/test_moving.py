"""A store in memory that is packed and opened elsewhere is the same store."""

from __future__ import annotations

import asyncio

from flowctl.activities import activity, declared
from flowctl.document import load
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack, unpack
from flowctl.journal.verify import verify_chain

TEXT = "{dsl: 1, name: w, steps: [{id: a, activity: t.a}, {id: b, activity: t.a}, {id: c, activity: t.a}]}"


def made() -> MemoryStore:
    @activity("t.a")
    def nothing() -> None: ...

    found = declared(nothing)
    assert found is not None
    store = MemoryStore()
    engine = Engine(MemoryJournal(store), {found.name: found}, secret=lambda name: None)
    run, _ = engine.start(load(TEXT, "w.yaml").workflow, TEXT, {}, id="w", children=Closure({}, {}))
    asyncio.run(engine.drive(run.id, wait=0))
    return store


def test_a_packed_store_has_the_same_rows_and_its_chains_verify() -> None:
    store = made()
    assert len(store.rows[1]) > 2
    opened = unpack(pack(store))
    assert opened.rows == store.rows
    assert opened.inbox == store.inbox
    journal = MemoryJournal(opened)
    [run] = journal.list_runs(limit=9)
    assert verify_chain(journal, run.id) is None


def test_a_run_may_be_left_behind() -> None:
    store = made()
    [run] = MemoryJournal(store).list_runs(limit=9)
    assert unpack(pack(store, leave={run.id})).runs == {}
