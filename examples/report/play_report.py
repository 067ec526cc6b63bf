"""A year of 100,000 sales, printed; and two reports that leave nothing: ``make scenario-report``."""

from __future__ import annotations

import math
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from examples.services.stage import Stage, mails, stage, told

HERE = Path(__file__).resolve().parent
WORKFLOW = "report.yaml"
ROWS = 100_000
TABLE = """
CREATE TABLE sales (
    year INTEGER NOT NULL, month INTEGER NOT NULL, region TEXT NOT NULL, product TEXT NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0)
);
CREATE INDEX sales_by_year ON sales (year, cents);
"""
REGIONS = {"North": 5, "East": 3, "South": 4, "West": 2}
PRODUCTS = {"Desk": 24_900, "Chair": 8_950, "Lamp": 3_990, "Shelf": 12_900, "Sofa": 79_000, "Rug": 15_500}


def sales() -> Iterator[tuple[int, int, str, str, int]]:
    """So many rows, always the same: more before Christmas, more in the north."""
    chance = random.Random(2026)  # noqa: S311
    months = [1 + 0.35 * math.cos((month - 11.5) / 12 * math.tau) for month in range(1, 13)]
    when = chance.choices(range(1, 13), months, k=ROWS)
    where = chance.choices(list(REGIONS), list(REGIONS.values()), k=ROWS)
    what = chance.choices(list(PRODUCTS), [3, 6, 9, 4, 1, 3], k=ROWS)
    for month, region, product in zip(when, where, what, strict=True):
        yield 2026, month, region, product, round(PRODUCTS[product] * chance.uniform(0.8, 1.25))


def prepare(here: Stage) -> None:
    """The sales, and a folder for what is made of them."""
    (here.folder / "out").mkdir()
    with closing(sqlite3.connect(here.folder / "sales.db")) as database, database:
        database.executescript(TABLE)
        database.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", sales())


def main() -> None:
    with stage(HERE, *map(Path, sys.argv[1:])) as here:
        prepare(here)
        mailbox = here.serve("mailbox", usually=8025)
        store = here.serve("objects")

        here.say(f"{ROWS:,} sales are added up, drawn, printed, published and announced")
        here.run(WORKFLOW, {"year": 2026, "email": "ada@example.com", "store": store.url})
        here.say("Of a year without sales there is no report")
        here.run(WORKFLOW, {"year": 2020, "email": "ada@example.com", "store": store.url}, exits=1)
        here.say("Nobody can be told: what was published is withdrawn")
        here.run(WORKFLOW, {"year": 2026, "email": "ada@nowhere.invalid", "store": store.url}, exits=1)

        here.say("What is left")
        here.tell("files", here.files(here.folder / "out"))
        here.tell("objects in the store", here.files(store.folder))
        here.tell("mails", told(mails(mailbox.folder)))


if __name__ == "__main__":
    main()
