"""A store in memory as bytes, to be opened somewhere else: what a run carries along that moves.

Only what was accepted moves. Who has which run does not: in the new place nobody has any. Nor do hashes, of
which nothing could be saved by compressing them: but for a run's first, they follow from what they are about.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import msgspec

from flowctl.errors import InternalError
from flowctl.journal import Document, Fact, Run, chain_hash
from flowctl.journal.memory import MemoryStore, Row

FORMAT = 1
"""Grows when what an older flowctl packed must be read in another way."""


_Bare = tuple[int, str, str, int, int, int, str]
"""A row without its run and its hash."""


class _Packed(msgspec.Struct):
    """``runs``, their ``rows``, the hash of the first of them, and their ``inbox`` are in the same order."""

    format: int
    documents: list[Document]
    runs: list[Run]
    rows: list[list[_Bare]]
    first: list[bytes]
    inbox: list[list[bytes]]
    last_seq: int
    last_message: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode
_encode_run = msgspec.json.Encoder(order="sorted").encode
_decode_run = msgspec.json.Decoder(Run).decode


def pack(store: MemoryStore, *, leave: Collection[str] = ()) -> bytes:
    """All that a store has but for the runs to ``leave`` behind."""
    runs = [run for run in map(_decode_run, store.runs.values()) if run.id not in leave]
    packed = _Packed(
        FORMAT,
        list(store.documents.values()),
        runs,
        [[(row[0], *row[2:8]) for row in store.rows[run.key]] for run in runs],
        [store.rows[run.key][0][8] if store.rows[run.key] else b"" for run in runs],
        [store.inbox[run.key] for run in runs],
        store.last_seq,
        store.last_message,
    )
    return zlib.compress(_encode(packed), 6)


def unpack(data: bytes) -> MemoryStore:
    """The inverse: a store that nobody has opened yet."""
    packed = _decode(zlib.decompress(data))
    if packed.format != FORMAT:
        raise InternalError(f"this run was packed in format {packed.format}, and {FORMAT} is known here")
    store = MemoryStore()
    for document in packed.documents:
        store.documents[document.digest] = document
        store.sources[document.source] = document.digest
    for key, (run, rows, first, inbox) in enumerate(
        zip(packed.runs, packed.rows, packed.first, packed.inbox, strict=True), start=1
    ):
        run.key, run.session = key, None
        store.keys[run.id] = key
        store.runs[key] = _encode_run(run)
        store.rows[key] = _hashed(rows, key, first)
        store.identities.update(row[1:6] for row in store.rows[key])
        store.inbox[key] = inbox
    store.last_seq, store.last_message = packed.last_seq, packed.last_message
    return store


def _hashed(rows: list[_Bare], key: int, first: bytes) -> list[Row]:
    """Rows as they are stored."""
    found: list[Row] = []
    for seq, path, kind, attempt, generation, at, data in rows:
        fact = Fact(path, kind, at, attempt, generation)
        digest = chain_hash(found[-1][8], fact, data.encode()) if found else first
        found.append((seq, key, path, kind, attempt, generation, at, data, digest))
    return found
