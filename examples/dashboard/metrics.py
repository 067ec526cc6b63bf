"""The services behind a dashboard: sources of numbers, and pages to show them, in one small SQLite file.

Loading is a coroutine: while a source takes its time nothing is blocked, and when the workflow has no use
for the number any more the load is interrupted where it waits. What became of every load is in a table.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("metrics.sql").read_text(encoding="utf-8")


class SourceDown(Exception):
    """The source has no number for this region; asking again will not help."""


class SourceBusy(Exception):
    """The source does not answer now; it usually does a moment later."""


class Page(TypedDict):
    id: int


class Number(TypedDict):
    value: float


@activity("metrics.open_page")
def open_page(region: str, ctx: ActivityContext) -> Page:
    """Begin a page that nobody sees yet."""
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO pages (key, region) VALUES (?, ?)", [ctx.idempotency_key, region])
        return {"id": db.execute("SELECT id FROM pages WHERE key = ?", [ctx.idempotency_key]).fetchone()[0]}


@activity("metrics.discard_page")
def discard_page(page_id: int, ctx: ActivityContext) -> None:
    """Throw a page away, also one that was published."""
    with effect(ctx) as db:
        db.execute("UPDATE pages SET state = 'discarded' WHERE id = ?", [page_id])


@activity("metrics.publish_page")
def publish_page(page_id: int, numbers: dict[str, float], ctx: ActivityContext) -> None:
    """Show a page to everybody; what was discarded stays so."""
    with effect(ctx) as db:
        db.execute(
            "UPDATE pages SET state = 'published', numbers = ? WHERE id = ? AND state = 'draft'",
            [json.dumps(numbers, sort_keys=True), page_id],
        )


@activity("metrics.load", non_retryable=[SourceDown])
async def load(source: str, region: str, ctx: ActivityContext) -> Number:
    """Ask a source for its number; takes as long as the source does (SourceDown, SourceBusy)."""
    with effect(ctx) as db:
        value, seconds, outages = db.execute(
            "SELECT value, seconds, outages FROM sources WHERE source = ? AND region = ?", [source, region]
        ).fetchone()
        book(source, "begun", ctx, db)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        with effect(ctx) as db:
            book(source, "abandoned", ctx, db)
        raise
    with effect(ctx) as db:
        refused = value is None or ctx.attempt <= outages
        book(source, "refused" if refused else "loaded", ctx, db)
    if value is None:
        raise SourceDown(f"nobody knows the {source} of the {region}")
    if refused:
        raise SourceBusy(f"{source} is busy")
    return {"value": value}


def book(source: str, state: str, ctx: ActivityContext, db: sqlite3.Connection) -> None:
    """What became of a load, so far."""
    db.execute("INSERT OR REPLACE INTO loads VALUES (?, ?, ?)", [ctx.idempotency_key, source, state])


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database METRICS_DB (by default ./metrics.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("METRICS_DB", "metrics.db"), timeout=5)) as db:
        db.executescript(TABLES)
        db.execute("BEGIN IMMEDIATE")
        with db:
            yield db
    note(ctx, "done")


def note(ctx: ActivityContext, phase: str) -> None:
    """Append a line to the file FLOWCTL_LEDGER, if set: a record of effects that trusts neither database."""
    if ledger := os.environ.get("FLOWCTL_LEDGER"):
        who = {
            "activity": ctx.activity,
            "key": ctx.idempotency_key,
            "attempt": ctx.attempt,
            "run": ctx.run_id,
        }
        line = json.dumps(who | {"phase": phase, "pid": os.getpid()}) + "\n"
        with open(ledger, "ab", buffering=0) as file:  # one write at the end of the file: lines never mix
            file.write(line.encode())
            os.fsync(file.fileno())
