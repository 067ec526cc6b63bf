"""The dashboard in a real browser, before a real server with a worker beside it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "dashboard"
STATIC = ROOT / "flowctl" / "server" / "static"
FLOWCTL = [sys.executable, "-m", "flowctl"]
CHROMIUM = shutil.which("chromium")
PATIENCE = 30_000
"""Milliseconds that the browser may take for what comes at once: an upper bound, nothing waits for it."""

ORDER = """
dsl: 1
name: order
version: 1
description: Reserve, wait for somebody to agree.
input:
  type: object
  required: [customer]
  properties:
    customer: {type: string}
    pieces: {type: integer, default: 1}
    gifts: {type: array, items: {type: string}, default: []}
signals:
  approve:
    description: A manager agrees.
    payload: {type: object, required: [by], properties: {by: {type: string}, express: {type: boolean}}}
activities:
  reserve:
    uses: core.echo
    compensate: {activity: core.echo, with: {value: released}}
steps:
  - attributes: {search: {customer: "${{ input.customer }}"}}
  - id: reserve
    activity: reserve
    with: {value: "${{ input.customer }}"}
  - id: approval
    wait_for_signal: approve
    timeout: 1h
output:
  by: ${{ steps.approval.output.payload.by }}
  express: ${{ steps.approval.output.payload.express }}
"""

browsing = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


class Served(NamedTuple):
    """The address that was printed, and the database."""

    url: str
    db: str

    def command(self, *words: str) -> str:
        done = subprocess.run([*FLOWCTL, *words, "--db", self.db], check=True, capture_output=True, text=True)
        return done.stdout

    def start(self, id: str, customer: str) -> None:
        self.command("start", "order", "--id", id, "-i", f"customer={customer}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Its sandbox refuses root, which is who tests are in containers.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    db = str(tmp_path / "flowctl.db")
    (tmp_path / "order.yaml").write_text(ORDER)
    Served("", db).command("deploy", str(tmp_path / "order.yaml"))
    command = [*FLOWCTL, "serve", "--db", db, "--port", "0", "--workers", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or lines[-1].rstrip() != "}":
                lines.append(process.stdout.readline())
            yield Served(json.loads("".join(lines))["url"], db)
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Signed in by the printed address; whatever the page throws, or its policy refuses, fails the test."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(served.url)
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        yield page
        assert wrong == []


def state(page: Page) -> Locator:
    return page.locator(".heading .state")


def data(page: Page, title: str) -> Any:
    """The JSON beneath a title."""
    shown = page.locator("section", has=page.get_by_role("heading", name=title, exact=True)).locator("pre")
    return json.loads(shown.inner_text())


def test_the_dashboard_was_built_from_its_sources() -> None:
    """If this fails: make dashboard."""
    named = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js"]
    names = sorted([*named, *(f"src/{path.name}" for path in (SOURCES / "src").iterdir())])
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode() + (SOURCES / name).read_bytes())
    assert (STATIC / "sources.sha256").read_text().strip() == digest.hexdigest()


def test_the_built_page_is_whole_and_fetches_nothing_from_elsewhere() -> None:
    index = (STATIC / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]*)"', index):
        assert name.startswith("./")
        assert (STATIC / name).is_file()
    assert "<style" not in index
    assert not re.search(r"<script[^>]*>[^<]", index)
    for path in STATIC.glob("assets/*"):
        elsewhere = set(re.findall(r"https?://[\w.-]+", path.read_text())) - {"http://www.w3.org"}
        assert elsewhere == set(), path.name


def test_the_locked_packages_name_no_registry() -> None:
    assert '"resolved"' not in (SOURCES / "package-lock.json").read_text()


@browsing
def test_a_run_is_started_waits_gets_its_signal_and_completes_without_a_reload(page: Page) -> None:
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    assert "code" not in page.url
    page.get_by_role("link", name="Start a run").click()
    page.get_by_role("link", name="order").click()
    page.get_by_role("button", name="Start a run").click()
    page.get_by_label("customer").fill("ada")
    page.get_by_label("pieces").fill("2")
    page.get_by_label("gifts").fill("ribbon\ncard")
    page.get_by_role("button", name="Start", exact=True).click()

    expect(state(page)).to_have_text("waiting")
    assert data(page, "Input") == {"customer": "ada", "pieces": 2, "gifts": ["ribbon", "card"]}
    expect(page.locator(".facts")).to_contain_text("approve")
    expect(page.get_by_role("img", name="Graph of order")).to_be_visible()
    page.get_by_role("button", name="Send approve").click()
    page.get_by_label("by").fill("grace")
    page.get_by_label("express").select_option("yes")
    page.get_by_role("button", name="Send", exact=True).click()

    expect(state(page)).to_have_text("completed")
    expect(page.get_by_role("heading", name="Output")).to_be_visible()
    assert data(page, "Output") == {"by": "grace", "express": True}
    expect(page.locator("dialog")).to_have_count(0)
    assert loads == []


@browsing
def test_a_run_is_cancelled_and_what_undoes_it_appears(page: Page, served: Served) -> None:
    served.start("order-1", "ada")
    page.get_by_role("link", name="order-1").click()
    expect(state(page)).to_have_text("waiting")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_label("Reason").fill("a mistake")
    page.get_by_role("button", name="Cancel the run").click()

    expect(state(page)).to_have_text("compensated")
    expect(page.locator(".failure")).to_contain_text("a mistake")
    expect(page.locator('[data-path="reserve.undo"]')).to_be_visible()
    expect(page.locator(".history")).to_contain_text("reserve.undo")


@browsing
def test_the_list_is_live_and_its_filters_stand_in_the_address(page: Page, served: Served) -> None:
    rows = page.locator(".runs li")
    served.start("order-1", "ada")
    served.start("order-2", "bob")
    expect(rows.locator(".state")).to_have_text(["waiting", "waiting"])
    page.get_by_label("Search").fill("customer=ada")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="waiting").click()
    assert "status=waiting" in page.url
    assert "customer%3Dada" in page.url
    page.reload()
    expect(rows).to_have_count(1)
    served.command("cancel", "order-1", "--detach")  # it does not fit any more
    expect(rows).to_have_count(0)


@browsing
def test_the_keyboard_goes_through_the_list(page: Page, served: Served) -> None:
    served.start("order-1", "ada")
    served.start("order-2", "ada")
    expect(page.locator(".runs li")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("order-")
    page.keyboard.press("Escape")
    for key in ("j", "j", "k", "j"):
        page.keyboard.press(key)
    expect(page.locator(".chosen")).to_contain_text("order-1")
    page.keyboard.press("Enter")
    expect(page.locator("h1 + p")).to_have_text("order-1")


@browsing
def test_what_a_run_says_is_text_and_never_markup(page: Page, served: Served) -> None:
    served.start("order-1", "<img src=x onerror=alert(1)><b>")
    expect(page.locator(".attributes")).to_contain_text("<img src=x")
    page.get_by_role("link", name="order-1").click()
    expect(page.locator(".facts")).to_contain_text("<b>")
    expect(page.locator("img[src=x]")).to_have_count(0)


@browsing
def test_an_input_that_is_refused_says_why_and_nothing_is_lost(page: Page) -> None:
    page.goto(page.url.partition("#")[0] + "#/workflows/order/1")
    page.get_by_role("button", name="Start a run").click()
    page.get_by_label("customer").fill("ada")
    page.get_by_label("pieces").evaluate("field => { field.type = 'text'; field.removeAttribute('step') }")
    page.get_by_label("pieces").fill("some")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("pieces is not JSON")
    expect(page.get_by_label("customer")).to_have_value("ada")


@browsing
def test_a_run_is_paused_and_let_go_on_and_repeated_and_the_two_are_compared(
    page: Page, served: Served
) -> None:
    served.start("order-1", "ada")
    page.get_by_role("link", name="order-1").click()
    expect(state(page)).to_have_text("waiting")
    for command, verb, then in (("Pause", "Pause", "paused"), ("Unpause", "Unpause", "waiting")):
        page.get_by_role("button", name=command, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name=verb).click()
        expect(state(page)).to_have_text(then)
    page.get_by_role("button", name="Replay").click()
    page.get_by_label("From").select_option("approval")
    page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    expect(page).to_have_url(re.compile("/order-01"))
    expect(page.locator("h1 + p")).to_contain_text("order-01")
    expect(state(page)).to_have_text("waiting")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    expect(state(page)).to_have_text("terminated")
    page.get_by_role("link", name="Compare").last.click()
    page.get_by_label("Another run").fill("order-1")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".difference").first).to_contain_text("terminated")
    expect(page.locator(".difference").first).to_contain_text("waiting")
