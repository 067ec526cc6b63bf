"""The dashboard in a real browser, before a real server with a worker beside it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright
from starlette.applications import Starlette

import flowctl
from flowctl.backends import Backend, StartRequest, open_backend
from flowctl.document import load
from flowctl.server.access import Access
from flowctl.server.running import listen
from tests import serve_helpers as server
from tests.serve_helpers import TOKENS

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "dashboard"
STATIC = ROOT / "flowctl" / "server" / "static"
FLOWCTL = [sys.executable, "-m", "flowctl"]
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
GATE = """
dsl: 1
name: gate
version: 1
steps:
  - id: pass
    activity: gate.pass
"""
GATEKEEPER = """
from pathlib import Path
from flowctl.activities import activity

@activity("gate.pass")
async def pass_() -> None:
    if not Path("open").exists():
        raise ValueError("the gate is closed")
"""
LONG = """
dsl: 1
name: long
version: 1
input: {type: object, properties: {count: {type: integer}}, required: [count]}
signals: {go: {}}
steps:
  - id: all
    foreach: ${{ range(input.count) }}
    steps:
      - {id: one, activity: core.echo, with: {value: "${{ item }}"}}
"""


class Served(NamedTuple):
    """The address that was printed, and the database."""

    url: str
    db: str

    def command(self, *words: str) -> str:
        known = ["--db", self.db, "--plugins-dir", str(Path(self.db).parent / "plugins")]
        done = subprocess.run([*FLOWCTL, *words, *known], check=True, capture_output=True, text=True)
        return done.stdout

    def start(self, id: str, customer: str) -> None:
        self.command("start", "order", "--id", id, "-i", f"customer={customer}")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Its sandbox refuses root, which is who tests are in containers.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    db = str(tmp_path / "flowctl.db")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name, text in {"order.yaml": ORDER, "gate.yaml": GATE, "plugins/gate.py": GATEKEEPER}.items():
        (tmp_path / name).write_text(text)
    known = ["--db", db, "--plugins-dir", str(plugins)]
    documents = [str(tmp_path / name) for name in ("order.yaml", "gate.yaml")]
    subprocess.run([*FLOWCTL, "deploy", *documents, *known], check=True, capture_output=True)
    command = [*FLOWCTL, "serve", *known, "--port", "0", "--workers", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or lines[-1].rstrip() != "}":
                lines.append(process.stdout.readline())
            yield Served(json.loads("".join(lines))["url"], db)
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def visiting(
    browser: Browser, *, refused: bool = False, options: Mapping[str, Any] | None = None
) -> Iterator[Page]:
    """A page; whatever it throws, or its policy refuses, fails the test. So does every answer that is an
    error, unless it is to be ``refused`` something, or not to be answered at all.
    """
    with browser.new_context(**(options or {})) as context:
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page = context.new_page()
        wrong: list[str] = []
        asked: set[Request] = set()
        page.on("request", lambda request: asked.add(request))
        page.on("requestfinished", lambda request: asked.discard(request))
        page.on("requestfailed", lambda request: asked.discard(request))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if not refused:
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        try:
            yield page
        except Exception as error:  # what went wrong in the page comes first: the rest may follow from it
            waits = sorted(request.url for request in asked)
            shows = page.locator("body").inner_text()
            error.add_note(f"the page said {wrong}, waits for {waits} and shows {shows!r}")
            raise
        assert wrong == []


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Signed in by the printed address."""
    with visiting(browser) as page:
        page.goto(served.url)
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        yield page


def sign_in(page: Page, url: str) -> None:
    """Go to an address as somebody who has signed in before."""
    secret = {"token": TOKENS["operate"].text}
    assert page.context.request.post(f"{url.partition('#')[0]}api/v1/session", data=secret).status == 201
    page.goto(url)


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


def test_what_a_run_says_is_text_and_never_markup(page: Page, served: Served) -> None:
    served.start("order-1", "<img src=x onerror=alert(1)><b>")
    expect(page.locator(".attributes")).to_contain_text("<img src=x")
    page.get_by_role("link", name="order-1").click()
    expect(page.locator(".facts")).to_contain_text("<b>")
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_an_input_that_is_refused_says_why_and_nothing_is_lost(page: Page) -> None:
    page.goto(page.url.partition("#")[0] + "#/workflows/order/1")
    page.get_by_role("button", name="Start a run").click()
    page.get_by_label("customer").fill("ada")
    page.get_by_label("pieces").evaluate("field => { field.type = 'text'; field.removeAttribute('step') }")
    page.get_by_label("pieces").fill("some")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("pieces is not JSON")
    expect(page.get_by_label("customer")).to_have_value("ada")


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
    expect(page.locator("table")).to_contain_text("approval")
    page.locator(".pair").first.get_by_role("link", name="order-1", exact=False).last.click()
    expect(page.locator("h1 + p")).to_have_text("order-1")


def test_a_run_that_failed_is_retried_and_completes(page: Page, served: Served) -> None:
    served.command("start", "gate", "--id", "gate-1")
    page.get_by_role("link", name="gate-1").click()
    expect(state(page)).to_have_text("failed")
    expect(page.locator(".failure")).to_contain_text("the gate is closed")
    (Path(served.db).parent / "open").touch()
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(state(page)).to_have_text("completed")
    expect(page.locator(".failure")).to_have_count(0)
    expect(page.locator(".history")).to_contain_text("reopened")


# --- what may happen on the way


def by_another_thread(served: server.Served, act: Callable[[Backend], Any]) -> Any:
    """What drives runs needs a loop of its own, and in this thread is Playwright's."""

    def carry_out() -> Any:
        with contextlib.closing(served.backend.another()) as backend:
            return act(backend)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(carry_out).result()


def start(served: server.Served, id: str, source: str = server.ORDER.format(version=1), **given: Any) -> None:
    """A run, driven until it waits."""
    asked = StartRequest(load(source, "document").workflow, source, given, id=id)
    by_another_thread(served, lambda backend: backend.drive(backend.start(asked)[0], wait=0))


def agree(backend: Backend, run_id: str) -> None:
    backend.signal(run_id, "approve", {"by": "grace"})
    backend.drive(run_id, wait=0)


def whether_it_is_live(page: Page) -> Locator:
    return page.locator("header .live")


def test_who_is_not_known_any_more_when_the_server_comes_back_has_to_sign_in(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(browser, refused=True) as page:
        with server.serving(tmp_path) as first:
            start(first, "order-1")
            sign_in(page, f"{first.url}/#/runs/order-1")
            expect(state(page)).to_have_text("waiting")
        monkeypatch.setattr(server, "access", Access.in_memory)
        with server.serving(tmp_path, port=first.port):
            expect(page.get_by_label("Token")).to_be_visible()


@pytest.mark.parametrize("place", ["", "#/runs/order-1"])
def test_when_the_server_comes_back_the_page_does_and_shows_what_it_missed(
    browser: Browser, tmp_path: Path, place: str
) -> None:
    shown = ".heading .state" if place else ".runs .state"
    with visiting(browser, refused=True) as page:
        with server.serving(tmp_path) as first:
            start(first, "order-1")
            sign_in(page, f"{first.url}/{place}")
            expect(page.locator(shown)).to_have_text("waiting")
        expect(whether_it_is_live(page)).to_have_text("reconnecting")
        expect(page.locator("main")).to_contain_text("order-1")
        with server.serving(tmp_path, port=first.port) as second:
            by_another_thread(second, lambda backend: agree(backend, "order-1"))
            expect(whether_it_is_live(page)).to_have_text("live")
            expect(page.locator(shown)).to_have_text("completed")


def test_a_list_that_missed_something_is_read_again(browser: Browser, tmp_path: Path) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        start(served, "order-1")
        feed = served.app.hub.feed
        while (told := feed.of("order-1")) is None or b'"waiting"' not in told.data:
            pass  # or it would be told of later, and come into the list without being read
        known = json.dumps({"runs": [], "next": None, "place": feed.place()})
        page.route("**/api/v1/runs?*", lambda route: route.fulfill(body=known), times=1)
        sign_in(page, f"{served.url}/")
        expect(page.locator(".first")).to_be_visible()  # instead of the run
        served.on_loop(feed.begin_anew)
        expect(page.locator(".runs li")).to_have_count(1)


def test_of_a_long_history_the_end_comes_first_and_the_rest_when_it_is_wanted(
    browser: Browser, tmp_path: Path
) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        start(served, "long-1", LONG, count=400)
        everything = len([*served.backend.history("long-1")])
        assert 1_200 < everything < 1_700  # the page is sent the last 1,000
        sign_in(page, f"{served.url}/#/runs/long-1")
        lines, more = page.locator(".history li"), page.get_by_role("button", name="Show earlier lines")
        for shown in (200, 700, 1_200):
            expect(lines).to_have_count(shown)
            more.click()
        expect(lines).to_have_count(everything)
        expect(lines.last).to_contain_text("created")
        expect(more).to_have_count(0)


def test_the_steps_of_a_long_run_are_turned_over_like_pages(browser: Browser, tmp_path: Path) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        start(served, "long-1", LONG, count=499)
        sign_in(page, f"{served.url}/#/runs/long-1")
        pages, steps = page.locator(".pages"), page.locator(".waterfall .line")
        expect(pages).to_contain_text("301 – 500 of 500 steps")
        expect(steps).to_have_count(200)
        for shown in ("101 – 300", "1 – 200"):
            page.get_by_role("button", name="Earlier steps").click()
            expect(pages).to_contain_text(f"{shown} of 500")
        expect(page.get_by_role("button", name="Earlier steps")).to_be_disabled()
        expect(page.locator('[data-path="all[0].one"]')).to_be_visible()
        for shown in ("201 – 400", "301 – 500"):
            page.get_by_role("button", name="Later steps").click()
            expect(pages).to_contain_text(f"{shown} of 500")
        expect(page.get_by_role("button", name="Later steps")).to_be_disabled()


def test_a_stream_that_nobody_is_at_the_other_end_of_is_opened_anew(browser: Browser, tmp_path: Path) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        start(served, "order-1")
        page.clock.install()
        page.route("**/events?*", lambda route: None, times=1)  # neither an answer nor an end
        sign_in(page, f"{served.url}/#/runs/order-1")
        expect(state(page)).to_have_text("waiting")
        expect(page.locator(".history li")).to_have_count(0)
        page.clock.fast_forward(25_000)
        expect(page.locator(".history li").first).to_be_visible()


# --- where and for whom


def test_whoever_begins_is_told_what_to_do_and_sees_that_it_was_done(
    browser: Browser, tmp_path: Path
) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        sign_in(page, f"{served.url}/")
        expect(page.locator(".first")).to_contain_text("flowctl init")
        workflow = {"source": server.ORDER.format(version=1)}
        assert served.ask("POST", "/api/v1/workflows", json=workflow).status_code == 201
        page.evaluate("dispatchEvent(new Event('focus'))")  # as when somebody comes back from a terminal
        expect(page.locator(".first")).to_have_count(0)
        page.get_by_role("link", name="Start one of a workflow").click()
        page.get_by_role("link", name="order").click()
        page.get_by_role("button", name="Start a run").click()
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.locator(".notice")).to_contain_text("flowctl worker")


def test_who_may_only_read_is_offered_nothing_else_and_can_do_nothing_else(
    browser: Browser, tmp_path: Path
) -> None:
    with server.serving(tmp_path) as served, visiting(browser, refused=True) as page:
        start(served, "order-1")
        workflow = {"source": server.ORDER.format(version=1)}
        assert served.ask("POST", "/api/v1/workflows", json=workflow).status_code == 201
        page.goto(f"{served.url}/")
        page.get_by_label("Token").fill(TOKENS["read"].text)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="order-1")).to_be_visible()
        expect(page.get_by_text("Start a run")).to_have_count(0)
        page.get_by_role("link", name="order-1").click()
        expect(state(page)).to_have_text("waiting")
        expect(page.locator(".history li").first).to_be_visible()
        expect(page.locator(".commands")).to_have_count(0)
        page.get_by_role("link", name="Workflows").click()
        page.get_by_role("link", name="order").click()
        expect(page.get_by_role("img", name="Graph of order")).to_be_visible()
        expect(page.get_by_text("Start a run")).to_have_count(0)
        tried = page.evaluate("""async () => {
            const { csrf } = await (await fetch('api/v1/session')).json();
            const headers = { 'x-csrf-token': csrf, 'content-type': 'application/json' };
            const asked = { method: 'POST', headers, body: '{}' };
            return (await fetch('api/v1/runs/order-1/cancel', asked)).status;
        }""")
        assert tried == 403
        assert served.backend.status("order-1")["status"] == "waiting"


@contextlib.contextmanager
def mounted(app: Any) -> Iterator[int]:
    """Somebody's own application, by his own server, on a port."""
    listener, begun = listen("127.0.0.1", 0), threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        begun.set()
        yield

    around = Starlette(lifespan=lifespan)
    around.mount("/tools/flows", app)
    config = uvicorn.Config(around, log_level="critical", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])))
    thread.start()
    try:
        assert begun.wait(20)
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join()
        app.close()
        listener.close()


def test_it_works_under_a_path_of_a_larger_application(browser: Browser, tmp_path: Path) -> None:
    path = str(tmp_path / "flowctl.db")
    app = flowctl.serve_app(path, access=server.access(), plugins=server.plugins())
    backend = open_backend(path, plugins=server.plugins())
    with contextlib.closing(backend), mounted(app) as port, visiting(browser) as page:
        served = server.Served(app, port, backend, lambda: None)
        start(served, "order-1")
        sign_in(page, f"http://localhost:{port}/tools/flows/")
        page.get_by_role("link", name="order-1").click()
        expect(page.get_by_role("img", name="Graph of order-1")).to_be_visible()
        page.get_by_role("button", name="Send approve").click()
        page.get_by_label("by").fill("grace")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)  # it has arrived
        by_another_thread(served, lambda backend: backend.drive("order-1", wait=0))
        expect(state(page)).to_have_text("completed")
        [cookie] = page.context.cookies()
        assert cookie["path"] == "/tools/flows"


def test_on_a_narrow_screen_nothing_is_cut_off_and_everything_can_be_done(
    browser: Browser, tmp_path: Path
) -> None:
    narrow = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with server.serving(tmp_path) as served, visiting(browser, options=narrow) as page:
        for name in ("order-1", f"order-{'long' * 20}"):
            start(served, name)
        workflow = {"source": server.ORDER.format(version=1)}
        assert served.ask("POST", "/api/v1/workflows", json=workflow).status_code == 201
        sign_in(page, f"{served.url}/")

        def fits() -> bool:
            return bool(page.evaluate("document.documentElement.scrollWidth") == 360)

        expect(page.locator(".runs li")).to_have_count(2)
        assert fits()
        page.get_by_role("link", name="order-long").tap()
        expect(page.locator(".history li").first).to_be_visible()
        assert fits()
        page.get_by_role("button", name="Send approve").tap()
        assert fits()
        page.get_by_label("by").fill("grace")
        page.get_by_role("button", name="Send", exact=True).tap()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("link", name="Workflows").tap()
        page.get_by_role("link", name="order").tap()
        expect(page.get_by_role("img", name="Graph of order")).to_be_visible()
        assert fits()
        page.get_by_role("button", name="Start a run").tap()
        assert fits()
        page.goto(f"{served.url}/#/compare?left=order-1&right=@last")
        expect(page.locator("table")).to_be_visible()
        assert fits()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser, tmp_path: Path) -> None:
    with server.serving(tmp_path) as served, visiting(browser) as page:
        start(served, "order-1")
        sign_in(page, f"{served.url}/#/runs/order-1")
        expect(page.locator(".history li").first).to_be_visible()
        expect(page.locator(".commands")).to_be_visible()
        page.evaluate("document.activeElement.blur()")
        seen: list[str] = []
        while "HTML" not in seen and "BODY" not in seen:
            page.keyboard.press("Tab")
            name, outline = page.evaluate("""() => {
                const { activeElement: at } = document;
                const name = at.matches('body, html') ? at.tagName : at.innerText.split('\\n')[0];
                return [name, getComputedStyle(at).outlineStyle];
            }""")
            assert outline != "none" or name in ("BODY", "HTML"), f"{name} has the focus and does not show it"
            seen.append(name)
        for name in ("Workflows", "Send approve", "Pause", "Cancel", "Terminate", "a"):
            assert name in seen
