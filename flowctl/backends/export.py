"""A run as a file: everything that was recorded of it, for archives, bug reports and tests elsewhere.

The lines are JSON documents. The first is the header: the format, the run's row, and the documents it
pinned, each with its text. Then comes the journal, an entry a line, in order, with its hash. Values are
as the journal has them: times in milliseconds, hashes in hexadecimal. So who reads an export can repeat
the chain of hashes (``journal.chain_hash``), from the run's identity on (``journal.genesis``). A run that
was migrated began with the document that its first ``migrated`` entry comes from.

What ``secret: true`` covers is left out. Such an entry says ``redacted``; its hash is that of what was there,
so the chain goes on, but this one link can be checked no longer. Messages that the run has not received yet
are not part of its history, and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from flowctl.journal import Document, Entry, Fact, Journal, Run, encode_entry, is_secret
from flowctl.status import SecretPaths, without_secrets

FORMAT = 1
"""Grows when a reader of older exports would misunderstand a new one."""

_OWN = ("key", "session", "wake_at")
"""Columns that mean something to their journal only."""


def export(journal: Journal, run: Run) -> Iterator[dict[str, Any]]:
    """The lines of an export. The row is read before the entries, so what it tells is among them."""
    entries = journal.entries(run.id)
    pinned = [journal.document(digest) for digest in _digests(run, entries)]
    documents = [_document_json(document) for document in pinned if document is not None]
    header = {"flowctl": "run", "format": FORMAT, "run": _run_json(run, entries), "documents": documents}
    yield header | ({"redacted": True} if is_secret(run) else {})
    secret = SecretPaths.of(run)
    for entry in entries:
        yield _entry_json(entry, secret)


def _digests(run: Run, entries: list[Entry]) -> list[str]:
    """The documents that the run has, those it had before it was migrated, and those of its children."""
    before = [entry.fact.data["from"]["digest"] for entry in entries if entry.fact.kind == "migrated"]
    children = [digest for pins in (run.pins or {}).values() for digest in pins.values()]
    return list(dict.fromkeys([run.digest, *before, *children]))


def _run_json(run: Run, entries: list[Entry]) -> dict[str, Any]:
    """The row. A run that is being driven has more entries than its row knows of."""
    columns = {name: value for name, value in msgspec.structs.asdict(run).items() if name not in _OWN}
    head = entries[-1].hash if entries else run.head
    size = sum(len(encode_entry(entry)) for entry in entries)
    if any("secret_output" in fact.data for entry in entries[-1:] for fact in entry.facts() if not fact.path):
        columns["output"] = None
    if is_secret(run):
        columns["input"] = columns["output"] = None
    if "left" in (run.inherited or {}):
        left = without_secrets(run.inherited["left"], whole=is_secret(run))
        columns["inherited"] = {**run.inherited, "left": left}
    return columns | {"entries": len(entries), "size": size, "head": head.hex()}


def _document_json(document: Document) -> dict[str, Any]:
    return msgspec.structs.asdict(document) | {"body": msgspec.json.decode(document.body)}


def _entry_json(entry: Entry, secret: SecretPaths) -> dict[str, Any]:
    visible = [secret.visible(fact) for fact in entry.facts()]
    told = [(fact, data) for fact, data in zip(entry.facts(), visible, strict=True)]
    line = {"seq": entry.seq, **_fact_json(*told[0]), "then": [_fact_json(*each) for each in told[1:]]}
    line["hash"] = entry.hash.hex()
    if any(data != fact.data for fact, data in told):
        line["redacted"] = True
    return line


def _fact_json(fact: Fact, data: dict[str, Any]) -> dict[str, Any]:
    return msgspec.structs.asdict(fact) | {"path": str(fact.path), "data": data}
