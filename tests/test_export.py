"""A run as a file: complete, self-contained, and without what is secret."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from flowctl.backends.export import FORMAT, export
from flowctl.journal import Change, Document, Entry, Fact, Run, chain_hash, encode_entry, genesis
from flowctl.journal.memory import MemoryJournal
from flowctl.testing.journal_conformance import claimed, completed, new_run

SOURCE = "dsl: 1  # as its author wrote it\n"
DOCUMENT = Document("d" * 64, "order", 1, b'{"dsl":1}', SOURCE)


def secret_step() -> list[Entry]:
    begun = {"verb": "activity", "name": "mail.send", "secret": True, "input": {"pin": "4711"}}
    start = Fact("tell", "started", 1, 1, data=begun)
    inside = Fact("tell", "completed", 2, 1, data={"output": {"pin": "4711"}})
    return [Entry(completed("charge").fact, [start]), Entry(inside, [])]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def run(journal: MemoryJournal) -> Run:
    journal.put_document(DOCUMENT)
    return claimed(journal, "order-1")


def exported(journal: MemoryJournal, run: Run) -> list[dict[str, Any]]:
    """What a reader of the file has: everything went through JSON."""
    return [json.loads(msgspec.json.encode(line)) for line in export(journal, run)]


def chain(lines: list[dict[str, Any]]) -> list[str]:
    """The hashes as somebody else works them out from an export."""
    header, *entries = lines
    row = header["run"]
    head = genesis(new_run(row["id"], digest=row["digest"], input=row["input"], created_at=row["created_at"]))
    hashes = []
    for line in entries:
        entry = Entry(msgspec.convert(line, Fact), msgspec.convert(line["then"], list[Fact]))
        head = chain_hash(head, entry.fact, encode_entry(entry))
        hashes.append(head.hex())
        head = bytes.fromhex(line["hash"])
    return hashes


def test_the_header_has_the_run_and_its_document(journal: MemoryJournal, run: Run) -> None:
    header, *entries = exported(journal, run)
    assert (header["flowctl"], header["format"], entries) == ("run", FORMAT, [])
    assert (header["run"]["id"], header["run"]["input"]) == ("order-1", run.input)
    assert header["run"].keys().isdisjoint({"key", "session"})
    assert header["documents"] == [
        {"digest": "d" * 64, "name": "order", "version": 1, "body": {"dsl": 1}, "source": SOURCE}
    ]


def test_the_entries_are_whole_and_their_hashes_can_be_repeated(journal: MemoryJournal, run: Run) -> None:
    journal.commit([Change(run, [completed("charge", {"id": "Zoë"}), completed("ship")])])
    lines = exported(journal, run)
    header, charge, ship = lines
    assert (charge["path"], charge["data"]) == ("charge", {"output": {"id": "Zoë"}})
    assert charge["then"][0]["path"] == "charge_next"
    assert "redacted" not in charge
    assert chain(lines) == [charge["hash"], ship["hash"]]
    assert header["run"]["head"] == ship["hash"]
    assert header["run"]["entries"] == 2


def test_the_row_counts_what_is_there_and_not_what_it_knew(journal: MemoryJournal, run: Run) -> None:
    journal.commit([Change(run, [completed("charge")])])
    row = journal.run("order-1")
    assert row is not None
    assert row.entries == 0, "the row is not written with every entry"
    assert exported(journal, row)[0]["run"]["entries"] == 1


def test_what_is_secret_is_left_out_and_says_so(journal: MemoryJournal, run: Run) -> None:
    journal.commit([Change(run, [*secret_step(), completed("ship")])])
    lines = exported(journal, run)
    assert "4711" not in json.dumps(lines)
    assert [line.get("redacted", False) for line in lines[1:]] == [True, True, False]
    assert lines[1]["then"][0]["data"]["name"] == "mail.send"
    assert chain(lines)[-1] == lines[-1]["hash"], "the chain goes on behind what was left out"


def test_an_output_that_is_secret_is_left_out_of_the_row_and_of_the_end(
    journal: MemoryJournal, run: Run
) -> None:
    run.output = {"pin": "4711"}
    end = {"status": "completed", "output": run.output, "secret_output": True}
    summed = Fact("block", "completed", 3, data={"output": {"pin": "4711"}, "secret_output": True})
    journal.commit([Change(run, [Entry(summed, [Fact("", "ended", 3, data=end)])], state_changed=True)])
    lines = exported(journal, run)
    assert "4711" not in json.dumps(lines)
    assert lines[1]["redacted"]
