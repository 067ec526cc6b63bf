"""The services behind a monthly payout: sellers, funds and statements, in one small SQLite file.

Paying is told a seller and a month, and is done once for each idempotency key. That makes it safe to repeat
a payment; that nobody is paid twice for a month by two different runs is a constraint of the table. Who is
still due is always asked of the books, so a new run takes up where an earlier one has given up.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("payouts.sql").read_text(encoding="utf-8")


class AccountClosed(Exception):
    """The seller has no account any more; this concerns nobody else."""


class CalledOff(Exception):
    """The payment was taken back before it arrived."""


class FundEmpty(Exception):
    """The fund cannot pay; nobody after this one will be paid either."""


class BankBusy(Exception):
    """The seller's bank does not answer; it usually does a moment later."""


class Due(TypedDict):
    sellers: list[int]


class Payout(TypedDict):
    cents: int


@activity("payouts.list_due")
def list_due(month: str, after: int, limit: int, ctx: ActivityContext) -> Due:
    """Who has a number above `after` and is not paid for the month yet: the first `limit` of them."""
    with effect(ctx) as db:
        due = db.execute(
            "SELECT id FROM sellers WHERE id > ? AND id NOT IN"
            " (SELECT seller FROM payouts WHERE month = ? AND state = 'paid') ORDER BY id LIMIT ?",
            [after, month, limit],
        )
        return {"sellers": [seller for (seller,) in due]}


@activity("payouts.pay", retry={"delay": "100ms"}, non_retryable=[AccountClosed, CalledOff, FundEmpty])
def pay(seller: int, month: str, fund: str, ctx: ActivityContext) -> Payout:
    """Pay a seller what is owed for a month (AccountClosed, CalledOff, FundEmpty, BankBusy)."""
    with effect(ctx) as db:
        if db.execute("SELECT 1 FROM called_off WHERE key = ?", [ctx.idempotency_key]).fetchone():
            raise CalledOff(f"the payment to seller {seller} was called off before it arrived")
        known = db.execute("SELECT cents FROM payouts WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"cents": known[0]}
        cents, closed, hiccups = db.execute(
            "SELECT owed, closed, hiccups FROM sellers WHERE id = ?", [seller]
        ).fetchone()
        if closed:
            raise AccountClosed(f"seller {seller} has closed the account")
        if ctx.attempt <= hiccups:
            raise BankBusy(f"the bank of seller {seller} does not answer")
        paid = db.execute(
            "UPDATE funds SET balance = balance - :cents WHERE fund = :fund AND balance >= :cents",
            {"cents": cents, "fund": fund},
        )
        if not paid.rowcount:
            raise FundEmpty(f"the {fund} fund cannot pay seller {seller}")
        db.execute(
            "INSERT INTO payouts (key, seller, month, fund, cents) VALUES (?, ?, ?, ?, ?)",
            [ctx.idempotency_key, seller, month, fund, cents],
        )
        return {"cents": cents}


@activity("payouts.take_back")
def take_back(key: str, ctx: ActivityContext) -> None:
    """Take back what was paid under a key; if nothing was, see to it that nothing will be."""
    with effect(ctx) as db:
        taken = db.execute(
            "UPDATE payouts SET state = 'taken back' WHERE key = ? AND state = 'paid' RETURNING cents, fund",
            [key],
        ).fetchone()
        if taken:
            db.execute("UPDATE funds SET balance = balance + ? WHERE fund = ?", taken)
        db.execute("INSERT OR IGNORE INTO called_off VALUES (?)", [key])


@activity("payouts.send_statement")
def send_statement(month: str, last: int, cents: int, ctx: ActivityContext) -> None:
    """Tell the sellers, up to the number `last`, what they were paid. From then on they may spend it."""
    with effect(ctx) as db:
        db.execute(
            "INSERT OR IGNORE INTO statements VALUES (?, ?, ?, ?)", [ctx.idempotency_key, month, last, cents]
        )


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database PAYOUTS_DB (by default ./payouts.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("PAYOUTS_DB", "payouts.db"), timeout=5)) as db:
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
