"""The examples, run as their readers would: by the command line, each in an empty folder.

Each story is a row of a table: what is asked for, how the run ends, what it undid, and what the services'
books say then.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import console
from tests.mutation.hunt import PACKAGES

EXAMPLES = console.ROOT / "examples"
DATABASES = {
    "order": "shop.db",
    "trip": "agency.db",
    "onboarding": "people.db",
    "payment": "bank.db",
    "approval-loop": "office.db",
    "premium": "store.db",
    "dashboard": "metrics.db",
    "batch": "payouts.db",
}
DOCUMENTS = sorted(
    str(file.relative_to(EXAMPLES))
    for file in EXAMPLES.glob("*/*.yaml")
    if not file.name.endswith(".test.yaml")
)
Books = dict[str, list[tuple[Any, ...]]]
BOUNCES = "ada@nowhere.invalid"


@dataclass(frozen=True)
class Story:
    """One run of an example.

    ``signals`` are sent one by one, whenever it waits; ``books`` maps queries to the rows found in the end.
    ``undone=None``: which branch was how far is chance, and only the books can be foretold.
    """

    workflow: str
    input: Mapping[str, Any]
    exits: int = 0
    status: str = "completed"
    error: str | None = None
    undone: tuple[str, ...] | None = ()
    not_undone: tuple[str, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    output: Mapping[str, Any] | None = None
    signals: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    books: Books = field(default_factory=dict)

    @property
    def example(self) -> str:
        return self.workflow.partition("/")[0]


SHELF = "SELECT on_shelf FROM stock WHERE sku IN ('lamp', 'piano') ORDER BY sku"
BALANCES = "SELECT balance FROM accounts ORDER BY email"
UNTOUCHED_SHOP: Books = {SHELF: [(10,), (1,)], BALANCES: [(500_000,), (500_000,), (100,)]}
SEATS, ROOMS = (
    "SELECT seats FROM flights WHERE flight = 'FC100'",
    "SELECT rooms FROM hotels WHERE hotel = 'harbour'",
)
UNTOUCHED_AGENCY: Books = {SEATS: [(3,)], ROOMS: [(2,)], "SELECT * FROM outbox": []}
BUSY_CARDS = "SELECT card, held, charged FROM cards WHERE held OR charged"
STAFF = "SELECT email FROM accounts WHERE state = 'open'"
OWNED = "SELECT serial, owner FROM laptops WHERE owner IS NOT NULL ORDER BY serial"
BOSS_ONLY: Books = {
    STAFF: [("boss@example.com",)],
    OWNED: [("X-1", "boss@example.com")],
    "SELECT * FROM access": [],
    "SELECT * FROM outbox": [],
}


BUDGETS = "SELECT free, aside, spent FROM budgets WHERE department = 'research'"
REQUESTS = "SELECT cents, state FROM requests"
WHOLE_BUDGET: Books = {BUDGETS: [(100_000, 0, 0)]}
BALANCE = "SELECT balance FROM customers WHERE email = '{}@example.com'"
SUPPLIES = "SELECT what, left FROM supplies ORDER BY what"
PARCELS = "SELECT tracking, state FROM parcels"
ALL_SUPPLIES: Books = {SUPPLIES: [("paper", 5), ("ribbon", 5), ("van", 2)]}
AT_ONCE = "fulfil.case_1.at_once"
PRIORITY, INSTEAD = f"{AT_ONCE}.shipping._try1.try.priority", f"{AT_ONCE}.shipping._try1.catch_1.instead"
PAGES = "SELECT state, numbers FROM pages"
ABANDONED = "SELECT source FROM loads WHERE state = 'abandoned' ORDER BY source"
PAID = "SELECT count(*), count(DISTINCT seller), sum(cents) FROM payouts WHERE state = 'paid'"
STATEMENTS = "SELECT last FROM statements ORDER BY last"
FUNDS = "SELECT balance FROM funds ORDER BY fund"
CLOSED_ACCOUNTS = list(range(97, 1000, 97))


def order(**changes: Any) -> dict[str, Any]:
    default = {
        "order_id": "0012",
        "amount": 100,
        "items": ["lamp"],
        "email": "ada@example.com",
        "express": True,
    }
    return default | changes


def trip(**changes: str) -> dict[str, Any]:
    return {"traveller": "Ada", "email": "ada@example.com", "flight": "FC100", "hotel": "harbour"} | changes


def payment(card: str, amount: float = 25, email: str = "ada@example.com") -> dict[str, Any]:
    return {"card": card, "amount": amount, "email": email}


def newcomer(**changes: str) -> dict[str, Any]:
    return {"name": "Ada", "email": "ada@example.com", "role": "engineer"} | changes


def request(**changes: Any) -> dict[str, Any]:
    return {"item": "desk", "amount": 900, "email": "ada@example.com"} | changes


def premium(customer: str, **changes: Any) -> dict[str, Any]:
    return {"order_id": "0012", "email": f"{customer}@example.com", "amount": 100} | changes


def batch(**changes: Any) -> dict[str, Any]:
    return {"month": "2030-01"} | changes


ORDER, TRIP, PAYMENT = "order/order.yaml", "trip/trip.yaml", "payment/payment.yaml"
ONBOARDING_1, ONBOARDING = "onboarding/onboarding-v1.yaml", "onboarding/onboarding-v2.yaml"
APPROVAL, PREMIUM, BATCH = "approval-loop/approval.yaml", "premium/premium.yaml", "batch/batch.yaml"
DASHBOARD, PARTIAL = "dashboard/dashboard.yaml", "dashboard/partial.yaml"

STORIES = {
    "an order is completed": Story(
        ORDER,
        order(items=["lamp", "lamp"]),
        output={"tracking": "T-0012-1"},
        steps={"cooling_off": "skipped", "approval": "skipped", "confirm": "completed"},
        books={
            SHELF: [(8,), (1,)],
            BALANCES: [(490_000,), (500_000,), (100,)],
            "SELECT subject FROM outbox": [("Order 0012 is on its way",)],
        },
    ),
    "an expensive order is approved": Story(
        ORDER,
        order(amount=1500),
        signals=(("approve", {"by": "Grace"}),),
        steps={"approval": "completed", "ship": "completed"},
        books={SHELF: [(9,), (1,)], BALANCES: [(350_000,), (500_000,), (100,)]},
    ),
    "an order cannot be shipped": Story(
        ORDER,
        order(items=["lamp", "piano"]),
        exits=1,
        status="compensated",
        error="ShippingImpossible",
        undone=("charge", "reserve"),
        books=UNTOUCHED_SHOP | {"SELECT cents, state FROM charges": [(10_000, "refunded")]},
    ),
    "a card is declined": Story(
        ORDER,
        order(email="poor@example.com"),
        exits=1,
        status="compensated",
        error="CardDeclined",
        undone=("charge", "reserve"),
        attempts={"charge": 1},
        books=UNTOUCHED_SHOP | {"SELECT cents, state FROM charges": [(0, "void")]},
    ),
    "an item is out of stock": Story(
        ORDER,
        order(items=["lamp", "unicorn"]),
        exits=1,
        status="failed",
        error="OutOfStock",
        attempts={"reserve": 1},
        books=UNTOUCHED_SHOP | {"SELECT * FROM reservations": []},
    ),
    "the payment gateway is down twice": Story(
        ORDER,
        order(email="grace@example.com"),
        attempts={"charge": 3},
        books={"SELECT email, cents, state FROM charges": [("grace@example.com", 10_000, "charged")]},
    ),
    "an order's mail bounces": Story(
        ORDER,
        order(email=BOUNCES),
        steps={"ship": "completed", "confirm": "failed"},
        books={"SELECT state FROM shipments": [("shipped",)], "SELECT * FROM outbox": []},
    ),
    "a trip is booked": Story(
        TRIP,
        trip(),
        output={"flight": "FC100-1", "hotel": "harbour-2"},
        books={SEATS: [(2,)], ROOMS: [(1,)], "SELECT recipient FROM outbox": [("ada@example.com",)]},
    ),
    "a hotel is full and the flight is cancelled": Story(
        TRIP,
        trip(hotel="grand"),
        exits=1,
        status="compensated",
        error="FullyBooked",
        undone=("flight",),
        books=UNTOUCHED_AGENCY | {"SELECT booking, state FROM bookings": [("FC100-1", "cancelled")]},
    ),
    "a flight is full": Story(
        TRIP,
        trip(flight="FC200"),
        exits=1,
        status="failed",
        error="FullyBooked",
        books=UNTOUCHED_AGENCY | {"SELECT * FROM bookings": []},
    ),
    "a hotel answers late": Story(
        TRIP, trip(hotel="lagoon"), attempts={"hotel": 3}, output={"flight": "FC100-1", "hotel": "lagoon-2"}
    ),
    "a traveller cannot be told": Story(
        TRIP,
        trip(email=BOUNCES),
        exits=1,
        status="compensated",
        error="MailRefused",
        undone=("hotel", "flight"),
        books=UNTOUCHED_AGENCY,
    ),
    "a payment is made": Story(
        PAYMENT,
        payment("plenty"),
        output={"charge": 1, "receipt_sent": True},
        books={BUSY_CARDS: [("plenty", 0, 2500)], "SELECT recipient FROM receipts": [("ada@example.com",)]},
    ),
    "funds are insufficient": Story(
        PAYMENT,
        payment("empty"),
        exits=1,
        status="failed",
        error="InsufficientFunds",
        attempts={"hold": 1},
        books={BUSY_CARDS: []},
    ),
    "a blocked card is not charged": Story(
        PAYMENT,
        payment("blocked"),
        exits=1,
        status="compensated",
        error="CardBlocked",
        undone=("charge", "hold"),
        attempts={"charge": 1},
        books={BUSY_CARDS: [], "SELECT state FROM charges": [("void",)]},
    ),
    "a slow card answers the second attempt": Story(
        PAYMENT,
        payment("slow"),
        attempts={"charge": 2},
        output={"charge": 1, "receipt_sent": True},
        books={BUSY_CARDS: [("slow", 0, 2500)]},
    ),
    "a card that never answers in time is refunded": Story(
        PAYMENT,
        payment("stuck"),
        exits=1,
        status="compensated",
        error="Timeout",
        undone=("charge", "hold"),
        attempts={"charge": 2},
        books={BUSY_CARDS: [], "SELECT state FROM charges": [("refunded",)]},
    ),
    "a receipt bounces": Story(
        PAYMENT,
        payment("plenty", email=BOUNCES),
        output={"charge": 1, "receipt_sent": False},
        steps={"confirm": "failed"},
        books={BUSY_CARDS: [("plenty", 0, 2500)], "SELECT * FROM receipts": []},
    ),
    "version 1 gives everybody the same": Story(
        ONBOARDING_1,
        {"name": "Ada", "email": "ada@example.com"},
        output={"laptop": "S-1"},
        books={OWNED: [("S-1", "ada@example.com"), ("X-1", "boss@example.com")]},
    ),
    "a contractor is not asked": Story(
        ONBOARDING,
        newcomer(role="contractor"),
        output={"laptop": "S-1", "access": "timesheets"},
        steps={"answer": "skipped"},
        books={"SELECT email, system FROM access": [("ada@example.com", "timesheets")]},
    ),
    "an engineer accepts": Story(
        ONBOARDING,
        newcomer(),
        signals=(("accept", {"laptop": "light"}),),
        output={"laptop": "L-1", "access": "repositories"},
        books={OWNED: [("L-1", "ada@example.com"), ("X-1", "boss@example.com")]},
    ),
    "a newcomer declines": Story(
        ONBOARDING,
        newcomer(),
        signals=(("decline", {}),),
        exits=1,
        status="compensated",
        error="OfferDeclined",
        undone=("account",),
        books=BOSS_ONLY,
    ),
    "no laptop is left": Story(
        ONBOARDING,
        newcomer(),
        signals=(("accept", {"laptop": "strong"}),),
        exits=1,
        status="compensated",
        error="NoLaptopLeft",
        undone=("account",),
        books=BOSS_ONLY,
    ),
    "no seat is left": Story(
        ONBOARDING,
        newcomer(role="seller"),
        signals=(("accept", {"laptop": "light"}),),
        exits=1,
        status="compensated",
        error="NoSeatLeft",
        undone=("laptop", "account"),
        books=BOSS_ONLY,
    ),
    "somebody works here already": Story(
        ONBOARDING,
        newcomer(email="boss@example.com"),
        output={"laptop": None, "access": None},
        books=BOSS_ONLY,
    ),
    "a welcome bounces": Story(
        ONBOARDING,
        newcomer(email=BOUNCES, role="contractor"),
        steps={"welcome": "failed"},
        books={"SELECT * FROM outbox": []},
    ),
    "a request is approved after it was revised, and once revised in vain": Story(
        APPROVAL,
        request(),
        signals=(("revise", {"amount": 5000}), ("revise", {"amount": 450}), ("approve", {})),
        output={"decision": "approved", "by": "somebody", "amount": 450, "order": "O-1"},
        steps={
            "review[0].by_decision.case_2._try1.try.revise": "failed",
            "review[0].by_decision.case_2._try1": "completed",
            "review[1].by_decision.case_2._try1.try.revise": "completed",
        },
        books={
            BUDGETS: [(55_000, 0, 45_000)],
            REQUESTS: [(45_000, "ordered")],
            "SELECT count(*) FROM outbox WHERE recipient = 'boss@example.com'": [(3,)],
            "SELECT subject FROM outbox WHERE subject LIKE 'Not%'": [
                ("Not revised: research has not got 4100.00 left",)
            ],
        },
    ),
    "a request is revised and then cancelled": Story(
        APPROVAL,
        request(),
        signals=(("revise", {"amount": 450}), ("cancel", {})),
        undone=("request",),
        output={"decision": "cancelled", "by": "somebody", "amount": None, "order": None},
        books=WHOLE_BUDGET | {REQUESTS: [(45_000, "withdrawn")]},
    ),
    "what was approved is not made any more": Story(
        APPROVAL,
        request(item="fax"),
        signals=(("approve", {}),),
        exits=1,
        status="compensated",
        error="Discontinued",
        undone=("request",),
        books=WHOLE_BUDGET | {REQUESTS: [(90_000, "withdrawn")]},
    ),
    "a department has not got that much": Story(
        APPROVAL,
        request(department="archive"),
        exits=1,
        status="failed",
        error="OverBudget",
        books={REQUESTS: [], "SELECT * FROM outbox": []},
    ),
    "a boss who cannot be mailed can approve all the same": Story(
        APPROVAL,
        request(boss=BOUNCES),
        signals=(("approve", {}),),
        steps={"review[0].ask": "failed", "order": "completed"},
        books={BUDGETS: [(10_000, 0, 90_000)]},
    ),
    "a premium customer's gift is wrapped and goes by van": Story(
        PREMIUM,
        premium("ada", message="Well done"),
        output={"tracking": "P-0012-1", "days": 1, "extras": 14},
        steps={PRIORITY: "completed", f"{AT_ONCE}.wrapping.wrap": "completed"},
        books={
            BALANCE.format("ada"): [(488_600,)],
            SUPPLIES: [("paper", 4), ("ribbon", 4), ("van", 1)],
            "SELECT text FROM cards": [("Well done",)],
        },
    ),
    "a regular customer's order goes by post": Story(
        PREMIUM,
        premium("charles", message="Well done"),
        output={"tracking": "S-0012-1", "days": 4, "extras": 0},
        steps={"fulfil.else.standard": "completed", "extras": "skipped"},
        books=ALL_SUPPLIES | {BALANCE.format("charles"): [(490_000,)]},
    ),
    "where no van goes the post does": Story(
        PREMIUM,
        premium("grace"),
        output={"tracking": "S-0012-1", "days": 6, "extras": 0},
        steps={PRIORITY: "failed", INSTEAD: "completed", f"{AT_ONCE}.wrapping.wrap": "skipped"},
        books=ALL_SUPPLIES | {BALANCE.format("grace"): [(490_000,)], PARCELS: [("S-0012-1", "sent")]},
    ),
    "nothing goes to the moon": Story(
        PREMIUM,
        premium("mary"),
        exits=1,
        status="compensated",
        error="ChildFailed",
        undone=("goods",),
        steps={PRIORITY: "failed", INSTEAD: "failed"},
        books=ALL_SUPPLIES | {BALANCE.format("mary"): [(500_000,)], PARCELS: []},
    ),
    "a card that is too long calls the van off": Story(
        PREMIUM,
        premium("ada", message="Well done, and many happy returns of the day"),
        exits=1,
        status="compensated",
        error="ChildFailed",
        undone=None,
        steps={f"{AT_ONCE}.wrapping.wrap": "failed", "goods": "compensated"},
        books=ALL_SUPPLIES
        | {
            BALANCE.format("ada"): [(500_000,)],
            "SELECT * FROM parcels WHERE state = 'sent'": [],
            "SELECT * FROM cards": [],
        },
    ),
    "extras that cannot be paid are taken back, but for the card": Story(
        PREMIUM,
        premium("alan", message="Well done"),
        exits=1,
        status="compensated",
        error="PaymentDeclined",
        undone=(PRIORITY, "goods"),
        not_undone=(f"{AT_ONCE}.wrapping.wrap",),
        books=ALL_SUPPLIES
        | {
            BALANCE.format("alan"): [(10_500,)],
            PARCELS: [("P-0012-1", "recalled")],
            "SELECT text FROM cards": [("Well done",)],
        },
    ),
    "goods that cannot be paid are neither wrapped nor sent": Story(
        PREMIUM,
        premium("alan", amount=200, message="Well done"),
        exits=1,
        status="failed",
        error="PaymentDeclined",
        books=ALL_SUPPLIES | {BALANCE.format("alan"): [(10_500,)]},
    ),
    "a dashboard does not wait for a second weather report": Story(
        DASHBOARD,
        {"region": "north"},
        output={"page": 1, "weather_from": "station"},
        steps={"numbers.weather.degrees.satellite.load": "cancelled"},
        books={
            PAGES: [("published", '{"sales": 1250.0, "stock": 310.0, "visitors": 5400.0, "weather": 21.5}')],
            ABANDONED: [("satellite",)],
        },
    ),
    "in the fog the satellite's weather report wins": Story(
        DASHBOARD,
        {"region": "south"},
        output={"page": 1, "weather_from": "satellite"},
        attempts={"numbers.sales.load": 2},
        books={
            PAGES: [("published", '{"sales": 830.0, "stock": 120.0, "visitors": 990.0, "weather": 23.5}')]
        },
    ),
    "a number that is missing stops the loading of the others": Story(
        DASHBOARD,
        {"region": "island"},
        exits=1,
        status="compensated",
        error="SourceDown",
        undone=("page",),
        steps={"numbers.stock.load": "failed", "numbers.visitors.load": "cancelled"},
        books={PAGES: [("discarded", None)], ABANDONED: [("satellite",), ("visitors",)]},
    ),
    "a partial dashboard has all that comes": Story(
        PARTIAL,
        {"region": "north"},
        output={"page": 1, "missing": {}},
        books={
            PAGES: [("published", '{"sales": 1250.0, "stock": 310.0, "visitors": 5400.0, "weather": 21.5}')]
        },
    ),
    "a partial dashboard says what has not come": Story(
        PARTIAL,
        {"region": "island"},
        output={"page": 1, "missing": {"stock": "SourceDown", "visitors": "Timeout"}},
        steps={"numbers.stock.load": "failed", "numbers.visitors.load": "failed"},
        books={PAGES: [("published", '{"sales": 40.0, "weather": 19.5}')], ABANDONED: [("visitors",)]},
    ),
    "one number is no dashboard": Story(
        PARTIAL,
        {"region": "reef"},
        exits=1,
        status="compensated",
        error="TooLittle",
        undone=("page",),
        books={PAGES: [("discarded", None)]},
    ),
    "a thousand sellers are paid": Story(
        BATCH,
        batch(),
        output={"paid": 990, "refused": CLOSED_ACCOUNTS},
        books={
            PAID: [(990, 990, 1_435_500)],
            STATEMENTS: [(last,) for last in range(100, 1001, 100)],
            FUNDS: [(100_000_000 - 1_435_500,), (350_000,)],
        },
    ),
    "a chunk that empties the fund is taken back": Story(
        BATCH,
        batch(fund="small"),
        exits=1,
        status="compensated",
        error="FundEmpty",
        undone=None,
        not_undone=("_run2.statement",),  # told is told
        steps={"due": "completed", "payouts": "failed"},
        books={
            PAID: [(198, 198, 286_900)],
            STATEMENTS: [(100,), (200,)],
            FUNDS: [(100_000_000,), (350_000 - 286_900,)],
            "SELECT min(seller) > 200 FROM payouts WHERE state = 'taken back'": [(1,)],
        },
    ),
}

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """What a reader's shell holds, with the plugins and the secret of all examples."""
    plugins = os.pathsep.join(str(EXAMPLES / example) for example in DATABASES)
    return console.reader() | {"FLOWCTL_PLUGINS_DIR": plugins, "FLOWCTL_SECRET_MAIL_TOKEN": "demo"}


@pytest.fixture
def flowctl(tmp_path: Path, environment: dict[str, str]) -> Command:
    """The command line in an empty folder; fails the test if it exits otherwise than ``exits``."""

    def call(*arguments: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flowctl", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == exits, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    return call


def run(
    flowctl: Command, workflow: str, given: Mapping[str, Any], *options: str, exits: int = 0
) -> dict[str, Any]:
    done = flowctl("run", workflow, "--input", json.dumps(given), "--json", *options, exits=exits)
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def rows(query: str, database: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("story", STORIES)
def test_an_example_ends_as_its_story_says(story: str, flowctl: Command, tmp_path: Path) -> None:
    told = STORIES[story]
    workflow = str(EXAMPLES / told.workflow)
    shown = run(flowctl, workflow, told.input, exits=3 if told.signals else told.exits)
    for sent, (name, payload) in enumerate(told.signals, 1):
        assert [(wait["kind"], name in wait["names"]) for wait in shown["waiting_for"]] == [("signal", True)]
        flowctl("signal", "@last", name, "--payload", json.dumps(payload))
        exits = told.exits if sent == len(told.signals) else 3
        shown = json.loads(flowctl("resume", "@last", "--json", exits=exits).stdout)

    assert_ended(told, shown, tmp_path / DATABASES[told.example])


def assert_ended(told: Story, shown: Mapping[str, Any], database: Path) -> None:
    """The run, by its status document, and the services' books are as the story says."""
    assert shown["status"] == told.status
    assert (shown["error"] or {}).get("type") == told.error
    undone = shown["saga"]["undone"] if told.undone is None else list(told.undone)
    assert shown["saga"] == {
        "undone": undone, "failed": [], "in_doubt": [], "not_undone": list(told.not_undone), "skipped": []
    }  # fmt: skip
    steps = {step["path"]: step for step in shown["steps"]}
    assert {path: steps[path]["status"] for path in told.steps} == told.steps
    assert {path: steps[path]["attempt"] for path in told.attempts} == told.attempts
    if told.output is not None:
        assert shown["output"] == told.output
    assert {query: rows(query, database) for query in told.books} == told.books


def test_every_example_has_a_story_that_ends_well_and_one_that_does_not() -> None:
    ends = {(story.example, story.status == "completed") for story in STORIES.values()}
    assert ends == {(example, well) for example in DATABASES for well in (True, False)}


def test_an_order_that_is_cancelled_while_it_waits_is_undone(flowctl: Command, tmp_path: Path) -> None:
    run(flowctl, str(EXAMPLES / ORDER), order(amount=1500), exits=3)
    cancelled = flowctl("cancel", "@last", "--reason", "found it cheaper", "--json", exits=1)
    shown = json.loads(cancelled.stdout)
    assert shown["status"] == "compensated"
    assert (shown["error"]["type"], shown["error"]["message"]) == ("Cancelled", "found it cheaper")
    assert shown["saga"]["undone"] == ["charge", "reserve"]
    assert {query: rows(query, tmp_path / "shop.db") for query in UNTOUCHED_SHOP} == UNTOUCHED_SHOP


def test_an_order_that_is_not_express_sleeps_first(flowctl: Command) -> None:
    shown = run(flowctl, str(EXAMPLES / ORDER), order(express=False), exits=3)
    assert [(wait["path"], wait["kind"]) for wait in shown["waiting_for"]] == [("cooling_off", "timer")]


def test_who_does_not_answer_gets_the_standard_laptop(flowctl: Command, tmp_path: Path) -> None:
    hurried = tmp_path / "hurried.yaml"
    patient = (EXAMPLES / ONBOARDING).read_text(encoding="utf-8")
    hurried.write_text(patient.replace("timeout: 3d", "timeout: 1s"), encoding="utf-8")
    assert hurried.read_text(encoding="utf-8") != patient
    shown = run(flowctl, str(hurried), newcomer())
    assert shown["output"] == {"laptop": "S-1", "access": "repositories"}


def test_a_request_that_nobody_decides_on_fails_after_two_reminders(flowctl: Command, tmp_path: Path) -> None:
    hurried = tmp_path / "hurried.yaml"
    patient = (EXAMPLES / APPROVAL).read_text(encoding="utf-8")
    hurried.write_text(patient.replace("timeout: 2d", "timeout: 1s"), encoding="utf-8")
    assert hurried.read_text(encoding="utf-8") != patient
    shown = run(flowctl, str(hurried), request(), exits=1)
    assert (shown["status"], shown["error"]["type"]) == ("compensated", "NobodyAnswered")
    assert shown["saga"]["undone"] == ["request"]
    subjects = [subject for (subject,) in rows("SELECT subject FROM outbox", tmp_path / "office.db")]
    assert subjects == ["Please decide: desk for 900", "Reminder: desk for 900", "Reminder: desk for 900"]
    assert {query: rows(query, tmp_path / "office.db") for query in WHOLE_BUDGET} == WHOLE_BUDGET


def test_a_request_can_be_found_by_its_revision(flowctl: Command) -> None:
    run(flowctl, str(EXAMPLES / APPROVAL), request(), exits=3)
    run(flowctl, str(EXAMPLES / APPROVAL), request(amount=90), "--id", "second", exits=3)
    flowctl("signal", "second", "revise", "--payload", '{"amount": 95}')
    flowctl("resume", "second", exits=3)
    found = json.loads(flowctl("list", "--where", "item=desk", "--where", "revision=2", "--json").stdout)
    assert [run["id"] for run in found] == ["second"]


def test_a_completed_child_is_undone_by_a_run_of_its_own(flowctl: Command) -> None:
    run(flowctl, str(EXAMPLES / PREMIUM), premium("alan", message="Well done"), "--id", "gift", exits=1)
    listed = json.loads(flowctl("list", "--json").stdout)
    assert {run["id"]: (run["workflow"], run["status"]) for run in listed} == {
        "gift": ("premium", "compensated"),
        f"gift/{PRIORITY}": ("priority-shipping", "completed"),
        f"gift/{PRIORITY}~undo": ("priority-shipping", "compensated"),
        f"gift/{AT_ONCE}.wrapping.wrap": ("gift-wrapping", "completed"),
        f"gift/{AT_ONCE}.wrapping.wrap~undo": ("gift-wrapping", "compensated"),
    }
    saga = json.loads(flowctl("status", f"gift/{AT_ONCE}.wrapping.wrap~undo", "--json").stdout)["saga"]
    assert (saga["undone"], saga["not_undone"]) == (["ribbon", "paper"], ["card"])


MORTAL = """
import os
import signal

from flowctl import activity


@activity("test.die_once")
def die_once(seller: int) -> None:
    if seller == 950 and not os.path.exists("died"):
        open("died", "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_batch_whose_process_is_killed_is_resumed_and_pays_nobody_twice(
    flowctl: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    plugins, deadly = tmp_path / "plugins", tmp_path / "deadly.yaml"
    plugins.mkdir()
    (plugins / "mortal.py").write_text(MORTAL, encoding="utf-8")
    environment["FLOWCTL_PLUGINS_DIR"] += os.pathsep + str(plugins)
    step = '      - id: die\n        activity: test.die_once\n        with: {seller: "${{ seller }}"}\n'
    text = (EXAMPLES / BATCH).read_text(encoding="utf-8")
    deadly.write_text(text.replace("      - try:\n", step + "      - try:\n"), encoding="utf-8")

    given = json.dumps(batch(after=800))
    flowctl("run", str(deadly), "--input", given, "--id", "deadly", exits=-signal.SIGKILL)
    ((paid_before, *_),) = rows(PAID, tmp_path / "payouts.db")
    assert 99 <= paid_before < 198
    flowctl("resume", "deadly")
    shown = json.loads(flowctl("status", "deadly", "--json").stdout)
    assert (shown["id"], shown["status"]) == ("deadly~3", "completed")
    assert shown["output"] == {"paid": 198, "refused": [873, 970]}
    ((paid, sellers, cents),) = rows(PAID, tmp_path / "payouts.db")
    assert (paid, sellers) == (198, 198)
    assert rows(FUNDS, tmp_path / "payouts.db")[0] == (100_000_000 - cents,)


def test_version_1_of_the_onboarding_warns_and_version_2_is_the_one_taken(flowctl: Command) -> None:
    flowctl("deploy", str(EXAMPLES / ONBOARDING_1), str(EXAMPLES / ONBOARDING))
    assert run(flowctl, "onboarding", newcomer(role="contractor"))["version"] == 2
    old = flowctl("run", "onboarding@1", "-i", "name=Mary", "-i", "email=mary@example.com")
    assert "Version 2 asks the newcomer first" in old.stderr


@pytest.mark.parametrize("workflow", DOCUMENTS)
def test_an_example_is_a_valid_document_without_warnings(workflow: str, flowctl: Command) -> None:
    options: list[str] = []
    if (EXAMPLES / workflow).with_name("flowctl.toml").exists():  # a scenario
        own = EXAMPLES / workflow.partition("/")[0] / "plugins"
        folders = [folder for folder in [own, *PACKAGES] if folder.is_dir()]
        options = [word for folder in folders for word in ("--plugins-dir", str(folder))]
    said = flowctl("validate", "--strict", "--json", str(EXAMPLES / workflow), *options)
    assert json.loads(said.stdout) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="the sessions are those of bash")
@pytest.mark.parametrize("example", DATABASES)
def test_the_commands_of_a_readme_exit_as_it_says(example: str, tmp_path: Path) -> None:
    session = console.commands((EXAMPLES / example / "README.md").read_text(encoding="utf-8"))
    ran = console.run(session, tmp_path, console.reader())
    wrong = [
        (shown.command, real) for shown, real in zip(session, ran, strict=True) if real.code != shown.exits
    ]
    assert wrong == []
    assert len(ran) > 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="the demo is a bash script")
def test_the_demo_tells_its_story_to_the_end(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", str(EXAMPLES / "demo.sh")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert list(tmp_path.iterdir()) == []
