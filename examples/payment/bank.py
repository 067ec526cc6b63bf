"""The bank behind a payment: holds, charges and receipts, in one small SQLite file.

A card's money is in three places: available, held, charged. Each activity moves some from one to the next or
back, in one transaction and at most once for each idempotency key. The interesting one is `charge`: its
answer can get lost after the money has moved, and the caller then knows nothing. What saves the day is the
key: asking again with it finds the charge, and so does the refund.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("bank.sql").read_text(encoding="utf-8")
TOO_LATE_SECONDS = 2.5


class InsufficientFunds(Exception):
    """The card has not got that much."""


class CardBlocked(Exception):
    """The bank has blocked the card, or the charge was called off before it arrived."""


class MailRefused(Exception):
    """The mail server did not take the mail."""


class Hold(TypedDict):
    id: int


class Charge(TypedDict):
    id: int


@activity("bank.hold", non_retryable=[InsufficientFunds])
def hold(card: str, amount: float, ctx: ActivityContext) -> Hold:
    """Set an amount aside on a card, to be charged or released later (InsufficientFunds)."""
    cents = round(amount * 100)
    with effect(ctx) as db:
        known = db.execute("SELECT id FROM holds WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"id": known[0]}
        moved = db.execute(
            "UPDATE cards SET available = available - :cents, held = held + :cents"
            " WHERE card = :card AND available >= :cents",
            {"cents": cents, "card": card},
        )
        if not moved.rowcount:
            raise InsufficientFunds(f"the card {card} has not got {amount:.2f}")
        held = db.execute(
            "INSERT INTO holds (key, card, cents) VALUES (?, ?, ?) RETURNING id",
            [ctx.idempotency_key, card, cents],
        )
        return {"id": held.fetchone()[0]}


@activity("bank.release")
def release(hold_id: int, ctx: ActivityContext) -> None:
    """Make what is still held available again."""
    with effect(ctx) as db:
        held = db.execute(
            "UPDATE holds SET state = 'released' WHERE id = ? AND state = 'held' RETURNING card, cents",
            [hold_id],
        ).fetchone()
        if held:
            card, cents = held
            db.execute(
                "UPDATE cards SET held = held - :cents, available = available + :cents WHERE card = :card",
                {"cents": cents, "card": card},
            )


@activity("bank.charge", non_retryable=[CardBlocked])
def charge(hold_id: int, key: str, ctx: ActivityContext) -> Charge:
    """Charge what is held, once for each key; a slow card answers too late (CardBlocked)."""
    with effect(ctx) as db:
        answer = charge_once(hold_id, key, db)
        late = db.execute(
            "SELECT 1 FROM cards JOIN holds USING (card) WHERE id = ? AND late_answers >= ?",
            [hold_id, ctx.attempt],
        ).fetchone()
    if late:
        time.sleep(TOO_LATE_SECONDS)  # the money has moved, and nobody is told in time
    return answer


def charge_once(hold_id: int, key: str, db: sqlite3.Connection) -> Charge:
    """The charge made under this key, now or before."""
    known = db.execute("SELECT id, state FROM charges WHERE key = ?", [key]).fetchone()
    if known and known[1] != "charged":
        raise CardBlocked("this charge was called off before it arrived")
    if known:
        return {"id": known[0]}
    card, cents, blocked = db.execute(
        "SELECT card, cents, blocked FROM holds JOIN cards USING (card) WHERE id = ?", [hold_id]
    ).fetchone()
    if blocked:
        raise CardBlocked(f"the card {card} is blocked")
    db.execute("UPDATE holds SET state = 'charged' WHERE id = ?", [hold_id])
    db.execute(
        "UPDATE cards SET held = held - :cents, charged = charged + :cents WHERE card = :card",
        {"cents": cents, "card": card},
    )
    charged = db.execute(
        "INSERT INTO charges (key, hold_id, state) VALUES (?, ?, 'charged') RETURNING id", [key, hold_id]
    )
    return {"id": charged.fetchone()[0]}


@activity("bank.refund")
def refund(key: str, ctx: ActivityContext) -> None:
    """Move what was charged under a key back to its hold; if nothing was, see to it that nothing will be."""
    with effect(ctx) as db:
        charged = db.execute(
            "UPDATE charges SET state = 'refunded' WHERE key = ? AND state = 'charged' RETURNING hold_id",
            [key],
        ).fetchone()
        if charged:
            db.execute("UPDATE holds SET state = 'held' WHERE id = ?", charged)
            card, cents = db.execute("SELECT card, cents FROM holds WHERE id = ?", charged).fetchone()
            db.execute(
                "UPDATE cards SET charged = charged - :cents, held = held + :cents WHERE card = :card",
                {"cents": cents, "card": card},
            )
        # The attempt that timed out may still be running, and its charge may arrive after this refund.
        # Using up its key here makes it find that it was called off.
        db.execute("INSERT OR IGNORE INTO charges (key, state) VALUES (?, 'void')", [key])


@activity("bank.send_receipt", non_retryable=[MailRefused])
def send_receipt(to: str, charge_id: int, ctx: ActivityContext) -> None:
    """Send a receipt; refuses addresses in .invalid (MailRefused)."""
    if to.endswith(".invalid"):
        raise MailRefused(f"nobody lives at {to}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?)", [ctx.idempotency_key, to, charge_id])


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database BANK_DB (by default ./bank.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("BANK_DB", "bank.db"), timeout=5)) as db:
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
