"""Damage a database file by chance, and see that ``verify`` finds it.

    python -m tests.keeping.corruption --seed 1 --count 10000
    python -m tests.keeping.corruption --seed 1 --only 4711        one damage again

Every damage is made from the seed and its number alone: flipped bits, other bytes, pages of zeros, a page in
the place of another, a page as it was some commits ago (a write that the disk lost), a shorter file, rows
that somebody changed with a shell. Either it is found, or every answer that the journal gives is the same as
before: runs, entries, messages, documents, definitions.

What could not be found: several lost writes that fit each other, such as a table's only page and that of its
index.

Prints counts, and what was not found. Exits with 1 on any.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from flowctl.errors import FlowctlError
from flowctl.journal.audit import audit
from flowctl.journal.database import Database
from flowctl.journal.sqlite import SqliteJournal
from tests.keeping.population import populate

PAGE = 4096
SIDECARS = ("-wal", "-shm", "-journal")

Chance = random.Random


class Subject:
    """The database that is damaged, again and again."""

    def __init__(self, folder: Path) -> None:
        made, early = folder / "made.db", folder / "early.db"
        populate(made, early)
        Database(str(made)).close()  # what the process that died has left in the log
        self.sound, self.early = made.read_bytes(), early.read_bytes()
        self.path = folder / "damaged.db"
        self.put(self.sound)
        assert not audit(str(self.path)).problems
        self.answers = answers(self.path)

    def put(self, content: bytes) -> None:
        """Let the file be this."""
        for suffix in SIDECARS:
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.path.write_bytes(content)


def answers(path: Path) -> bytes:
    """All that a journal says, but for when runs are due: one that is taken up too early just rests again."""
    with contextlib.closing(SqliteJournal.open(path, read_only=True)) as journal:
        runs = [msgspec.structs.replace(run, due_at=None) for run in journal.list_runs(limit=1_000)]
        said: list[Any] = [
            [
                (run, journal.entries(run.id), journal.inbox(run.id), journal.document(run.digest))
                for run in runs
            ],
            journal.definitions(),
            [journal.document(definition.digest) for definition in journal.definitions()],
        ]
    return msgspec.json.encode(said)


# --- damages


def flip(content: bytearray, chance: Chance, subject: Subject) -> None:
    """One bit."""
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def other_bytes(content: bytearray, chance: Chance, subject: Subject) -> None:
    """A few bytes in a row."""
    at, length = chance.randrange(len(content)), chance.choice((1, 2, 4, 16, 512))
    content[at : at + length] = chance.randbytes(len(content[at : at + length]))


def zeros(content: bytearray, chance: Chance, subject: Subject) -> None:
    """A sector or a page that was never written."""
    length = chance.choice((512, PAGE))
    at = chance.randrange(len(content) // length) * length
    content[at : at + length] = bytes(length)


def swapped(content: bytearray, chance: Chance, subject: Subject) -> None:
    """A page that was written to another's place."""
    one, other = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    content[one : one + PAGE] = content[other : other + PAGE]


def stale(content: bytearray, chance: Chance, subject: Subject) -> None:
    """A page as it was some commits ago."""
    at = chance.randrange(len(subject.early) // PAGE) * PAGE
    content[at : at + PAGE] = subject.early[at : at + PAGE]


def shorter(content: bytearray, chance: Chance, subject: Subject) -> None:
    """A file that was cut off."""
    del content[chance.randrange(len(content)) :]


def in_text(content: bytearray, chance: Chance, subject: Subject) -> None:
    """One bit of what people have written: most other bits are of no row."""
    places = [i for i in range(len(content)) if 32 <= content[i] < 127]
    content[chance.choice(places)] ^= 1 << chance.randrange(8)


DAMAGES: dict[str, Callable[[bytearray, Chance, Subject], None]] = {
    "a bit": flip,
    "a bit of text": in_text,
    "bytes": other_bytes,
    "zeros": zeros,
    "a page in another's place": swapped,
    "a page of before": stale,
    "cut off": shorter,
}

EDITS = (
    "UPDATE runs SET {column} = '{value}' WHERE key = {low}",
    "UPDATE entries SET {entry} = '{value}' WHERE seq = {seq}",
    "DELETE FROM entries WHERE seq = {seq}",
    "DELETE FROM entries WHERE seq > {seq}",
    "UPDATE entries SET run = run + 1, kind = 'x' WHERE seq = {seq}",
    "UPDATE inbox SET {message} = '{value}'",
    "DELETE FROM documents WHERE rowid = {low}",
    "UPDATE documents SET {document} = '{value}' WHERE rowid = {low}",
    "UPDATE definitions SET deprecated = '{value}'",
)
COLUMNS = {
    "column": (
        *("id", "workflow_id", "input", "status", "output", "error", "saga"),
        *("principal", "attributes", "deadline", "digest", "pins", "session", "due_at"),
    ),
    "entry": ("path", "data", "kind", "attempt", "at", "hash"),
    "message": ("kind", "name", "data", "at", "principal", "dedup_id"),
    "document": ("name", "version", "body", "source"),
}


def edit(subject: Subject, chance: Chance) -> None:
    """What somebody does with a shell."""
    with contextlib.closing(sqlite3.connect(subject.path)) as connection, connection:
        (last,) = connection.execute("SELECT max(seq) FROM entries").fetchone()
        words = {name: chance.choice(columns) for name, columns in COLUMNS.items()}
        statement = chance.choice(EDITS).format(
            value=chance.choice(("{}", "7", "completed", "")),
            seq=chance.randint(1, last),
            low=chance.randint(1, 4),
            **words,
        )
        with contextlib.suppress(sqlite3.IntegrityError):
            connection.execute(statement)


# --- the search


def found(path: Path) -> bool:
    """Whether ``verify`` finds anything."""
    try:
        return bool(audit(str(path)).problems)
    except FlowctlError:
        return True


def trial(subject: Subject, seed: int, number: int) -> tuple[str, str]:
    """One damage: which kind, and ``found``, ``harmless`` or ``missed``."""
    chance = Chance(f"{seed}/{number}")
    kind = chance.choice([*DAMAGES, "an edit"])
    content = bytearray(subject.sound)
    if kind in DAMAGES:
        DAMAGES[kind](content, chance, subject)
    subject.put(bytes(content))
    if kind not in DAMAGES:
        edit(subject, chance)
    if found(subject.path):
        return kind, "found"
    try:
        same = answers(subject.path) == subject.answers
    except Exception:  # whatever it is, it is not the same answer
        same = False
    return kind, "harmless" if same else "missed"


def search(seed: int, numbers: Iterable[int]) -> tuple[Counter[tuple[str, str]], list[int]]:
    """What came of so many damages, and the numbers of those that were missed."""
    counts: Counter[tuple[str, str]] = Counter()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Path(folder))
        for number in numbers:
            kind, outcome = trial(subject, seed, number)
            counts[kind, outcome] += 1
            if outcome == "missed":
                missed.append(number)
    return counts, missed


def main() -> int:
    """Search as told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="the number of one damage")
    options = parser.parse_args()
    numbers = range(options.count) if options.only is None else [options.only]
    counts, missed = search(options.seed, numbers)
    for kind in [*DAMAGES, "an edit"]:
        print(
            f"{kind:28}",
            *(f"{counts[kind, outcome]:6,} {outcome}" for outcome in ("found", "harmless", "missed")),
        )
    print(f"{sum(counts.values()):,} damages, {len(missed)} missed", *missed[:20])
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
