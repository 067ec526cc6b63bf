"""Orders, by the command line and real servers: what they leave, and that a failure leaves nothing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.services import payments
from examples.services.stage import Server, Stage, mails, stage
from tests.scenario_helpers import (
    Killer,
    deadly_http,
    deadly_mailbox,
    dies_after,
    on_temporal_too,
    own_id,
    played,
)

HERE = Path(__file__).resolve().parent
WORKFLOW = "order-fulfilment.yaml"
STOCK = "SELECT sku, on_hand, reserved FROM stock ORDER BY sku"
FULL = [("chair", 0, 0), ("desk", 3, 0), ("lamp", 10, 0)]
SOLD = [("chair", 0, 0), ("desk", 2, 0), ("lamp", 8, 0)]
CHARGED = "SELECT card, cents FROM charges WHERE state = 'charged'"
order = importlib.import_module("examples.order-fulfilment.play_orders").order


@dataclass
class Shop:
    here: Stage
    mailbox: Server
    gateway: Server

    @property
    def money(self) -> list[tuple[Any, ...]]:
        return self.here.rows(self.gateway.folder / "payments.db", CHARGED)

    def order(self, order_id: str, card: str, exits: int = 0, **items: int) -> dict[str, Any]:
        data = order(order_id, card, self.gateway.url, **items)
        ended: dict[str, Any] = json.loads(self.here.run(WORKFLOW, data, "--json", exits=exits))
        return ended


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    with stage(HERE, tmp_path / "shop", aloud=False) as played:
        played.database("shop.db", "shop.sql")
        yield played


@pytest.fixture
def shop(here: Stage) -> Shop:
    return Shop(here, here.serve("mailbox", usually=8025), here.serve("payments"))


@on_temporal_too
def test_an_order_is_paid_deducted_and_told_of(shop: Shop) -> None:
    ended = shop.order("A-1", "visa", lamp=2, desk=1)
    assert ended["output"] == {"order_id": "A-1", "cents": 32_880, "charge": "ch_1", "told": True}
    assert shop.here.rows("shop.db", STOCK) == SOLD
    assert shop.here.rows("shop.db", "SELECT order_id, email, cents, charge, state FROM orders") == [
        ("A-1", "ada@example.com", 32_880, "ch_1", "placed")
    ]
    assert shop.here.rows("shop.db", "SELECT sku, quantity, state FROM reservations") == [
        ("lamp", 2, "sold"), ("desk", 1, "sold")
    ]  # fmt: skip
    assert shop.money == [("visa", 32_880)]
    [mail] = mails(shop.mailbox.folder)
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "Your order A-1 is on its way")
    assert mail["From"] == "Lamps and Desks <shop@example.com>"
    assert mail.get_content().splitlines()[2:4] == ["  2 x lamp", "  1 x desk"]
    assert "328.80 EUR" in mail.get_content()


@pytest.mark.parametrize(
    ("card", "items", "error"),
    [
        ("visa", {"lamp": 1, "chair": 1}, "OutOfStock"),
        ("declined", {"desk": 3}, "PaymentDeclined"),
        ("stuck", {"lamp": 1, "desk": 1}, "Timeout"),
    ],
)
def test_an_order_that_fails_leaves_nothing(shop: Shop, card: str, items: dict[str, int], error: str) -> None:
    if card == "stuck":  # nobody has to wait for a second four times
        document = shop.here.folder / WORKFLOW
        document.write_text(document.read_text().replace("timeout: 1s", "timeout: 300ms"))
    ended = shop.order("A-1", card, exits=1, **items)
    assert (ended["status"], ended["error"]["type"]) == ("compensated", error)
    assert shop.here.rows("shop.db", STOCK) == FULL
    assert shop.here.rows("shop.db", "SELECT * FROM orders") == []
    assert shop.here.rows("shop.db", "SELECT * FROM reservations") == []
    assert shop.money == []
    assert mails(shop.mailbox.folder) == []


def test_an_answer_that_got_lost_is_one_charge(shop: Shop) -> None:
    assert shop.order("A-1", "slow", lamp=2, desk=1)["status"] == "completed"
    books = shop.gateway.folder / "payments.db"
    assert shop.here.rows(books, "SELECT count(*), count(DISTINCT key) FROM requests") == [(2, 1)]
    assert shop.money == [("slow", 32_880)]


def test_the_same_order_again_is_refused_and_touches_nothing_of_the_first(shop: Shop) -> None:
    shop.order("A-1", "visa", lamp=2, desk=1)
    again = shop.order("A-1", "visa", exits=1, lamp=1)
    assert (again["status"], again["error"]["type"]) == ("compensated", "IntegrityError")
    assert shop.here.rows("shop.db", STOCK) == SOLD
    assert len(shop.money) == len(mails(shop.mailbox.folder)) == 1


@on_temporal_too
def test_an_order_that_failed_can_be_placed_again(shop: Shop) -> None:
    shop.order("A-1", "declined", exits=1, lamp=2, desk=1)
    assert shop.order("A-1", "visa", lamp=2, desk=1)["status"] == "completed"
    assert shop.here.rows("shop.db", STOCK) == SOLD


def test_a_mail_that_bounces_leaves_the_order_placed(shop: Shop) -> None:
    data = order("A-1", "visa", shop.gateway.url, lamp=2, desk=1) | {"email": "ada@nowhere.invalid"}
    assert json.loads(shop.here.run(WORKFLOW, data, "--json"))["output"]["told"] is False
    assert shop.here.rows("shop.db", STOCK) == SOLD
    assert mails(shop.mailbox.folder) == []


def test_a_replay_executes_what_commits_and_deducts_nothing_twice(shop: Shop) -> None:
    first = shop.order("A-1", "visa", lamp=2, desk=1)
    replayed = json.loads(shop.here.flowctl("replay", first["id"], "--from", "notify", "--json"))
    assert (replayed["id"] != first["id"], replayed["status"]) == (True, "completed")
    keys = shop.here.rows(
        "shop.db", "SELECT idempotency_key FROM flowctl_effects WHERE idempotency_key LIKE '%/deduct'"
    )
    assert {key for (key,) in keys} == {f"{first['id']}/deduct", f"{replayed['id']}/deduct"}
    assert shop.here.rows("shop.db", STOCK) == SOLD
    assert len(shop.money) == 1


# --- kill -9


def resumed(here: Stage, mailbox: Path, books: Path) -> None:
    """Drive the order A-1 on; whatever happened, it is there once."""
    assert json.loads(here.flowctl("resume", own_id(here), "--json"))["status"] == "completed"
    assert here.rows("shop.db", STOCK) == SOLD
    assert here.rows("shop.db", "SELECT order_id, state FROM orders") == [("A-1", "placed")]
    assert here.rows(books, CHARGED) == [("visa", 32_880)]
    assert [mail["To"] for mail in mails(mailbox)] == ["ada@example.com"]


def test_killed_when_it_was_charged_it_is_charged_once(here: Stage) -> None:
    mailbox, killer = here.serve("mailbox", usually=8025), Killer()
    payments.Gateway.database = payments.open_books(here.folder / "payments")
    with deadly_http(payments.Gateway, killer, "POST /charges") as url:
        data = json.dumps(order("A-1", "visa", url, lamp=2, desk=1))
        killer.kills(here, "run", WORKFLOW, "--input", data, "--id", own_id(here))
        assert here.rows("payments/payments.db", CHARGED) == [("visa", 32_880)]
        resumed(here, mailbox.folder, payments.Gateway.database)
    requests = here.rows("payments/payments.db", "SELECT count(*), count(DISTINCT key) FROM requests")
    assert requests == [(2, 1)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 FROM reservations WHERE sku = 'desk'",
        "SELECT 1 FROM orders WHERE state = 'placed'",
    ],
)
def test_killed_right_after_a_commit_it_commits_once(shop: Shop, query: str) -> None:
    data = json.dumps(order("A-1", "visa", shop.gateway.url, lamp=2, desk=1))
    dies_after(shop.here, query, "run", WORKFLOW, "--input", data, "--id", own_id(shop.here))
    resumed(shop.here, shop.mailbox.folder, shop.gateway.folder / "payments.db")


def test_killed_when_the_mail_was_taken_there_is_one_mail(here: Stage) -> None:
    gateway, killer = here.serve("payments"), Killer()
    with deadly_mailbox(here, killer) as mailbox:
        data = json.dumps(order("A-1", "visa", gateway.url, lamp=2, desk=1))
        killer.kills(here, "run", WORKFLOW, "--input", data, "--id", own_id(here))
        assert len(mails(mailbox)) == 1
        resumed(here, mailbox, gateway.folder / "payments.db")


def test_what_the_readme_says_to_run_tells_its_story_to_the_end(tmp_path: Path) -> None:
    said = played(HERE / "play_orders.py", tmp_path / "play")
    for line in [
        "lamp   7 on hand  0 reserved",
        "A-5  stuck  49800  refunded",
        "to ada@example.com: Your order A-2 is on its way",
    ]:
        assert line in said
