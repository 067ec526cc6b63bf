"""What every journal must keep: the contract of ``flowctl.journal``, as tests.

For the author of a journal, who says how to open it, and gets the rest::

    class TestMyJournal(JournalConformance):
        @pytest.fixture
        def store(self):
            with MyStore() as store:  # a Store; closes what was opened of it
                yield store

What a test cannot see from inside (that what was accepted survives kill -9 and power loss) remains to be
tested with real processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from flowctl.errors import (
    InternalError,
    NotFound,
    RunClosed,
    RunIdConflict,
    RunNotFound,
    StorageError,
    VersionTaken,
)
from flowctl.journal import Change, Document, Entry, Fact, Fenced, Heartbeat, Journal, Message, Run, Scalar
from flowctl.journal.verify import verify_chain
from flowctl.path import ROOT, Path

NOW = 1_767_225_600_000


class Store(Protocol):
    """One place where runs are kept, new and empty for each test."""

    def open(self) -> Journal:
        """Open it once more, as another process would."""

    def kill(self, session: str) -> None:
        """Let a session (``Run.session``) be dead in the eyes of all others, while its journal is in use."""

    def busy(self) -> contextlib.AbstractContextManager[object]:
        """Have somebody else write, for as long as this lasts."""


def new_run(run_id: str = "order-1", **fields: Any) -> Run:
    """A run as an engine creates it."""
    run = Run(
        id=run_id,
        workflow_id=run_id.partition("~")[0],
        workflow="order",
        version=1,
        digest="d" * 64,
        input={"amount": 12.5, "name": "Zoë"},
        created_at=NOW,
        deadline=NOW + 1_000,
    )
    return msgspec.structs.replace(run, **fields)


def completed(path: str, output: Any = None, **fields: Any) -> Entry:
    """The completion of a step, with the start of the next riding on it."""
    fact = Fact(Path(path), "completed", NOW, data={"output": output}, **fields)
    return Entry(fact, [Fact(Path(f"{path}_next"), "started", NOW + 1, attempt=1)])


def signal(run_id: str, name: str = "approve", dedup_id: str | None = None, data: Any = None) -> Message:
    """A signal, as an engine delivers it."""
    return Message(run_id, "signal", name, data, NOW, principal="ann", dedup_id=dedup_id)


def claimed(journal: Journal, run_id: str = "order-1") -> Run:
    """A run of this id, made if need be, that the journal's session has claimed."""
    journal.create(new_run(run_id))
    run = journal.claim(run_id)
    assert run is not None, "nobody else has it"
    return run


def append(journal: Journal, run: Run, *paths: str) -> list[Entry]:
    """Commit completions of these steps, in one commit."""
    entries = [completed(path) for path in paths]
    journal.commit([Change(run, entries)])
    return entries


@contextlib.contextmanager
def refused(error: type[BaseException], saying: str = "") -> Iterator[None]:
    """The body must raise exactly this, in words that contain ``saying``."""
    try:
        yield
    except error as raised:
        if saying in str(raised):
            return
        raise AssertionError(f"{raised} does not say: {saying}") from raised
    raise AssertionError(f"{error.__name__} was to be raised")


def paths(journal: Journal, run_id: str = "order-1") -> list[str]:
    """The paths of a run's entries, in order."""
    return [entry.fact.path for entry in journal.entries(run_id)]


class Accepting:
    """``create`` and what readers see of it."""

    def test_an_accepted_run_is_there_for_everybody(self, store: Store) -> None:
        run, created = store.open().create(new_run())
        assert created
        assert store.open().run("order-1") == run

    def test_a_run_comes_back_with_every_field(self, store: Store) -> None:
        run = new_run(
            status="waiting",
            parent_id="p",
            principal="ann",
            trace_id="t",
            started_at=1,
            completed_at=2,
            output=[1, None],
            error={"type": "E"},
            saga={"undone": ["a"]},
            waiting_for=[{"kind": "timer"}],
            blocked={"code": "MissingSecret"},
            attributes={"search": {"customer": "c-1"}, "memo": {"note": ["n"]}},
            wake_at=3,
            generation=4,
        )
        store.open().create(run)
        kept = store.open().run("order-1")
        assert kept is not None
        assert kept == msgspec.structs.replace(run, key=kept.key, head=kept.head, due_at=run.created_at)

    def test_a_new_run_has_no_entries_and_no_writer(self, store: Store) -> None:
        run, _ = store.open().create(new_run(session="somebody", entries=3, size=4))
        assert (run.session, run.entries, run.size) == (None, 0, 0)
        assert store.open().entries("order-1") == []

    def test_an_id_that_exists_returns_its_run_and_changes_nothing(self, store: Store) -> None:
        journal = store.open()
        first, _ = journal.create(new_run())
        assert journal.create(new_run(input={"amount": 2})) == (first, False)
        assert journal.run("order-1") == first

    def test_keys_grow_in_the_order_of_creation(self, store: Store) -> None:
        one, other = store.open(), store.open()
        keys = [journal.create(new_run(f"r{i}"))[0].key for i, journal in enumerate((one, other, one))]
        assert keys == sorted(set(keys))
        assert keys[0] > 0

    def test_what_was_accepted_does_not_change_with_the_callers_objects(self, store: Store) -> None:
        journal, run = store.open(), new_run()
        journal.create(run)
        run.input["amount"] = 0
        entry = completed("a", {"n": 1})
        journal.commit([Change(claimed(journal), [entry])])
        entry.fact.data["output"]["n"] = 2
        kept = journal.run("order-1")
        assert kept is not None
        assert kept.input["amount"] == 12.5
        assert journal.entries("order-1")[0].fact.data == {"output": {"n": 1}}

    def test_an_unknown_run_is_not_there(self, store: Store) -> None:
        journal = store.open()
        assert journal.run("nobody") is None
        assert journal.entries("nobody") == []
        assert journal.inbox("nobody") == []
        assert not journal.attended("nobody")


class Committing:
    """``commit`` and ``try_commit``."""

    def test_an_entry_comes_back_with_its_riders(self, store: Store) -> None:
        journal = store.open()
        fact = Fact(
            Path("a.b[2]"), "failed", NOW, attempt=2, generation=1, data={"error": {"é": [1.5, None]}}
        )
        riders = [Fact(Path("c"), "started", NOW + 1, attempt=1, data={"input": {}}), Fact(ROOT, "note", NOW)]
        journal.commit([Change(claimed(journal), [Entry(fact, riders)])])
        (entry,) = store.open().entries("order-1")
        assert (entry.fact, entry.riders) == (fact, riders)

    def test_a_commit_covers_all_its_runs(self, store: Store) -> None:
        journal = store.open()
        runs = [claimed(journal, f"r{i}") for i in range(3)]
        journal.commit([Change(run, [completed("a"), completed("b")]) for run in runs])
        assert [paths(store.open(), run.id) for run in runs] == [["a", "b"]] * 3

    def test_a_commit_without_changes_is_one(self, store: Store) -> None:
        store.open().commit([])

    def test_an_entry_is_written_once(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        append(journal, run, "a")
        with refused(InternalError):
            append(journal, run, "a")
        with refused(InternalError):
            append(journal, run, "b", "b")
        append(journal, run, "b")
        assert paths(journal) == ["a", "b"]

    def test_the_entry_that_is_there_already_is_named_among_many(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        append(journal, run, "s70")
        with refused(InternalError, "completed of s70 was to be written twice"):
            append(journal, run, *(f"s{number}" for number in range(100)))
        assert paths(journal) == ["s70"]

    def test_another_attempt_or_generation_is_another_entry(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        entries = [
            completed("a", attempt=1),
            completed("a", attempt=2),
            completed("a", attempt=2, generation=1),
        ]
        journal.commit([Change(run, entries)])
        assert [(e.fact.attempt, e.fact.generation) for e in journal.entries("order-1")] == [
            (1, 0),
            (2, 0),
            (2, 1),
        ]

    def test_a_commit_that_is_refused_has_written_nothing(self, store: Store) -> None:
        journal = store.open()
        good, bad = claimed(journal, "good"), claimed(journal, "bad")
        append(journal, bad, "a")
        with refused(InternalError):
            journal.commit([Change(good, [completed("a")]), Change(bad, [completed("a")])])
        assert paths(journal, "good") == []
        append(journal, good, "a")
        assert verify_chain(journal, "good") is None

    def test_a_commit_shows_in_the_callers_objects(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        entries = append(journal, run, "a", "b")
        kept = journal.entries("order-1")
        assert [(entry.seq, entry.hash) for entry in entries] == [(entry.seq, entry.hash) for entry in kept]
        assert (run.entries, run.head) == (2, kept[-1].hash)
        assert run.size > 0

    def test_seq_grows_within_the_journal(self, store: Store) -> None:
        one, other = store.open(), store.open()
        mine, yours = claimed(one, "mine"), claimed(other, "yours")
        entries = [*append(one, mine, "a"), *append(other, yours, "a", "b"), *append(one, mine, "b")]
        seqs = [entry.seq for entry in entries]
        assert seqs == sorted(set(seqs))
        assert seqs[0] > 0

    def test_entries_can_be_read_from_a_seq_on(self, store: Store) -> None:
        journal = store.open()
        run, other = claimed(journal), claimed(journal, "other")
        first, second = append(journal, run, "a", "b")
        append(journal, other, "a")
        append(journal, run, "c")
        assert [entry.fact.path for entry in journal.entries("order-1", first.seq)] == ["b", "c"]
        assert [entry.fact.path for entry in journal.entries("order-1", second.seq)] == ["c"]

    def test_a_state_is_kept_when_it_has_changed(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        run.status = "running"
        journal.commit([Change(run, [completed("a")])])
        assert _kept(journal).status == "created"
        run.output = {"x": 1}
        journal.commit([Change(run, [completed("b")], state_changed=True)])
        assert _kept(store.open()) == run

    def test_a_run_can_begin_with_its_first_commit(self, store: Store) -> None:
        journal = store.open()
        run = new_run(status="running")
        journal.commit([Change(run, [completed("a")], create=True)])
        assert run == _kept(store.open())
        assert run.session is not None
        append(journal, run, "b")
        assert verify_chain(journal, "order-1") is None

    def test_a_run_id_that_is_taken_refuses_the_whole_commit(self, store: Store) -> None:
        journal = store.open()
        parent = claimed(journal, "parent")
        journal.create(new_run("child"))
        with refused(RunIdConflict):
            journal.commit(
                [Change(parent, [completed("a")]), Change(new_run("child"), [completed("a")], create=True)]
            )
        assert paths(journal, "parent") == []

    def test_a_run_that_was_not_claimed_is_not_written_to(self, store: Store) -> None:
        journal = store.open()
        run, _ = journal.create(new_run())
        with refused(InternalError):
            append(journal, run, "a")
        assert paths(journal) == []

    def test_try_commit_commits_what_commit_does(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        changes = [Change(run, [completed("a")])]
        if not journal.try_commit(changes):  # as a journal across a network says every time
            journal.commit(changes)
        assert paths(store.open()) == ["a"]

    def test_try_commit_does_nothing_while_somebody_else_writes(self, store: Store) -> None:
        journal = store.open()
        changes = [Change(claimed(journal), [completed("a")])]
        with store.busy():
            assert not journal.try_commit(changes)
        assert paths(journal) == []
        journal.commit(changes)
        assert paths(journal) == ["a"]

    def test_a_first_commit_does_not_wait_for_somebody_else_either(self, store: Store) -> None:
        journal = store.open()
        changes = [Change(new_run(), [completed("a")], create=True)]
        with store.busy():
            assert not journal.try_commit(changes)
        journal.commit(changes)
        assert paths(journal) == ["a"]


class Claiming:
    """Sessions: one writer per run, and what happens when it dies."""

    def test_a_run_has_one_writer(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        assert other.claim("order-1") is None
        with refused(InternalError):
            append(other, run, "a")

    def test_an_unknown_run_cannot_be_claimed(self, store: Store) -> None:
        with refused(RunNotFound):
            store.open().claim("nobody")

    def test_a_claim_can_be_repeated(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        append(journal, run, "a")
        assert journal.claim("order-1") == run

    def test_a_released_run_can_be_claimed_by_another(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        append(one, run, "a")
        one.commit([Change(run, [completed("b")], release=True)])
        assert run.session is None
        taken = other.claim("order-1")
        assert taken is not None
        assert (taken.entries, taken.size, taken.head) == (run.entries, run.size, run.head)
        append(other, taken, "c")
        assert verify_chain(other, "order-1") is None
        with refused(InternalError):
            append(one, run, "d")

    def test_closing_gives_back_all_claims(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        append(one, run, "a")
        one.close()
        assert _kept(other).session is None
        assert not other.attended("order-1")
        taken = other.claim("order-1")
        assert taken is not None
        assert (taken.entries, taken.head) == (run.entries, run.head)

    def test_a_dead_sessions_run_is_taken_over_with_all_its_entries(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        append(one, run, "a", "b")
        _kill(store, run)
        taken = other.claim("order-1")
        assert taken is not None
        assert (taken.entries, taken.size, taken.head) == (run.entries, run.size, run.head)
        append(other, taken, "c")
        assert paths(store.open()) == ["a", "b", "c"]
        assert verify_chain(other, "order-1") is None

    def test_a_dead_sessions_run_without_entries_is_taken_over(self, store: Store) -> None:
        one, other = store.open(), store.open()
        _kill(store, claimed(one))
        taken = other.claim("order-1")
        assert taken is not None
        append(other, taken, "a")
        assert verify_chain(other, "order-1") is None

    def test_a_session_that_was_fenced_out_can_write_nothing_more(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run, unrelated = claimed(one), claimed(one, "unrelated")
        _kill(store, run)
        other.claim("order-1")
        for lost in (run, unrelated):
            with refused(Fenced):
                append(one, lost, "late")
            assert paths(other, lost.id) == []

    def test_a_session_that_was_fenced_out_can_claim_nothing_more(self, store: Store) -> None:
        one, other = store.open(), store.open()
        _kill(store, claimed(one))
        other.claim("order-1")
        other.create(new_run("free"))
        with refused(Fenced):
            one.claim("free")

    def test_a_session_that_was_fenced_out_gives_back_nothing_when_it_closes(self, store: Store) -> None:
        one, other = store.open(), store.open()
        _kill(store, claimed(one))
        taken = other.claim("order-1")
        one.close()
        assert taken is not None
        append(other, taken, "a")
        assert _kept(other).session == taken.session

    def test_every_run_of_a_dead_session_is_free(self, store: Store) -> None:
        one, other, third = store.open(), store.open(), store.open()
        run = claimed(one)
        claimed(one, "second")
        _kill(store, run)
        assert other.claim("order-1") is not None
        assert third.claim("second") is not None

    def test_a_run_is_attended_as_long_as_its_writer_lives(self, store: Store) -> None:
        one, other = store.open(), store.open()
        one.create(new_run())
        assert not other.attended("order-1")
        run = claimed(one)
        assert other.attended("order-1")
        assert one.attended("order-1")
        _kill(store, run)
        assert not other.attended("order-1")

    def test_a_change_of_the_history_breaks_the_chain(self, store: Store) -> None:
        journal = store.open()
        append(journal, claimed(journal), "a", "b")
        assert verify_chain(journal, "order-1") is None
        assert verify_chain(_Forged(journal), "order-1") is not None


class Messages:
    """``deliver`` and the inbox."""

    def test_messages_come_in_the_order_of_acceptance(self, store: Store) -> None:
        one, other = store.open(), store.open()
        one.create(new_run())
        accepted = [
            journal.deliver(signal("order-1", name, data={"n": name}))
            for journal, name in ((one, "a"), (other, "b"), (one, "c"))
        ]
        assert all(new for _, new in accepted)
        inbox = store.open().inbox("order-1")
        assert inbox == [message for message, _ in accepted]
        assert [message.name for message in inbox] == ["a", "b", "c"]
        assert one.inbox("order-1", inbox[1].seq) == inbox[2:]

    def test_a_message_comes_back_with_every_field(self, store: Store) -> None:
        journal = store.open()
        journal.create(new_run())
        sent = Message("order-1", "cancel", "cancel", {"reason": "no"}, NOW, principal="ann", dedup_id="x")
        journal.deliver(sent)
        (kept,) = journal.inbox("order-1")
        assert kept == msgspec.structs.replace(sent, seq=kept.seq)
        assert kept.seq > 0

    def test_a_repeated_signal_is_accepted_once(self, store: Store) -> None:
        one, other = store.open(), store.open()
        one.create(new_run())
        first, _ = one.deliver(signal("order-1", dedup_id="once", data=1))
        assert other.deliver(signal("order-1", dedup_id="once", data=2)) == (first, False)
        assert one.inbox("order-1") == [first]

    def test_without_a_dedup_id_a_repeated_signal_is_two(self, store: Store) -> None:
        journal = store.open()
        journal.create(new_run())
        journal.deliver(signal("order-1"))
        journal.deliver(signal("order-1"))
        assert len(journal.inbox("order-1")) == 2

    def test_a_dedup_id_is_of_one_chain(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("order-1", "order-1~2"):
            journal.create(new_run(run_id))
        first, _ = journal.deliver(signal("order-1", dedup_id="once"))
        again, new = journal.deliver(signal("order-1~2", dedup_id="once"))
        assert (again, new) == (msgspec.structs.replace(first, run_id="order-1~2"), False)
        assert journal.inbox("order-1~2") == []

    def test_a_dedup_id_is_of_no_other_run(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("order-1", "order-2"):
            journal.create(new_run(run_id))
            assert journal.deliver(signal(run_id, dedup_id="once"))[1]
        assert len(journal.inbox("order-2")) == 1

    def test_an_unknown_run_gets_no_message(self, store: Store) -> None:
        with refused(RunNotFound):
            store.open().deliver(signal("nobody"))

    def test_an_ended_run_gets_no_message_but_knows_those_it_got(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        first, _ = journal.deliver(signal("order-1", dedup_id="once"))
        run.status = "completed"
        journal.commit([Change(run, [completed("a")], state_changed=True, release=True)])
        with refused(RunClosed):
            journal.deliver(signal("order-1"))
        assert journal.deliver(signal("order-1", dedup_id="once")) == (first, False)

    def test_changed_tells_of_others_and_not_of_ourselves(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        one.changed()
        assert not one.changed()
        append(one, run, "a")
        assert not one.changed()
        other.deliver(signal("order-1"))
        assert one.changed()
        assert not one.changed()


class Finding:
    """Runs, for readers."""

    def test_runs_are_listed_newest_first_page_by_page(self, store: Store) -> None:
        journal = store.open()
        for i in range(5):
            journal.create(new_run(f"r{i}"))
        page = journal.list_runs(limit=2)
        assert _ids(page) == ["r4", "r3"]
        assert _ids(journal.list_runs(limit=2, before=page[-1].key)) == ["r2", "r1"]

    def test_runs_are_listed_by_status_and_workflow(self, store: Store) -> None:
        journal = store.open()
        for run_id, workflow, status in (
            ("a", "order", "failed"),
            ("b", "trip", "failed"),
            ("c", "order", "waiting"),
            ("d", "order", "completed"),
        ):
            journal.create(new_run(run_id, workflow=workflow, status=status))
        assert _ids(journal.list_runs(statuses=["failed", "waiting"])) == ["c", "b", "a"]
        assert _ids(journal.list_runs(statuses=["failed"], workflow="order")) == ["a"]
        assert _ids(journal.list_runs(workflow="trip")) == ["b"]

    def test_runs_are_listed_by_search_attributes(self, store: Store) -> None:
        journal = store.open()
        for run_id, search in (
            ("a", {"customer": "c-1", "vip": True}),
            ("b", {"customer": "c-2", "vip": False, 'odd"]. name': None}),
            ("c", {"customer": 1, "vip": 1}),
            ("d", {}),
        ):
            journal.create(new_run(run_id, attributes={"search": search, "memo": {"customer": "c-1"}}))
        journal.create(new_run("e"))

        def listed(*where: tuple[str, list[Scalar]]) -> list[str]:
            return _ids(journal.list_runs(where=where))

        assert listed(("customer", ["c-1"])) == ["a"]
        assert listed(("customer", ["c-1", 1.0])) == ["c", "a"]
        assert listed(("customer", ["c-1", "c-2"]), ("vip", [True])) == ["a"]
        assert listed(("vip", [False])) == ["b"]
        assert listed(("vip", [1])) == ["c"]
        assert listed(("customer", ["1"])) == listed(("customer", [])) == listed(("seller", [None])) == []
        assert listed(('odd"]. name', [None])) == ["b"]
        assert _ids(journal.list_runs(where=[("customer", ["c-1", "c-2"])], limit=1)) == ["b"]

    def test_runs_are_found_by_the_beginning_of_their_ids(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("order-1", "order-2", "Order-3", "trip_1", "trip%"):
            journal.create(new_run(run_id))
        assert _ids(journal.runs_with_prefix("order-")) == ["order-2", "order-1"]
        assert _ids(journal.runs_with_prefix("order-2")) == ["order-2"]
        assert _ids(journal.runs_with_prefix("trip_")) == ["trip_1"]
        assert _ids(journal.runs_with_prefix("", limit=2)) == ["trip%", "trip_1"]

    def test_the_beginning_of_an_id_means_the_latest_of_each_chain(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("order-1", "order-2", *(f"order-2~{number}" for number in range(2, 12))):
            journal.create(new_run(run_id))
        assert _ids(journal.runs_with_prefix("order-", limit=2)) == ["order-2~11", "order-1"]
        assert _ids(journal.runs_with_prefix("order-2~1")) == ["order-2~11", "order-2~10"]

    def test_the_latest_of_a_chain_is_found_by_its_workflow_id(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("order-1", "order-1~2", "order-2"):
            journal.create(new_run(run_id))
        latest = journal.latest_of("order-1")
        assert latest is not None
        assert latest.id == "order-1~2"
        assert journal.latest_of("order") is None

    def test_the_run_last_started_is_not_a_child(self, store: Store) -> None:
        journal = store.open()
        assert journal.last_started() is None
        for run_id, parent in (("a", None), ("b", None), ("b/ship", "b")):
            journal.create(new_run(run_id, parent_id=parent))
        last = journal.last_started()
        assert last is not None
        assert last.id == "b"

    def test_the_run_last_started_is_no_successor_of_another(self, store: Store) -> None:
        journal = store.open()
        for run_id in ("a", "b", "a~2"):
            journal.create(new_run(run_id))
        last = journal.last_started()
        assert last is not None
        assert last.id == "b"
        journal.create(new_run("b~2"))
        last = journal.last_started()
        assert last is not None
        assert last.id == "b~2"


class Registry:
    """Documents and definitions."""

    def test_a_document_is_kept_as_it_was_first_put(self, store: Store) -> None:
        journal = store.open()
        first = Document("d1", "order", 1, b'{"name":"order"}', "name: order # é\n")
        journal.put_document(first)
        journal.put_document(msgspec.structs.replace(first, source="name: order\n"))
        assert store.open().document("d1") == first
        assert store.open().document("d2") is None

    def test_a_document_is_found_by_every_text_it_was_put_with(self, store: Store) -> None:
        journal = store.open()
        document = Document("d1", "order", 1, b"{}", "one")
        for text in ("one", "two"):
            journal.put_document(msgspec.structs.replace(document, source=text))
            assert store.open().document_of_source(text) == document
        assert store.open().document_of_source("three") is None

    def test_a_text_that_is_another_document_now_finds_the_latest(self, store: Store) -> None:
        journal = store.open()
        documents = [Document(digest, "order", 1, b"{}", "text") for digest in ("d1", "d2")]
        for document in documents:
            journal.put_document(document)
        assert store.open().document_of_source("text") == documents[1]
        assert journal.document("d1") == documents[0]

    def test_a_version_once_deployed_cannot_change(self, store: Store) -> None:
        journal = store.open()
        assert journal.deploy("order", 1, "d1", NOW)
        assert not journal.deploy("order", 1, "d1", NOW + 1)
        with refused(VersionTaken):
            journal.deploy("order", 1, "d2", NOW)
        assert [(d.digest, d.deployed_at) for d in store.open().definitions()] == [("d1", NOW)]

    def test_definitions_come_by_name_newest_version_first(self, store: Store) -> None:
        journal = store.open()
        for name, version in (("trip", 1), ("order", 2), ("order", 10), ("order", 1)):
            journal.deploy(name, version, "d", NOW)
        assert [(d.name, d.version) for d in journal.definitions()] == [
            ("order", 10),
            ("order", 2),
            ("order", 1),
            ("trip", 1),
        ]
        assert [d.version for d in journal.definitions("trip")] == [1]

    def test_a_version_is_deprecated_with_a_message(self, store: Store) -> None:
        journal = store.open()
        journal.deploy("order", 1, "d", NOW)
        journal.deprecate("order", 1, "use 2")
        assert [d.deprecated for d in store.open().definitions()] == ["use 2"]
        with refused(NotFound):
            journal.deprecate("order", 2, "use 3")


class Touching:
    """``touched``: which runs may have changed, for those who look on; and what it all adds up to."""

    def test_nobody_is_touched_since_nothing_was_known(self, store: Store) -> None:
        journal = store.open()
        claimed(journal)
        assert journal.touched(None, NOW)[1] == []

    def test_a_new_run_is_touched_and_a_waiting_one_then_is_not(self, store: Store) -> None:
        journal, other = store.open(), store.open()
        _rest(journal, claimed(journal), due_at=None)
        mark, _ = other.touched(None, NOW)
        _rest(journal, claimed(journal, "order-2"), due_at=None)
        mark, touched = other.touched(mark, NOW)
        assert touched == ["order-2"]
        assert other.touched(mark, NOW)[1] == []

    def test_entries_and_messages_touch_their_run(self, store: Store) -> None:
        journal, other = store.open(), store.open()
        for run_id in ("order-1", "order-2", "order-3"):
            _rest(journal, claimed(journal, run_id), due_at=None)
        mark, _ = other.touched(None, NOW)
        run = journal.claim("order-1")
        assert run is not None
        append(journal, run, "a")
        _rest(journal, run, due_at=None)
        mark, touched = other.touched(mark, NOW)
        assert touched == ["order-1"]
        journal.deliver(signal("order-2"))
        assert other.touched(mark, NOW)[1] == ["order-2"]

    def test_a_run_that_somebody_has_is_touched_until_it_was_given_back(self, store: Store) -> None:
        journal, other = store.open(), store.open()
        run = claimed(journal)
        mark, _ = other.touched(None, NOW)
        _rest(journal, run, due_at=None)  # no entry tells of it
        mark, touched = other.touched(mark, NOW)
        assert touched == ["order-1"]
        assert other.touched(mark, NOW)[1] == []

    def test_a_run_that_is_due_is_touched_since_somebody_may_have_had_it(self, store: Store) -> None:
        journal, other = store.open(), store.open()
        _rest(journal, claimed(journal), due_at=NOW + 10)
        mark, _ = other.touched(None, NOW)
        assert other.touched(mark, NOW + 9)[1] == []
        mark, touched = other.touched(mark, NOW + 10)
        assert touched == ["order-1"]
        _rest(journal, claimed(journal), due_at=None)
        assert other.touched(mark, NOW + 10)[1] == ["order-1"]

    def test_statistics_count_runs_by_workflow_and_status_and_what_is_due(self, store: Store) -> None:
        journal = store.open()
        journal.create(new_run("order-1"))
        journal.create(new_run("order-2"))
        _rest(journal, claimed(journal, "order-3"), due_at=NOW + 60_000)
        found = journal.statistics(NOW + 1_000)
        assert [tuple(each) for each in found.runs] == [("order", "created", 3)]
        assert (found.due, found.workers) == (2, 0)
        journal.enlist()
        assert journal.statistics(NOW).workers == 1


class Closing:
    """``close``."""

    def test_a_closed_journal_writes_nothing_more(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        journal.close()
        journal.close()
        with refused(StorageError):
            append(journal, run, "a")
        with refused(StorageError):
            journal.create(new_run("late"))
        assert paths(store.open()) == []


class TakingUp:
    """What workers live on: which runs are due, and hearing of what concerns one's own."""

    def test_an_accepted_run_is_due_at_once(self, store: Store) -> None:
        journal = store.open()
        journal.create(new_run())
        assert journal.next_due() == NOW
        assert _due(journal, NOW - 1) == []
        assert _due(journal, NOW) == ["order-1"]

    def test_a_run_that_was_taken_up_is_due_for_nobody(self, store: Store) -> None:
        one, other = store.open(), store.open()
        one.create(new_run())
        assert _due(one) == ["order-1"]
        assert other.next_due() is None
        assert _due(other) == []
        assert _kept(other).session == _kept(one).session is not None

    def test_what_was_due_first_is_taken_up_first(self, store: Store) -> None:
        journal = store.open()
        for number, moment in enumerate([NOW + 2, NOW, NOW + 1]):
            _rest(journal, claimed(journal, f"run-{number}"), due_at=moment)
        assert journal.next_due() == NOW
        assert _due(journal, limit=2) == ["run-1", "run-2"]
        assert _due(journal) == ["run-0"]

    def test_a_run_that_only_waits_for_a_message_is_never_due_by_itself(self, store: Store) -> None:
        journal = store.open()
        _rest(journal, claimed(journal), due_at=None)
        assert journal.next_due() is None
        assert _due(journal) == []

    def test_a_message_makes_a_run_due(self, store: Store) -> None:
        journal = store.open()
        _rest(journal, claimed(journal), due_at=None)
        journal.deliver(signal("order-1"))
        assert _due(journal) == ["order-1"]

    def test_a_run_given_back_with_an_unread_message_is_due(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        journal.deliver(signal("order-1"))
        _rest(journal, run, due_at=None)
        assert _due(journal) == ["order-1"]

    def test_a_run_given_back_with_nothing_unread_is_due_when_it_says(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        seen = journal.deliver(signal("order-1"))[0].seq
        _rest(journal, run, due_at=NOW + 5, seen=seen)
        assert journal.next_due() == NOW + 5

    def test_what_waits_for_a_worker_is_counted(self, store: Store) -> None:
        one, other = store.open(), store.open()
        one.create(new_run())
        _rest(one, claimed(one, "order-2"), due_at=NOW + 20)
        _rest(one, claimed(one, "order-3"), due_at=None)
        assert [other.due(now) for now in (NOW - 1, NOW, NOW + 20)] == [0, 1, 2]
        claimed(one)
        assert other.due(NOW + 20) == 1

    def test_a_run_that_has_ended_is_never_due(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        journal.deliver(signal("order-1"))
        run.status = "completed"
        _rest(journal, run, due_at=NOW)
        assert _due(journal) == []

    def test_runs_of_a_session_that_left_are_due(self, store: Store) -> None:
        one, other = store.open(), store.open()
        append(one, claimed(one), "a")
        one.close()
        assert _due(other) == ["order-1"]

    def test_runs_of_a_dead_session_are_due_once_that_was_noticed(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        append(one, run, "a")
        assert not other.reap()
        _kill(store, run)
        assert _due(other) == []
        assert other.reap()
        [taken] = other.try_claim_due(NOW, 10) or []
        assert (taken.entries, taken.size, taken.head) == (run.entries, run.size, run.head)
        append(other, taken, "b")
        assert verify_chain(other, "order-1") is None
        assert not other.reap()
        with refused(Fenced):
            append(one, run, "late")

    def test_a_run_that_waits_in_the_memory_of_a_dead_session_is_due_too(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        run.status, run.due_at = "waiting", None
        one.commit([Change(run, [], state_changed=True)])
        _kill(store, run)
        assert other.reap()
        assert _due(other) == ["order-1"]

    def test_taking_up_runs_waits_for_nobody(self, store: Store) -> None:
        journal = store.open()
        journal.create(new_run())
        with store.busy():
            assert journal.try_claim_due(NOW, 10) is None
        assert _due(journal) == ["order-1"]

    def test_a_session_hears_of_messages_for_its_own_runs_once(self, store: Store) -> None:
        one, other = store.open(), store.open()
        claimed(one)
        claimed(other, "unrelated")
        first = other.deliver(signal("order-1"))[0]
        other.deliver(signal("unrelated"))
        assert one.news() == [first]
        assert one.news() == []

    def test_a_commit_can_tell_another_run(self, store: Store) -> None:
        journal = store.open()
        _rest(journal, claimed(journal, "parent"), due_at=None)
        run = claimed(journal)
        journal.commit([Change(run, [completed("a")], tell=_ended("parent"))])
        [message] = journal.inbox("parent")
        assert (message.kind, message.name) == ("child", "order-1")
        assert _due(journal) == ["parent"]

    def test_a_run_that_has_ended_is_told_nothing(self, store: Store) -> None:
        journal = store.open()
        parent = claimed(journal, "parent")
        parent.status = "completed"
        _rest(journal, parent, due_at=None)
        run = claimed(journal)
        journal.commit([Change(run, [completed("a")], tell=_ended("parent"))])
        assert journal.inbox("parent") == []
        assert _due(journal) == []

    def test_a_run_is_due_that_is_told_as_it_is_given_back(self, store: Store) -> None:
        journal = store.open()
        parent, run = claimed(journal, "parent"), claimed(journal)
        parent.due_at = None
        resting = Change(parent, [], state_changed=True, release=True)
        journal.commit([resting, Change(run, [completed("a")], tell=_ended("parent"))])
        assert _due(journal) == ["parent"]

    def test_workers_are_counted_while_they_live(self, store: Store) -> None:
        one, other = store.open(), store.open()
        claimed(one)
        assert other.workers() == 0
        one.enlist()
        assert other.workers() == 1
        one.beat()
        one.close()
        assert other.workers() == 0


class Heartbeats:
    """How far attempts in flight have come."""

    def test_of_each_path_the_latest_is_kept_for_everybody(self, store: Store) -> None:
        journal = store.open()
        run, other = claimed(journal), claimed(journal, "order-2")
        _beat(journal, run, Heartbeat("a", 1, b"1"), Heartbeat("b", 2, b'{"page":7}'))
        _beat(journal, other, Heartbeat("a", 1, b"3"))
        _beat(journal, run, Heartbeat("a", 2, b"2"))
        assert store.open().heartbeats("order-1") == [
            Heartbeat("a", 2, b"2"),
            Heartbeat("b", 2, b'{"page":7}'),
        ]
        assert journal.entries("order-1") == []

    def test_one_that_is_not_needed_is_gone(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        _beat(journal, run, Heartbeat("a", 1, b"1"), Heartbeat("b", 1, b"2"))
        _beat(journal, run, Heartbeat("a", 1), Heartbeat("c", 1))
        assert journal.heartbeats("order-1") == [Heartbeat("b", 1, b"2")]

    def test_they_outlive_their_writer(self, store: Store) -> None:
        one, other = store.open(), store.open()
        run = claimed(one)
        _beat(one, run, Heartbeat("a", 1, b"1"))
        _kill(store, run)
        claimed(other)
        assert other.heartbeats("order-1") == [Heartbeat("a", 1, b"1")]
        with refused(Fenced):
            _beat(one, run, Heartbeat("a", 1, b"2"))
        assert other.heartbeats("order-1") == [Heartbeat("a", 1, b"1")]

    def test_a_run_that_has_ended_has_none(self, store: Store) -> None:
        journal = store.open()
        run = claimed(journal)
        _beat(journal, run, Heartbeat("a", 1, b"1"))
        run.status = "terminated"
        journal.commit([Change(run, [], state_changed=True, release=True)])
        assert journal.heartbeats("order-1") == []


class JournalConformance(
    Accepting, Committing, Claiming, Messages, Finding, Registry, TakingUp, Heartbeats, Touching, Closing
):
    """All of it. Subclass it with a fixture ``store``, a ``Store``."""


class _Forged:
    """A journal whose first entry says something else than what was written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        first, *others = self._journal.entries(run_id, after)
        first.fact.data["output"] = "forged"
        return [first, *others]


def _due(journal: Journal, now: int = NOW + 10, limit: int = 10) -> list[str]:
    """The ids of the runs that the journal's session takes up."""
    runs = journal.try_claim_due(now, limit)
    assert runs is not None, "nobody else is writing"
    return _ids(runs)


def _rest(journal: Journal, run: Run, *, due_at: int | None, seen: int = 0) -> None:
    """Give a run back until it is due."""
    run.due_at = due_at
    journal.commit([Change(run, [], state_changed=True, release=True, seen=seen)])


def _ended(parent: str) -> Message:
    return Message(parent, "child", "order-1", None, NOW)


def _beat(journal: Journal, run: Run, *heartbeats: Heartbeat) -> None:
    journal.commit([Change(run, [], heartbeats=heartbeats)])


def _kill(store: Store, run: Run) -> None:
    assert run.session is not None, "a claimed run has a writer"
    store.kill(run.session)


def _kept(journal: Journal, run_id: str = "order-1") -> Run:
    run = journal.run(run_id)
    assert run is not None, "it was accepted"
    return run


def _ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]
