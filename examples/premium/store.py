"""The services behind an order of a premium customer: payments, wrapping and parcels, in one SQLite file.

Paper, ribbon and vans are all supplies: taken one by one, returned by the key they were taken under. No
activity knows which workflow calls it. What belongs together, and what is undone with what, is said by the
documents: one for each thing the store does, and one that puts them together.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("store.sql").read_text(encoding="utf-8")
LONGEST_CARD = 40


class UnknownCustomer(Exception):
    """Nobody of this address has ever bought here."""


class PaymentDeclined(Exception):
    """The customer's balance is too low."""


class UsedUp(Exception):
    """Nothing is left of it."""


class CardTooLong(Exception):
    """The text does not fit on a card."""


class Unreachable(Exception):
    """This service does not go there."""


class Customer(TypedDict):
    tier: str
    city: str


class Parcel(TypedDict):
    tracking: str
    days: int


@activity("store.look_up", non_retryable=[UnknownCustomer])
def look_up(email: str, ctx: ActivityContext) -> Customer:
    """Which customer this is (UnknownCustomer)."""
    with effect(ctx) as db:
        known = db.execute("SELECT tier, city FROM customers WHERE email = ?", [email]).fetchone()
        if not known:
            raise UnknownCustomer(f"nobody knows {email}")
        return {"tier": known[0], "city": known[1]}


@activity("store.pay", non_retryable=[PaymentDeclined])
def pay(email: str, amount: float, ctx: ActivityContext) -> None:
    """Take an amount from a customer's balance (PaymentDeclined)."""
    cents = round(amount * 100)
    with effect(ctx) as db:
        if db.execute("SELECT 1 FROM payments WHERE key = ?", [ctx.idempotency_key]).fetchone():
            return
        paid = db.execute(
            "UPDATE customers SET balance = balance - :cents WHERE email = :email AND balance >= :cents",
            {"cents": cents, "email": email},
        )
        if not paid.rowcount:
            raise PaymentDeclined(f"{email} cannot pay {amount:.2f}")
        db.execute(
            "INSERT INTO payments (key, email, cents) VALUES (?, ?, ?)", [ctx.idempotency_key, email, cents]
        )


@activity("store.refund")
def refund(key: str, ctx: ActivityContext) -> None:
    """Give back what was paid under a key."""
    with effect(ctx) as db:
        paid = db.execute(
            "UPDATE payments SET state = 'refunded' WHERE key = ? AND state = 'paid' RETURNING cents, email",
            [key],
        ).fetchone()
        if paid:
            db.execute("UPDATE customers SET balance = balance + ? WHERE email = ?", paid)


@activity("store.take", non_retryable=[UsedUp])
def take(what: str, ctx: ActivityContext) -> None:
    """Take one of the supplies (UsedUp)."""
    with effect(ctx) as db:
        if db.execute("SELECT 1 FROM takings WHERE key = ?", [ctx.idempotency_key]).fetchone():
            return
        taken = db.execute("UPDATE supplies SET left = left - 1 WHERE what = ? AND left > 0", [what])
        if not taken.rowcount:
            raise UsedUp(f"there is no {what} left")
        db.execute("INSERT INTO takings (key, what) VALUES (?, ?)", [ctx.idempotency_key, what])


@activity("store.put_back")
def put_back(key: str, ctx: ActivityContext) -> None:
    """Return what was taken under a key."""
    with effect(ctx) as db:
        returned = db.execute(
            "UPDATE takings SET state = 'returned' WHERE key = ? AND state = 'taken' RETURNING what", [key]
        ).fetchone()
        if returned:
            db.execute("UPDATE supplies SET left = left + 1 WHERE what = ?", returned)


@activity("store.write_card", non_retryable=[CardTooLong])
def write_card(text: str, ctx: ActivityContext) -> None:
    """Write a card by hand (CardTooLong)."""
    if len(text) > LONGEST_CARD:
        raise CardTooLong(f"a card has room for {LONGEST_CARD} letters, not for {len(text)}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO cards VALUES (?, ?)", [ctx.idempotency_key, text])


@activity("store.send", non_retryable=[Unreachable])
def send(service: str, city: str, order_id: str, ctx: ActivityContext) -> Parcel:
    """Send a parcel by a service (Unreachable)."""
    with effect(ctx) as db:
        route = db.execute(
            "SELECT days FROM routes WHERE service = ? AND city = ?", [service, city]
        ).fetchone()
        if not route:
            raise Unreachable(f"{service} does not go to the {city}")
        sent = db.execute("SELECT tracking FROM parcels WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if sent:
            return {"tracking": sent[0], "days": route[0]}
        number = db.execute("SELECT count(*) + 1 FROM parcels").fetchone()[0]
        tracking = f"{service[0].upper()}-{order_id}-{number}"
        db.execute(
            "INSERT INTO parcels (tracking, key, service, city) VALUES (?, ?, ?, ?)",
            [tracking, ctx.idempotency_key, service, city],
        )
        return {"tracking": tracking, "days": route[0]}


@activity("store.recall")
def recall(tracking: str, ctx: ActivityContext) -> None:
    """Call a parcel back."""
    with effect(ctx) as db:
        db.execute("UPDATE parcels SET state = 'recalled' WHERE tracking = ?", [tracking])


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database STORE_DB (by default ./store.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("STORE_DB", "store.db"), timeout=5)) as db:
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
