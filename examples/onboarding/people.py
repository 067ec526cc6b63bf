"""The services behind an onboarding: accounts, laptops, access and mail, in one small SQLite file.

Every activity can be called again with the same idempotency key, and then answers what it answered before:
what it did carries that key. The activities that undo are told the key, not the thing. So what another run
has done to the same person, laptop or system meanwhile is safe from them, however often they are repeated.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("people.sql").read_text(encoding="utf-8")


class NoLaptopLeft(Exception):
    """The cupboard holds no laptop of this model."""


class NoSeatLeft(Exception):
    """Every seat the company pays for is taken."""


class MailRefused(Exception):
    """The mail server did not take the mail."""


class Account(TypedDict):
    created: bool


class Laptop(TypedDict):
    serial: str


@activity("people.create_account")
def create_account(name: str, email: str, ctx: ActivityContext) -> Account:
    """Open an account; `created` is false if somebody else's call had opened it before."""
    with effect(ctx) as db:
        db.execute(
            "INSERT INTO accounts (email, key, name) VALUES (?, ?, ?) ON CONFLICT (email)"
            " DO UPDATE SET key = excluded.key, name = excluded.name, state = 'open'"
            " WHERE state = 'closed' AND key <> excluded.key",
            [email, ctx.idempotency_key, name],
        )
        # Whose key the account carries says who opened it, now or at an earlier attempt.
        key = db.execute("SELECT key FROM accounts WHERE email = ?", [email]).fetchone()[0]
        return {"created": key == ctx.idempotency_key}


@activity("people.close_account")
def close_account(key: str, ctx: ActivityContext) -> None:
    """Close the account opened under a key; it stays known, and another call can open it again."""
    with effect(ctx) as db:
        db.execute("UPDATE accounts SET state = 'closed' WHERE key = ?", [key])


@activity("people.assign_laptop", non_retryable=[NoLaptopLeft])
def assign_laptop(email: str, model: str, ctx: ActivityContext) -> Laptop:
    """Give somebody a laptop from the cupboard (NoLaptopLeft)."""
    with effect(ctx) as db:
        known = db.execute("SELECT serial FROM laptops WHERE key = ?", [ctx.idempotency_key]).fetchone()
        if known:
            return {"serial": known[0]}
        free = db.execute(
            "SELECT serial FROM laptops WHERE model = ? AND owner IS NULL ORDER BY serial", [model]
        ).fetchone()
        if not free:
            raise NoLaptopLeft(f"there is no {model} laptop in the cupboard")
        db.execute(
            "UPDATE laptops SET owner = ?, key = ? WHERE serial = ?", [email, ctx.idempotency_key, free[0]]
        )
        return {"serial": free[0]}


@activity("people.return_laptop")
def return_laptop(key: str, ctx: ActivityContext) -> None:
    """Put the laptop that was given under a key back into the cupboard."""
    with effect(ctx) as db:
        db.execute("UPDATE laptops SET owner = NULL, key = NULL WHERE key = ?", [key])


@activity("people.grant_access", non_retryable=[NoSeatLeft])
def grant_access(email: str, system: str, ctx: ActivityContext) -> None:
    """Give somebody a seat in a system (NoSeatLeft); who has one keeps it."""
    with effect(ctx) as db:
        granted = db.execute(
            "INSERT OR IGNORE INTO access (email, system, key) VALUES (?, ?, ?)",
            [email, system, ctx.idempotency_key],
        )
        if granted.rowcount and not take_seat(system, db):
            raise NoSeatLeft(f"no seat is left in {system}")  # takes the grant back as well


@activity("people.revoke_access")
def revoke_access(key: str, ctx: ActivityContext) -> None:
    """Take back the seat that was given under a key."""
    with effect(ctx) as db:
        revoked = db.execute("DELETE FROM access WHERE key = ? RETURNING system", [key]).fetchone()
        if revoked:
            db.execute("UPDATE systems SET seats = seats + 1 WHERE system = ?", revoked)


@activity("people.send_mail", non_retryable=[MailRefused])
def send_mail(to: str, subject: str, ctx: ActivityContext) -> None:
    """Put a mail into the outbox; refuses addresses in .invalid (MailRefused)."""
    if to.endswith(".invalid"):
        raise MailRefused(f"nobody lives at {to}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", [ctx.idempotency_key, to, subject])


def take_seat(system: str, db: sqlite3.Connection) -> bool:
    """Take one of a system's seats, if there is one."""
    taken = db.execute("UPDATE systems SET seats = seats - 1 WHERE system = ? AND seats > 0", [system])
    return taken.rowcount > 0


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database PEOPLE_DB (by default ./people.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("PEOPLE_DB", "people.db"), timeout=5)) as db:
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
