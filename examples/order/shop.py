"""The services behind an order: stock, payments, shipping and mail, in one small SQLite file.

Yours will be somewhere else; what carries over is how they are called. An activity runs *at least* once: a
process can die after an effect and before anyone hears of it, and then the same call comes again, with the
same idempotency key. So every effect here

- happens in one transaction, entirely or not at all;
- is stored under its key, which is unique: a call that finds its key there returns what was answered then;
- is undone by an activity that can be repeated too, and that copes with there being nothing to undo.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("shop.sql").read_text(encoding="utf-8")
HEAVIEST_PARCEL_KG = 30


class OutOfStock(Exception):
    """An item is not on the shelf."""


class CardDeclined(Exception):
    """The customer cannot pay; asking again will not help."""


class GatewayUnavailable(Exception):
    """The payment gateway is down; it usually comes back."""


class ShippingImpossible(Exception):
    """No carrier takes this parcel."""


class MailRefused(Exception):
    """The mail server did not take the mail."""


class Reservation(TypedDict):
    id: int


class Charge(TypedDict):
    id: int


class Shipment(TypedDict):
    tracking: str


@activity("shop.reserve_inventory", non_retryable=[OutOfStock])
def reserve_inventory(items: list[str], ctx: ActivityContext) -> Reservation:
    """Take items off the shelf, one piece for each name; all of them or none (OutOfStock)."""
    with effect(ctx) as db:
        known = db.execute("SELECT id FROM reservations WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"id": known[0]}
        for sku in items:
            taken = db.execute(
                "UPDATE stock SET on_shelf = on_shelf - 1 WHERE sku = ? AND on_shelf > 0", [sku]
            )
            if not taken.rowcount:
                raise OutOfStock(f"there is no {sku} left")
        reserved = db.execute(
            "INSERT INTO reservations (key, items) VALUES (?, ?) RETURNING id",
            [ctx.idempotency_key, json.dumps(items)],
        )
        return {"id": reserved.fetchone()[0]}


@activity("shop.release_inventory")
def release_inventory(reservation_id: int, ctx: ActivityContext) -> None:
    """Put reserved items back on the shelf."""
    with effect(ctx) as db:
        # Only the call that moves the reservation out of 'held' moves items: a second one changes nothing.
        released = db.execute(
            "UPDATE reservations SET state = 'released' WHERE id = ? AND state = 'held' RETURNING items",
            [reservation_id],
        ).fetchone()
        for sku in json.loads(released[0]) if released else []:
            db.execute("UPDATE stock SET on_shelf = on_shelf + 1 WHERE sku = ?", [sku])


@activity("payments.charge", non_retryable=[CardDeclined])
def charge(amount: float, email: str, key: str, ctx: ActivityContext) -> Charge:
    """Take an amount from the customer's account, once for each key (CardDeclined, GatewayUnavailable).

    A customer seen for the first time has an account with 5000.00.
    """
    cents = round(amount * 100)
    with effect(ctx) as db:
        known = db.execute("SELECT id, state FROM charges WHERE key = ?", [key]).fetchone()
        if known and known[1] != "charged":
            raise CardDeclined("this charge was called off before it arrived")
        if known:
            return {"id": known[0]}
        db.execute("INSERT OR IGNORE INTO accounts (email) VALUES (?)", [email])
        hiccups = db.execute("SELECT hiccups FROM accounts WHERE email = ?", [email]).fetchone()[0]
        if ctx.attempt <= hiccups:
            raise GatewayUnavailable("the payment gateway does not answer")
        paid = db.execute(
            "UPDATE accounts SET balance = balance - ? WHERE email = ? AND balance >= ?",
            [cents, email, cents],
        )
        if not paid.rowcount:
            raise CardDeclined(f"{email} cannot pay {amount:.2f}")
        charged = db.execute(
            "INSERT INTO charges (key, email, cents, state) VALUES (?, ?, ?, 'charged') RETURNING id",
            [key, email, cents],
        )
        return {"id": charged.fetchone()[0]}


@activity("payments.refund")
def refund(key: str, ctx: ActivityContext) -> None:
    """Give back what was charged under a key; if nothing was, see to it that nothing will be."""
    with effect(ctx) as db:
        paid = db.execute(
            "UPDATE charges SET state = 'refunded' WHERE key = ? AND state = 'charged'"
            " RETURNING cents, email",
            [key],
        ).fetchone()
        if paid:
            db.execute("UPDATE accounts SET balance = balance + ? WHERE email = ?", paid)
        # A charge that timed out may still be on its way, where nobody can call it back. Using up its key
        # makes it fail when it arrives. A refund that only looked for a charge would miss this one.
        db.execute("INSERT OR IGNORE INTO charges (key, cents, state) VALUES (?, 0, 'void')", [key])


@activity("shop.ship", non_retryable=[ShippingImpossible])
def ship(order_id: str, reservation_id: int, ctx: ActivityContext) -> Shipment:
    """Hand a reservation to the carrier, who takes up to 30 kg a piece (ShippingImpossible)."""
    with effect(ctx) as db:
        known = db.execute("SELECT tracking FROM shipments WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"tracking": known[0]}
        too_heavy = db.execute(
            "SELECT sku FROM stock WHERE weight_kg > ?"
            " AND sku IN (SELECT value FROM reservations, json_each(items) WHERE reservations.id = ?)",
            [HEAVIEST_PARCEL_KG, reservation_id],
        ).fetchone()
        if too_heavy:
            raise ShippingImpossible(f"no carrier takes a {too_heavy[0]}")
        tracking = f"T-{order_id}-{reservation_id}"
        db.execute("UPDATE reservations SET state = 'shipped' WHERE id = ?", [reservation_id])
        db.execute(
            "INSERT INTO shipments (tracking, key, reservation_id) VALUES (?, ?, ?)",
            [tracking, ctx.idempotency_key, reservation_id],
        )
        return {"tracking": tracking}


@activity("shop.cancel_shipment")
def cancel_shipment(tracking: str, ctx: ActivityContext) -> None:
    """Call a parcel back; its items are reserved again, as they were before it left."""
    with effect(ctx) as db:
        called_back = db.execute(
            "UPDATE shipments SET state = 'cancelled' WHERE tracking = ? AND state = 'shipped'"
            " RETURNING reservation_id",
            [tracking],
        ).fetchone()
        if called_back:
            db.execute("UPDATE reservations SET state = 'held' WHERE id = ?", [called_back[0]])


@activity("mail.send", non_retryable=[MailRefused])
def send_mail(to: str, subject: str, token: str, ctx: ActivityContext) -> None:
    """Put a mail into the outbox; refuses an empty token and addresses in .invalid (MailRefused)."""
    if not token:
        raise MailRefused("the mail server wants a token")
    if to.endswith(".invalid"):
        raise MailRefused(f"nobody lives at {to}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", [ctx.idempotency_key, to, subject])


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database SHOP_DB (by default ./shop.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("SHOP_DB", "shop.db"), timeout=5)) as db:
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
