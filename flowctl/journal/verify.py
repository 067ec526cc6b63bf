"""Checking a run's hash chain: that nothing was lost from its history, slipped into it or changed.

The chain starts at the run's identity, input and first document (``genesis``) and goes through every entry;
the run's row keeps how many there were when it was last written, and the hash of the last, so that a missing
end shows as well.
"""

from __future__ import annotations

from flowctl.journal import Entry, Journal, Run, as_accepted, chain_hash, encode_entry, genesis, refusals


def verify_chain(journal: Journal, run_id: str) -> str | None:
    """What is wrong with the run's history, in one sentence, or None. ``RunNotFound``."""
    run, entries = _at_rest(journal, run_id)
    heads = [genesis(as_accepted(run, entries))]
    for entry in entries:
        heads.append(chain_hash(heads[-1], entry.fact, encode_entry(entry)))
        if entry.hash != heads[-1]:
            what = f"{entry.fact.kind} at {entry.fact.path or 'the root'}"
            return f"entry {entry.seq} ({what}) was changed, or what came before it was"
    if len(entries) < run.entries:
        return f"{run.entries - len(entries)} of {run.entries} entries are missing at the end"
    if heads[run.entries] != run.head:
        return f"the run's row and its entry {run.entries} do not agree"
    if run.session is None and len(entries) > run.entries:
        return f"{len(entries) - run.entries} entries at the end were not written by the run's own session"
    return None


def _at_rest(journal: Journal, run_id: str) -> tuple[Run, list[Entry]]:
    """A run's row and entries of one moment: its writer may be writing between our two reads."""
    before, entries = None, list[Entry]()
    while (run := journal.run(run_id)) is not None:
        if run == before:
            return run, entries
        before, entries = run, journal.entries(run_id)
    raise refusals.run_not_found(run_id)
