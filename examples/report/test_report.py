"""Reports, by the command line and real servers: what is in them, and that a failure leaves nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from examples.services.objects import Objects
from examples.services.stage import Stage, mails, stage
from tests.scenario_helpers import Killer, deadly_http, deadly_mailbox, on_temporal_too, own_id, played

HERE = Path(__file__).resolve().parent
WORKFLOW = "report.yaml"
SVG = "{http://www.w3.org/2000/svg}"
play = importlib.import_module("examples.report.play_report")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred thousand sales, made once."""
    with stage(HERE, tmp_path_factory.mktemp("sales"), aloud=False) as made:
        play.prepare(made)
    return made.folder / "sales.db"


@pytest.fixture
def here(tmp_path: Path, year: Path) -> Iterator[Stage]:
    with stage(HERE, tmp_path / "report", aloud=False) as played:
        (played.folder / "out").mkdir()
        (played.folder / "sales.db").symlink_to(year)
        yield played


def report(here: Stage, url: str, exits: int = 0, **changes: Any) -> dict[str, Any]:
    data = {"year": 2026, "email": "ada@example.com", "store": url} | changes
    ended: dict[str, Any] = json.loads(here.run(WORKFLOW, data, "--json", exits=exits))
    return ended


def below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def added_up(year: Path) -> dict[str, Any]:
    """The sums, by Python rather than by the database."""
    with closing(sqlite3.connect(year)) as database:
        rows = database.execute("SELECT month, region, product, cents FROM sales").fetchall()
    cents = sorted(row[3] for row in rows)
    months = {month: sum(row[3] for row in rows if row[0] == month) for month in range(1, 13)}
    products: dict[str, int] = {}
    for row in rows:
        products[row[2]] = products.get(row[2], 0) + row[3]
    return {
        "count": len(rows),
        "revenue": sum(cents),
        "median": cents[len(cents) // 2],
        "months": months,
        "products": products,
    }


@on_temporal_too
def test_a_report_is_printed_published_and_told_of_and_its_figures_are_right(here: Stage, year: Path) -> None:
    mailbox, store = here.serve("mailbox", usually=8025), here.serve("objects")
    output = report(here, store.url)["output"]
    true = added_up(year)
    assert true["count"] == 100_000

    pdf, svg = below(store.folder)
    assert [file.read_bytes() for file in below(here.folder / "out")] == [pdf.read_bytes(), svg.read_bytes()]
    assert output["pdf"] == f"{store.url}/reports/{pdf.name}"
    reader = PdfReader(pdf)
    text = reader.pages[0].extract_text()
    assert len(reader.pages) == 1
    assert reader.metadata is not None
    assert reader.metadata.title == "Sales of 2026"
    best = max(true["months"], key=lambda month: true["months"][month])
    assert best == 11
    for figure in (
        "Sales of 2026",
        "100,000 orders",
        f"{true['revenue'] / 100:,.0f}",
        f"{true['revenue'] / true['count'] / 100:,.2f}",
        f"{true['median'] / 100:,.2f}",
        "November",
        *(f"{cents / 100:,.0f}" for cents in true["products"].values()),
    ):
        assert figure in text, figure
    assert output["metrics"]["revenue"] == f"{true['revenue'] / 100:,.0f}"
    assert bars(svg) == pytest.approx(shares(true["months"]), rel=0.01)

    [mail] = mails(mailbox.folder)
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "Sales of 2026")
    assert output["pdf"] in mail.get_content()
    assert "the best month was November" in mail.get_content()


def bars(svg: Path) -> list[float]:
    """How high each bar of the chart is, all its parts together, compared with all of them."""
    high: dict[str, float] = {}
    for rect in ElementTree.fromstring(svg.read_bytes()).iter(f"{SVG}rect"):
        colour = re.search(r"fill: (rgb\([^)]*\))", rect.get("style", ""))
        if colour and rect.get("rx") in (None, "0") and float(rect.get("width", 0)) < 100:
            high[rect.get("x", "")] = high.get(rect.get("x", ""), 0) + float(rect.get("height", 0))
    bars = [high[x] for x in sorted(high, key=float)]
    return [bar / sum(bars) for bar in bars]


def shares(months: dict[int, int]) -> list[float]:
    return [months[month] / sum(months.values()) for month in sorted(months)]


def test_the_same_sales_are_the_same_bytes(here: Stage) -> None:
    here.serve("mailbox", usually=8025)
    store = here.serve("objects")
    for _ in range(2):
        report(here, store.url)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in below(store.folder)]
    assert (len(digests), len(set(digests))) == (4, 2)


@pytest.mark.parametrize(
    ("changes", "quota", "status", "error", "database"),
    [
        ({"year": 2020}, 1 << 30, "failed", "NothingSold", "sqlite"),
        ({"email": "ada@nowhere.invalid"}, 1 << 30, "compensated", "MailRefused", "sqlite"),
        ({"email": "ada@nowhere.invalid"}, 1 << 30, "compensated", "MailRefused", "temporal"),
        ({}, 17_000, "compensated", "Http507", "sqlite"),
    ],
    indirect=["database"],
)
def test_a_report_that_fails_leaves_nothing(
    here: Stage, changes: dict[str, Any], quota: int, status: str, error: str
) -> None:
    mailbox, store = here.serve("mailbox", usually=8025), here.serve("objects", "--quota", str(quota))
    ended = report(here, store.url, exits=1, **changes)
    assert (ended["status"], ended["error"]["type"]) == (status, error)
    assert below(store.folder) == below(here.folder / "out") == []
    assert mails(mailbox.folder) == []


# --- kill -9


@pytest.mark.parametrize("asked", ["PUT /reports", "nothing"])
def test_killed_when_something_was_published_or_told_it_is_there_once(here: Stage, asked: str) -> None:
    killer, objects = Killer(), here.folder / "objects"
    objects.mkdir()
    Objects.folder, Objects.quota = objects, 1 << 30
    with deadly_http(Objects, killer, asked) as url, deadly_mailbox(here, killer) as mailbox:
        data = json.dumps({"year": 2026, "email": "ada@example.com", "store": url})
        killer.kills(here, "run", WORKFLOW, "--input", data, "--id", own_id(here))
        assert len(mails(mailbox)) == (0 if asked.startswith("PUT") else 1)
        assert json.loads(here.flowctl("resume", own_id(here), "--json"))["status"] == "completed"
        assert [mail["Subject"] for mail in mails(mailbox)] == ["Sales of 2026"]
    assert [file.suffix for file in below(objects)] == [".pdf", ".svg"]
    assert len(below(here.folder / "out")) == 2


def test_what_the_readme_says_to_run_tells_its_story_to_the_end(tmp_path: Path) -> None:
    said = played(HERE / "play_report.py", tmp_path / "play")
    for line in ["objects/reports/sales-2026-", "to ada@example.com: Sales of 2026"]:
        assert line in said
