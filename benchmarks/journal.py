"""How near the journal comes to bare SQLite: both measured in one run, on one disk.

Figures travel badly, ratios better: rounds of the two alternate, and the medians are compared. The bare side
writes the same rows to the same table with the same unique index, as durably, and does nothing else: no hash
chain, no fence, no lock between processes, and its rows are made beforehand.

    python -m benchmarks.journal [--dir DIR] [--rounds N]
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flowctl.journal import Change, Entry, Fact, Run, encode_entry
from flowctl.journal.sqlite import SqliteJournal

COMMITS = 1_000
BATCHES = 10
BATCH = 1_000
NOW = 1_767_225_600_000
INSERT = "INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"

Write = Callable[[], object]


def entry(path: str) -> Entry:
    """What a step with a few arguments writes: its completion, carrying the start of the next."""
    output = {"id": "ch_0001", "amount": 1500}
    started = Fact("ship", "started", NOW, attempt=1, data={"verb": "activity", "name": "shop.ship"})
    return Entry(Fact(path, "completed", NOW, attempt=1, data={"output": output}), [started])


def row(run: int, path: str) -> tuple[object, ...]:
    """The same, as bare SQLite gets it."""
    return (run, path, "completed", 1, 0, NOW, encode_entry(entry(path)).decode(), b"h" * 32)


def new_run(run_id: str) -> Run:
    return Run(run_id, run_id, "order", 1, "d" * 64, {"amount": 1500}, NOW, NOW + 86_400_000)


def bare_sequential(connection: sqlite3.Connection, number: int) -> Write:
    """One commit per row."""
    rows = [row(0, f"s{number}_{i}") for i in range(COMMITS)]

    def write() -> None:
        for values in rows:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(INSERT, values)
            connection.execute("COMMIT")

    return write


def bare_batches(connection: sqlite3.Connection, number: int) -> Write:
    """One commit per thousand rows of a thousand runs."""
    batches = [[row(run, f"b{number}_{i}") for run in range(BATCH)] for i in range(BATCHES)]

    def write() -> None:
        for rows in batches:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")

    return write


def sequential(journal: SqliteJournal, run: Run, number: int) -> Write:
    """One run, one commit per entry."""
    changes = [Change(run, [entry(f"s{number}_{i}")]) for i in range(COMMITS)]
    return lambda: [journal.try_commit([change]) for change in changes]


def batches(journal: SqliteJournal, runs: list[Run], number: int) -> Write:
    """A thousand runs, one entry of each per commit."""
    changes = [[Change(run, [entry(f"b{number}_{i}")]) for run in runs] for i in range(BATCHES)]
    return lambda: [journal.try_commit(batch) for batch in changes]


def rate(write: Write, entries: int) -> float:
    """Entries per second."""
    start = time.perf_counter()
    write()
    return entries / (time.perf_counter() - start)


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Rates of every round, by who wrote how."""
    rates: dict[str, list[float]] = {}
    SqliteJournal.open(folder / "bare.db").close()  # the same tables
    with (
        closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection,
        closing(SqliteJournal.open(folder / "flowctl.db")) as journal,
    ):
        connection.execute("PRAGMA synchronous = FULL")
        runs = [new_run(f"run-{i}") for i in range(BATCH)]
        journal.commit([Change(run, [], create=True) for run in runs])
        for number in range(rounds):
            for name, write, entries in (
                ("bare one by one", bare_sequential(connection, number), COMMITS),
                ("journal one by one", sequential(journal, runs[0], number), COMMITS),
                ("bare batches", bare_batches(connection, number), BATCHES * BATCH),
                ("journal batches", batches(journal, runs, number), BATCHES * BATCH),
            ):
                rates.setdefault(name, []).append(rate(write, entries))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (default: temporary)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        rates = measure(Path(folder), options.rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"entries per second, median of {options.rounds} rounds     bare  journal  ratio  target")
    for name, target in (("one by one", 0.75), ("batches", 0.6)):
        bare, ours = medians[f"bare {name}"], medians[f"journal {name}"]
        print(f"{name:44}{bare:9,.0f}{ours:9,.0f}{ours / bare:7.2f}{target:8.2f}")


if __name__ == "__main__":
    main()
