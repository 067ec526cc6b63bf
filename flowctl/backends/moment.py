"""A run as it was just before one of its steps began: what had happened until then, and the row that makes.

Only the facts before the step's own first one are looked at (that may be its condition, or, of a block that
records nothing itself, the first thing inside of it). Facts ride on entries: an entry that brought the end of
one step and the start of the next is cut between them. What the row says about later is taken back. What a
run waited for then was not recorded as a whole and is left empty, and of its attributes only those are known
that it has set itself.

A step that ran twice, because the run was retried, means the first time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from flowctl.errors import NotFound
from flowctl.journal import Entry, Fact, Run, as_accepted, encode_entry
from flowctl.state import RunStatus

_LATER = ("completed_at", "output", "error", "saga", "waiting_for", "blocked", "wake_at")
"""What a row has from things that happen as a run goes on."""


def before(run: Run, entries: Iterable[Entry], path: str) -> tuple[Run, list[Entry]]:
    """The run's row and entries just before the step at ``path`` began. ``NotFound`` if it never did."""
    known: list[Entry] = []
    entries = list(entries)
    for number, entry in enumerate(entries):
        facts = list(entry.facts())
        for position, fact in enumerate(facts):
            if _is_inside(fact.path, path):
                known += _cut(entry, facts[:position])
                return _as_it_was(as_accepted(run, entries[number:]), known, fact.generation), known
        known.append(entry)
    raise _not_reached(run, known, path)


def _is_inside(path: str, outer: str) -> bool:
    """Whether a path is ``outer``, or of something inside of it; what happens to the run has no path."""
    if not (path and outer):
        return False
    return path == outer or (path.startswith(outer) and path[len(outer)] in ".[")


def _cut(entry: Entry, facts: list[Fact]) -> list[Entry]:
    return [Entry(facts[0], facts[1:], entry.seq, entry.hash)] if facts else []


def _as_it_was(run: Run, entries: list[Entry], generation: int) -> Run:
    status, attributes = RunStatus.RUNNING, _NONE
    for fact in (fact for entry in entries for fact in entry.facts()):
        if not fact.path:
            status = _STATUS.get(fact.kind, status)
        elif fact.kind == "completed" and fact.data.get("verb") == "attributes":
            attributes = {key: attributes[key] | fact.data["output"].get(key, {}) for key in attributes}
    return msgspec.structs.replace(
        run,
        **dict.fromkeys(_LATER),
        status=str(status),
        attributes=attributes,
        generation=generation,
        entries=len(entries),
        size=sum(len(encode_entry(entry)) for entry in entries),
    )


_NONE: dict[str, dict[str, Any]] = {"search": {}, "memo": {}}

_STATUS = {"compensating": RunStatus.COMPENSATING, "reopened": RunStatus.RUNNING}
"""What facts about the run as a whole make of it. At any other time a run that begins a step is running."""


def _not_reached(run: Run, entries: list[Entry], path: str) -> NotFound:
    from flowctl.expressions.hints import did_you_mean

    reached = {fact.path for entry in entries for fact in entry.facts() if fact.path}
    return NotFound(f"run {run.id} has not come to {path!r}", hint=did_you_mean(path, reached, "it came to"))
