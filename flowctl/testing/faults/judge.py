"""What came of a story, by the word of two witnesses: the journal, and a ledger that the services keep
outside of it.

What is checked, whenever a process has died and at the end:

1. The hash chain of every run verifies.
2. What has begun, by the ledger, was recorded as started before: an effect comes after what it hangs on is
   durable.
3. A step or compensation that the journal called completed when the process died is never begun again.
4. An attempt is not begun more often than usual, but for once more in the place of each process that died.
5. No timer fires before the wall clock has shown its moment.
6. The story ends as when nobody disturbs it: status, output, error, saga, steps, keys, and what was undone,
   in its order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.errors import NotFound
from flowctl.journal import Fact
from flowctl.journal.sqlite import SqliteJournal
from flowctl.journal.verify import verify_chain
from flowctl.status import status_document

RUN = "victim"
"""The workflow id of every story."""

NEW = "new"
OWN_IDS = (RUN, "other", "test")
"""What ids begin with that a harness gives to runs. Those that get one by chance are called ``NEW``."""


class Violation(Exception):
    """A promise was broken."""


@dataclasses.dataclass(frozen=True)
class Look:
    """Both witnesses at one moment: the lines of the ledger; the runs' status documents in the order of
    creation, what the journal says was started (as ``KEY#ATTEMPT``), what is wrong with the chains, and which
    timers fired early.
    """

    ledger: list[dict[str, Any]]
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    started: list[str] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    early: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def at(cls, database: Path, ledger: Path) -> Look:
        """Read the ledger, and then the journal."""
        found = cls(read_ledger(ledger))
        try:
            journal = SqliteJournal.open(database, read_only=True)
        except NotFound:
            return found
        with contextlib.closing(journal):
            for run in reversed(journal.list_runs(limit=10_000)):
                entries = journal.entries(run.id)
                facts = [fact for entry in entries for fact in entry.facts()]
                begun = [fact for fact in facts if fact.kind == "started"]
                found.runs.append(status_document(run, entries, count=10_000))
                found.started.extend(f"{run.id}/{fact.path}#{fact.attempt}" for fact in begun)
                found.early.extend(f"{run.id}/{early}" for early in early_timers(facts))
                if wrong := verify_chain(journal, run.id):
                    found.broken.append(f"{run.id}: {wrong}")
        return found

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Look:
        """The inverse."""
        return cls(**json.loads(text))


@dataclasses.dataclass(frozen=True)
class Ending:
    """What came of a story, without what differs between any two times that it happens."""

    runs: Mapping[str, Mapping[str, Any]]
    keys: frozenset[str]
    undone: Sequence[str]
    begun: Counter[str] = dataclasses.field(compare=False)


class Judge:
    """Follows one telling of a story; ``usual`` is how it ends undisturbed, if that is known."""

    def __init__(self, usual: Ending | None = None) -> None:
        self._usual = usual
        self._completed: dict[str, int] = {}
        self._deaths = 0

    def after_death(self, look: Look) -> None:
        """A process has died: check, and remember what was completed by then."""
        self._deaths += 1
        self._check(look)
        for document in look.runs:
            for key in _completed(document):
                self._completed.setdefault(key, len(look.ledger))

    def at_the_end(self, look: Look) -> Ending:
        """The story is over."""
        self._check(look)
        return _ending(look)

    def _check(self, look: Look) -> None:
        begun = _begun(look)
        if look.broken:
            raise Violation(f"a chain is broken: {', '.join(look.broken)}")
        if early := begun.keys() - set(look.started):
            raise Violation(
                f"{', '.join(sorted(early))} began, and the journal does not know that it started"
            )
        if look.early:
            raise Violation(f"a timer fired early: {', '.join(look.early)}")
        for attempt, times in begun.items():
            if self._usual and times > (1 + self._deaths) * max(1, self._usual.begun[_own(attempt)]):
                raise Violation(f"{attempt} began {times} times in {self._deaths + 1} lives")
        for position, line in enumerate(look.ledger):
            if line["phase"] == "begin" and position >= self._completed.get(line["key"], position + 1):
                raise Violation(f"{line['key']} was completed, and was begun again")


def early_timers(facts: Iterable[Fact]) -> Iterator[str]:
    """What came of a timer before that was due: the end of a sleep, a timeout of a wait or a block, the
    attempt after a backoff. ``facts`` of one run, in order.
    """
    due: dict[tuple[str, str, int], int] = {}
    for fact in facts:
        moment = due.get((fact.path, fact.kind, fact.attempt))
        if moment is not None and fact.at < moment:
            yield f"{fact.path} {fact.kind} at {fact.at}, due at {moment}"
        if fact.data.get("until") is not None:
            ends = "completed" if fact.data.get("verb") == "sleep" else "timed_out"
            due[fact.path, ends, 0] = fact.data["until"]
        if fact.data.get("retry_at") is not None:
            due[fact.path, "started", fact.attempt + 1] = fact.data["retry_at"]


def read_ledger(file: Path) -> list[dict[str, Any]]:
    """Its lines; a last one that is torn is of a process that was killed while it wrote."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _completed(document: Mapping[str, Any]) -> Iterable[str]:
    """The keys of what the journal calls completed."""
    for step in document["steps"]:
        key = f"{document['id']}/{step['path']}"
        if step["completed_at"] is not None and step["status"] not in ("failed", "cancelled"):
            yield key
        if (step["compensation"] or {}).get("status") == "compensated":
            yield f"{key}.undo"


def _ending(look: Look) -> Ending:
    done = [_own(line["key"]) for line in look.ledger if line["phase"] == "done"]
    return Ending(
        runs={_own(document["id"]): _essence(document) for document in look.runs},
        keys=frozenset(_own(line["key"]) for line in look.ledger),
        undone=list(dict.fromkeys(key for key in done if ".undo" in key)),
        begun=Counter({_own(attempt): times for attempt, times in _begun(look).items()}),
    )


def _begun(look: Look) -> Counter[str]:
    """How often each attempt began, as ``KEY#ATTEMPT``."""
    return Counter(f"{line['key']}#{line['attempt']}" for line in look.ledger if line["phase"] == "begin")


def _own(name: str) -> str:
    """A run's id, or what begins with one, with ``NEW`` in the place of an id that is made by chance."""
    return name if name.startswith(OWN_IDS) else f"{NEW}/{name.partition('/')[2]}"


def _essence(document: Mapping[str, Any]) -> Mapping[str, Any]:
    error = document["error"] or {}
    return {
        "status": document["status"],
        "output": document["output"],
        "error": (error.get("type"), error.get("step")),
        "saga": document["saga"],
        "steps": {step["path"]: step["status"] for step in document["steps"]},
    }
