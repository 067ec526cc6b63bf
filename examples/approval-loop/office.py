"""The services behind a purchase request: budgets, requests, orders and mail, in one small SQLite file.

A department's money is in three places: free, set aside, spent. A request that was filed or revised twice
with one idempotency key has moved its money once: what was done is stored under that key. Withdrawing a
request frees what is set aside for it *now*, so that the one undo of filing covers every revision as well.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("office.sql").read_text(encoding="utf-8")


class OverBudget(Exception):
    """The department has not got that much left."""


class NotOpen(Exception):
    """The request was ordered or withdrawn before."""


class Discontinued(Exception):
    """Nobody makes this any more."""


class MailRefused(Exception):
    """The mail server did not take the mail."""


class Request(TypedDict):
    id: int


class Order(TypedDict):
    order: str


@activity("office.file_request", non_retryable=[OverBudget])
def file_request(department: str, item: str, amount: float, ctx: ActivityContext) -> Request:
    """File a request and set its amount aside (OverBudget)."""
    with effect(ctx) as db:
        known = db.execute("SELECT id FROM requests WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"id": known[0]}
        cents = round(amount * 100)
        set_aside(department, cents, db)
        filed = db.execute(
            "INSERT INTO requests (key, department, item, cents) VALUES (?, ?, ?, ?) RETURNING id",
            [ctx.idempotency_key, department, item, cents],
        )
        return {"id": filed.fetchone()[0]}


@activity("office.revise_request", non_retryable=[OverBudget, NotOpen])
def revise_request(request_id: int, amount: float, ctx: ActivityContext) -> None:
    """Ask for another amount; one that is too much leaves the request as it is (OverBudget, NotOpen)."""
    with effect(ctx) as db:
        if db.execute("SELECT 1 FROM revisions WHERE key = ?", [ctx.idempotency_key]).fetchone():
            return
        department, before = db.execute(
            "SELECT department, cents FROM requests WHERE id = ?", [request_id]
        ).fetchone()
        cents = round(amount * 100)
        revised = db.execute(
            "UPDATE requests SET cents = ? WHERE id = ? AND state = 'open'", [cents, request_id]
        )
        if not revised.rowcount:
            raise NotOpen(f"request {request_id} is not open")
        set_aside(department, cents - before, db)
        db.execute("INSERT INTO revisions VALUES (?, ?, ?)", [ctx.idempotency_key, request_id, cents])


@activity("office.withdraw_request")
def withdraw_request(request_id: int, ctx: ActivityContext) -> None:
    """Withdraw an open request and free what is set aside for it."""
    with effect(ctx) as db:
        withdrawn = db.execute(
            "UPDATE requests SET state = 'withdrawn' WHERE id = ? AND state = 'open'"
            " RETURNING department, cents",
            [request_id],
        ).fetchone()
        if withdrawn:
            department, cents = withdrawn
            set_aside(department, -cents, db)


@activity("office.order", non_retryable=[Discontinued, NotOpen])
def order(request_id: int, ctx: ActivityContext) -> Order:
    """Spend what is set aside (Discontinued, NotOpen); the order has the request's number: there is one."""
    answer: Order = {"order": f"O-{request_id}"}
    with effect(ctx) as db:
        department, item, cents, state = db.execute(
            "SELECT department, item, cents, state FROM requests WHERE id = ?", [request_id]
        ).fetchone()
        if state == "ordered":
            return answer
        if state != "open":
            raise NotOpen(f"request {request_id} is {state}")
        if db.execute("SELECT 1 FROM discontinued WHERE item = ?", [item]).fetchone():
            raise Discontinued(f"nobody makes a {item} any more")
        db.execute("UPDATE requests SET state = 'ordered' WHERE id = ?", [request_id])
        db.execute(
            "UPDATE budgets SET aside = aside - :cents, spent = spent + :cents"
            " WHERE department = :department",
            {"cents": cents, "department": department},
        )
        return answer


@activity("office.send_mail", non_retryable=[MailRefused])
def send_mail(to: str, subject: str, ctx: ActivityContext) -> None:
    """Put a mail into the outbox; refuses addresses in .invalid (MailRefused)."""
    if to.endswith(".invalid"):
        raise MailRefused(f"nobody lives at {to}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", [ctx.idempotency_key, to, subject])


def set_aside(department: str, cents: int, db: sqlite3.Connection) -> None:
    """Move free money aside, or back if `cents` is negative (OverBudget)."""
    moved = db.execute(
        "UPDATE budgets SET free = free - :cents, aside = aside + :cents"
        " WHERE department = :department AND free >= :cents",
        {"cents": cents, "department": department},
    )
    if not moved.rowcount:
        raise OverBudget(f"{department} has not got {cents / 100:.2f} left")


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database OFFICE_DB (by default ./office.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("OFFICE_DB", "office.db"), timeout=5)) as db:
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
