"""Checking a run's hash chain: that nothing was lost from its history, slipped into it or changed.

The chain starts at the run's identity, input and first document (``genesis``) and goes through every entry;
the run's row keeps how many there were when it was last written, and the hash of the last, so that a missing
end shows as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flowctl.journal import (
    Entry,
    Fact,
    Journal,
    Run,
    as_accepted,
    chain_hash,
    encode_entry,
    genesis,
    refusals,
)


class Link(NamedTuple):
    """An entry as the chain sees it: its identity, its data as stored, and the hash it claims to have."""

    seq: int
    fact: Fact
    data: bytes
    hash: bytes


class Break(NamedTuple):
    """Where a chain is broken, and how: after so many entries that are right. ``seq`` and ``path`` are None
    for what is no single entry.
    """

    message: str
    before: int
    seq: int | None = None
    path: str | None = None


def verify_chain(journal: Journal, run_id: str) -> str | None:
    """What is wrong with the run's history, in one sentence, or None. ``RunNotFound``."""
    run, entries = _at_rest(journal, run_id)
    links = (Link(entry.seq, entry.fact, encode_entry(entry), entry.hash) for entry in entries)
    broken = check_chain(run, genesis(as_accepted(run, entries)), links)
    return None if broken is None else broken.message


def check_chain(run: Run, start: bytes, links: Iterable[Link]) -> Break | None:
    """The first thing that is wrong with a run's chain, which begins at ``start``, or None."""
    head, count, size = start, 0, 0
    agreed = (head, size)  # as the row has it: it may be some entries behind
    for link in links:
        if link.hash != (head := _next(head, link)):
            return _broken(link, count)
        count, size = count + 1, size + len(link.data)
        if count == run.entries:
            agreed = (head, size)
    if count < run.entries:
        return Break(f"{run.entries - count} of {run.entries} entries are missing at the end", count)
    if agreed != (run.head, run.size):
        return Break(f"the run's row and its entry {run.entries} do not agree", run.entries)
    if run.session is None and count > run.entries:
        more = count - run.entries
        return Break(f"{more} entries at the end were not written by the run's own session", run.entries)
    return None


def _next(head: bytes, link: Link) -> bytes:
    """The hash that an entry must have; none at all if it holds what no entry can."""
    try:
        return chain_hash(head, link.fact, link.data)
    except UnicodeEncodeError:
        return b""


def _broken(link: Link, before: int) -> Break:
    what = f"{link.fact.kind} at {link.fact.path or 'the root'}"
    message = f"entry {link.seq} ({what}) was changed, or what came before it was"
    return Break(message, before, link.seq, link.fact.path)


def _at_rest(journal: Journal, run_id: str) -> tuple[Run, list[Entry]]:
    """A run's row and entries of one moment: its writer may be writing between our two reads."""
    before, entries = None, list[Entry]()
    while (run := journal.run(run_id)) is not None:
        if run == before:
            return run, entries
        before, entries = run, journal.entries(run_id)
    raise refusals.run_not_found(run_id)
