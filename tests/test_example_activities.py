"""The services of the examples, called as plain functions: calls can be repeated, and effects undone.

What a workflow makes of them is in ``test_examples.py``.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.onboarding import people
from examples.order import shop
from examples.payment import bank
from examples.trip import agency
from flowctl import ActivityContext

Rows = list[tuple[Any, ...]]
ADA, BOSS, NOBODY = "ada@example.com", "boss@example.com", "nobody@example.invalid"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("SHOP_DB", "AGENCY_DB", "PEOPLE_DB", "BANK_DB", "FLOWCTL_LEDGER"):
        monkeypatch.delenv(variable, raising=False)


def context(key: str, attempt: int = 1) -> ActivityContext:
    return ActivityContext(activity="the.activity", run_id="run", idempotency_key=key, attempt=attempt)


def rows(query: str, database: str) -> Rows:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


@dataclass(frozen=True)
class Deed:
    """Something an activity does, the activity that undoes it, and where one sees which has happened."""

    do: Callable[[str], Any]
    undo: Callable[[Any], None]
    database: str
    seen_by: str


def reserve_for_shipping() -> int:
    return shop.reserve_inventory(["kettle"], context("run/reserve"))["id"]


def hold_some() -> int:
    return bank.hold("plenty", 25.0, context("run/hold"))["id"]


def open_account() -> None:
    people.create_account("Ada", ADA, context("run/account"))


DEEDS = {
    "reserve": Deed(
        lambda key: shop.reserve_inventory(["lamp", "lamp", "kettle"], context(key)),
        lambda made: shop.release_inventory(made["id"], context("undo")),
        "shop.db",
        "SELECT sku, on_shelf FROM stock",
    ),
    "charge an order": Deed(
        lambda key: shop.charge(99.99, ADA, "the charge", context(key)),
        lambda made: shop.refund("the charge", context("undo")),
        "shop.db",
        "SELECT email, balance FROM accounts",
    ),
    "ship": Deed(
        lambda key: shop.ship("0012", reserve_for_shipping(), context(key)),
        lambda made: shop.cancel_shipment(made["tracking"], context("undo")),
        "shop.db",
        "SELECT state FROM reservations",
    ),
    "book a flight": Deed(
        lambda key: agency.book_flight("FC100", "Ada", context(key)),
        lambda made: agency.cancel_flight(made["booking"], context("undo")),
        "agency.db",
        "SELECT flight, seats FROM flights",
    ),
    "book a hotel": Deed(
        lambda key: agency.book_hotel("harbour", "Ada", context(key)),
        lambda made: agency.cancel_hotel(made["booking"], context("undo")),
        "agency.db",
        "SELECT hotel, rooms FROM hotels",
    ),
    "open an account": Deed(
        lambda key: people.create_account("Ada", ADA, context("run/account")),
        lambda made: people.close_account("run/account", context("undo")),
        "people.db",
        "SELECT email FROM accounts WHERE state = 'open'",
    ),
    "assign a laptop": Deed(
        lambda key: people.assign_laptop(ADA, "standard", context(key)),
        lambda made: people.return_laptop("run/step", context("undo")),
        "people.db",
        "SELECT serial, owner FROM laptops",
    ),
    "grant access": Deed(
        lambda key: people.grant_access(ADA, "repositories", context(key)),
        lambda made: people.revoke_access("run/step", context("undo")),
        "people.db",
        "SELECT systems.system, seats, email FROM systems LEFT JOIN access USING (system)",
    ),
    "hold": Deed(
        lambda key: bank.hold("plenty", 25.0, context(key)),
        lambda made: bank.release(made["id"], context("undo")),
        "bank.db",
        "SELECT card, available, held FROM cards",
    ),
    "charge a card": Deed(
        lambda key: bank.charge(hold_some(), "the charge", context(key)),
        lambda made: bank.refund("the charge", context("undo")),
        "bank.db",
        "SELECT card, held, charged FROM cards",
    ),
}
BEFORE: dict[str, Callable[[], object]] = {
    "ship": reserve_for_shipping,
    "assign a laptop": open_account,
    "grant access": open_account,
    "charge a card": hold_some,
}


@pytest.fixture(params=DEEDS)
def deed(request: pytest.FixtureRequest) -> Deed:
    """Each deed, on services that exist and hold what it needs."""
    chosen = DEEDS[request.param]
    tables = {"shop.db": shop, "agency.db": agency, "people.db": people, "bank.db": bank}[
        chosen.database
    ].TABLES
    with closing(sqlite3.connect(chosen.database)) as db:
        db.executescript(tables)
    BEFORE.get(request.param, lambda: None)()
    return chosen


def test_a_call_that_comes_again_with_its_key_gets_the_same_answer_and_changes_nothing(deed: Deed) -> None:
    before = rows(deed.seen_by, deed.database)
    first = deed.do("run/step")
    after_first = rows(deed.seen_by, deed.database)
    assert after_first != before
    assert deed.do("run/step") == first
    assert rows(deed.seen_by, deed.database) == after_first


def test_an_effect_can_be_undone_and_undoing_it_again_changes_nothing(deed: Deed) -> None:
    before = rows(deed.seen_by, deed.database)
    made = deed.do("run/step")
    deed.undo(made)
    assert rows(deed.seen_by, deed.database) == before
    deed.undo(made)
    assert rows(deed.seen_by, deed.database) == before


REFUSALS: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
    "an item is out of stock": (
        shop.OutOfStock,
        lambda: shop.reserve_inventory(["lamp", "unicorn"], context("k")),
    ),
    "an item is unknown": (shop.OutOfStock, lambda: shop.reserve_inventory(["grail"], context("k"))),
    "a customer is too poor": (
        shop.CardDeclined,
        lambda: shop.charge(1.01, "poor@example.com", "k", context("k")),
    ),
    "a piano cannot be sent": (
        shop.ShippingImpossible,
        lambda: shop.ship("1", shop.reserve_inventory(["piano"], context("r"))["id"], context("k")),
    ),
    "the token is empty": (shop.MailRefused, lambda: shop.send_mail(ADA, "hello", "", context("k"))),
    "an order's mail bounces": (
        shop.MailRefused,
        lambda: shop.send_mail(NOBODY, "hello", "demo", context("k")),
    ),
    "a flight is full": (agency.FullyBooked, lambda: agency.book_flight("FC200", "Ada", context("k"))),
    "a flight is unknown": (agency.FullyBooked, lambda: agency.book_flight("FC999", "Ada", context("k"))),
    "a hotel is full": (agency.FullyBooked, lambda: agency.book_hotel("grand", "Ada", context("k"))),
    "a trip's mail bounces": (agency.MailRefused, lambda: agency.send_mail(NOBODY, "hello", context("k"))),
    "no laptop is left": (
        people.NoLaptopLeft,
        lambda: people.assign_laptop(BOSS, "strong", context("k")),
    ),
    "no seat is left": (people.NoSeatLeft, lambda: people.grant_access(BOSS, "customers", context("k"))),
    "a welcome bounces": (people.MailRefused, lambda: people.send_mail(NOBODY, "hello", context("k"))),
    "a card is empty": (bank.InsufficientFunds, lambda: bank.hold("empty", 1.01, context("k"))),
    "a card is unknown": (bank.InsufficientFunds, lambda: bank.hold("none", 1.0, context("k"))),
    "a card is blocked": (
        bank.CardBlocked,
        lambda: bank.charge(bank.hold("blocked", 1.0, context("h"))["id"], "k", context("k")),
    ),
    "a receipt bounces": (bank.MailRefused, lambda: bank.send_receipt(NOBODY, 1, context("k"))),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_leaves_nothing_under_its_key(refusal: str, tmp_path: Path) -> None:
    error, call = REFUSALS[refusal]
    with pytest.raises(error):
        call()
    for database in tmp_path.glob("*.db"):
        with closing(sqlite3.connect(database)) as db:
            assert not [line for line in db.iterdump() if "'k'" in line]


def test_half_a_reservation_is_no_reservation() -> None:
    with pytest.raises(shop.OutOfStock):
        shop.reserve_inventory(["lamp", "unicorn"], context("run/reserve"))
    assert rows("SELECT on_shelf FROM stock WHERE sku = 'lamp'", "shop.db") == [(10,)]


def test_a_refund_calls_off_the_charge_that_is_still_on_its_way() -> None:
    shop.refund("late", context("run/charge.undo"))
    with pytest.raises(shop.CardDeclined, match="called off"):
        shop.charge(10.0, ADA, "late", context("run/charge"))
    assert rows("SELECT balance FROM accounts WHERE email = 'ada@example.com'", "shop.db") == [(500_000,)]


def test_a_refunded_card_is_not_charged_again_by_an_attempt_that_comes_late() -> None:
    held = hold_some()
    bank.charge(held, "key", context("run/charge"))
    bank.refund("key", context("run/charge.undo"))
    with pytest.raises(bank.CardBlocked, match="called off"):
        bank.charge(held, "key", context("run/charge", attempt=2))
    assert rows("SELECT held, charged FROM cards WHERE card = 'plenty'", "bank.db") == [(2500, 0)]


def test_what_was_charged_is_no_longer_there_to_be_released() -> None:
    held = hold_some()
    bank.charge(held, "key", context("run/charge"))
    bank.release(held, context("run/hold.undo"))
    assert rows("SELECT available, charged FROM cards WHERE card = 'plenty'", "bank.db") == [(97_500, 2500)]


def test_an_answer_that_came_too_late_is_found_by_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    held = bank.hold("slow", 25.0, context("run/hold"))["id"]
    first = bank.charge(held, "key", context("run/charge"))
    assert waited == [bank.TOO_LATE_SECONDS]
    assert bank.charge(held, "key", context("run/charge", attempt=2)) == first
    assert waited == [bank.TOO_LATE_SECONDS]
    assert rows("SELECT charged FROM cards WHERE card = 'slow'", "bank.db") == [(2500,)]


def test_an_account_is_created_by_one_call_only() -> None:
    assert people.create_account("Ada", ADA, context("one")) == {"created": True}
    assert people.create_account("Ada", ADA, context("two")) == {"created": False}
    assert people.create_account("Ada", ADA, context("one")) == {"created": True}


def test_a_closed_account_is_opened_again_by_the_next_run_but_not_by_a_late_attempt() -> None:
    people.create_account("Ada", ADA, context("one"))
    people.close_account("one", context("undo"))
    people.create_account("Ada", ADA, context("one", attempt=2))
    assert rows("SELECT state FROM accounts WHERE email = 'ada@example.com'", "people.db") == [("closed",)]
    assert people.create_account("Ada", ADA, context("two")) == {"created": True}
    people.close_account("one", context("undo"))
    assert rows("SELECT state FROM accounts WHERE email = 'ada@example.com'", "people.db") == [("open",)]


def test_undoing_again_does_not_take_away_what_another_run_was_given_meanwhile() -> None:
    open_account()
    people.assign_laptop(ADA, "light", context("one"))
    people.return_laptop("one", context("undo"))
    people.assign_laptop(BOSS, "light", context("two"))
    people.return_laptop("one", context("undo"))
    assert rows("SELECT owner FROM laptops WHERE serial = 'L-1'", "people.db") == [(BOSS,)]


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (shop.GatewayUnavailable, lambda ctx: shop.charge(10.0, "grace@example.com", "key", ctx)),
        (agency.HotelOffline, lambda ctx: agency.book_hotel("lagoon", "Ada", ctx)),
    ],
)
def test_what_is_unavailable_twice_answers_the_third_attempt(
    error: type[Exception], call: Callable[[ActivityContext], object]
) -> None:
    for attempt in (1, 2):
        with pytest.raises(error):
            call(context("key", attempt))
    assert call(context("key", 3))


def test_the_ledger_tells_of_each_effect_that_began_and_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    monkeypatch.setenv("FLOWCTL_LEDGER", str(ledger))
    with pytest.raises(shop.OutOfStock):
        shop.reserve_inventory(["unicorn"], context("run/reserve"))
    shop.reserve_inventory(["lamp"], context("run/reserve", attempt=2))
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(line["attempt"], line["phase"]) for line in lines] == [(1, "begin"), (2, "begin"), (2, "done")]
    assert {(line["activity"], line["key"], line["run"]) for line in lines} == {
        ("the.activity", "run/reserve", "run")
    }
    assert all(isinstance(line["pid"], int) for line in lines)


def test_the_services_can_live_somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("SHOP_DB", str(elsewhere))
    shop.reserve_inventory(["lamp"], context("run/reserve"))
    assert elsewhere.exists()
    assert not (tmp_path / "shop.db").exists()
