"""The services behind a trip: flights, hotels and mail, in one small SQLite file.

Each booking is a row with the idempotency key of the step that asked for it. The key is unique, so an
attempt that is made again (after a timeout, or by the successor of a process that died before it could
report) finds its booking and makes no second one. Cancelling looks at the booking's state first, so it can
be repeated too.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict

from flowctl import ActivityContext, activity

TABLES = Path(__file__).with_name("agency.sql").read_text(encoding="utf-8")


class FullyBooked(Exception):
    """No seat or no room is free; asking again will not help."""


class HotelOffline(Exception):
    """The hotel's booking system does not answer; it usually comes back."""


class MailRefused(Exception):
    """The mail server did not take the mail."""


class Booking(TypedDict):
    booking: str


@activity("flights.book", non_retryable=[FullyBooked])
def book_flight(flight: str, traveller: str, ctx: ActivityContext) -> Booking:
    """Book one seat on a flight (FullyBooked)."""
    with effect(ctx) as db:
        known = booking_under(ctx.idempotency_key, db)
        if known:
            return known
        taken = db.execute("UPDATE flights SET seats = seats - 1 WHERE flight = ? AND seats > 0", [flight])
        if not taken.rowcount:
            raise FullyBooked(f"there is no seat on {flight}")
        booking = f"{flight}-{next_number(db)}"
        db.execute(
            "INSERT INTO bookings (booking, key, flight, traveller) VALUES (?, ?, ?, ?)",
            [booking, ctx.idempotency_key, flight, traveller],
        )
        return {"booking": booking}


@activity("flights.cancel")
def cancel_flight(booking: str, ctx: ActivityContext) -> None:
    """Cancel a flight booking and free its seat."""
    with effect(ctx) as db:
        if cancel(booking, db):
            db.execute(
                "UPDATE flights SET seats = seats + 1"
                " WHERE flight = (SELECT flight FROM bookings WHERE booking = ?)",
                [booking],
            )


@activity("hotels.book", retry={"delay": "250ms"}, non_retryable=[FullyBooked])
def book_hotel(hotel: str, traveller: str, ctx: ActivityContext) -> Booking:
    """Book one room in a hotel (FullyBooked, HotelOffline)."""
    with effect(ctx) as db:
        known = booking_under(ctx.idempotency_key, db)
        if known:
            return known
        offline = db.execute(
            "SELECT 1 FROM hotels WHERE hotel = ? AND outages >= ?", [hotel, ctx.attempt]
        ).fetchone()
        if offline:
            raise HotelOffline(f"the {hotel} does not answer")
        taken = db.execute("UPDATE hotels SET rooms = rooms - 1 WHERE hotel = ? AND rooms > 0", [hotel])
        if not taken.rowcount:
            raise FullyBooked(f"there is no room in the {hotel}")
        booking = f"{hotel}-{next_number(db)}"
        db.execute(
            "INSERT INTO bookings (booking, key, hotel, traveller) VALUES (?, ?, ?, ?)",
            [booking, ctx.idempotency_key, hotel, traveller],
        )
        return {"booking": booking}


@activity("hotels.cancel")
def cancel_hotel(booking: str, ctx: ActivityContext) -> None:
    """Cancel a hotel booking and free its room."""
    with effect(ctx) as db:
        if cancel(booking, db):
            db.execute(
                "UPDATE hotels SET rooms = rooms + 1"
                " WHERE hotel = (SELECT hotel FROM bookings WHERE booking = ?)",
                [booking],
            )


@activity("travel.send_mail", non_retryable=[MailRefused])
def send_mail(to: str, subject: str, ctx: ActivityContext) -> None:
    """Put a mail into the outbox; refuses addresses in .invalid (MailRefused)."""
    if to.endswith(".invalid"):
        raise MailRefused(f"nobody lives at {to}")
    with effect(ctx) as db:
        db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", [ctx.idempotency_key, to, subject])


def booking_under(key: str, db: sqlite3.Connection) -> Booking | None:
    """The booking that was made under this key, as it was answered then."""
    known = db.execute("SELECT booking FROM bookings WHERE key = ?", [key]).fetchone()
    return {"booking": known[0]} if known else None


def next_number(db: sqlite3.Connection) -> int:
    """The number of the next booking: rows are never deleted, and there is one writer at a time."""
    number: int = db.execute("SELECT count(*) + 1 FROM bookings").fetchone()[0]
    return number


def cancel(booking: str, db: sqlite3.Connection) -> bool:
    """Mark a booking as cancelled; false if it was already, so that its place is freed only once."""
    cancelled = db.execute(
        "UPDATE bookings SET state = 'cancelled' WHERE booking = ? AND state = 'booked'", [booking]
    )
    return cancelled.rowcount > 0


@contextmanager
def effect(ctx: ActivityContext) -> Iterator[sqlite3.Connection]:
    """One transaction on the database AGENCY_DB (by default ./agency.db): kept, or undone if it raises.

    It is the only writer while it lasts, so that two attempts with one key cannot both find the key unused.
    """
    note(ctx, "begin")
    with closing(sqlite3.connect(os.environ.get("AGENCY_DB", "agency.db"), timeout=5)) as db:
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
