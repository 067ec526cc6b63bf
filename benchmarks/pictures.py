"""The pictures of docs/dashboard.md: every page of the dashboard over the examples, light and dark.

``make pictures`` takes them all, ``python -m benchmarks.pictures run-waiting signal`` some. Look at each of
them afterwards: that is what they are for. It needs Chromium.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from benchmarks.browsing import chromium

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLES = ROOT / "examples"
PLUGINS = ("order", "trip", "payment", "batch", "approval-loop", "onboarding")
DOCUMENTS = (
    "order/order.yaml", "trip/trip.yaml", "payment/payment.yaml", "batch/batch.yaml",
    "approval-loop/approval.yaml", "onboarding/onboarding-v1.yaml", "onboarding/onboarding-v2.yaml",
)  # fmt: skip
WIDE, NARROW = (1280, 800), (390, 800)
HIGHEST = 1_500

ORDER = {"email": "ada@example.com", "express": True}
TRIP = {"email": "ada@example.com", "flight": "FC100"}
RUNS: tuple[tuple[str, str, Mapping[str, Any], str], ...] = (
    ("january", "batch", {"month": "2030-01"}, "completed"),
    ("onboarding-charles", "onboarding@1", {"name": "Charles", "email": "charles@example.com"}, "completed"),
    ("trip-ada", "trip", {**TRIP, "traveller": "Ada", "hotel": "harbour"}, "completed"),
    ("trip-grace", "trip", {**TRIP, "traveller": "Grace", "hotel": "grand"}, "compensated"),
    ("payment-slow", "payment", {"card": "slow", "amount": 250, "email": "ada@example.com"}, "completed"),
    ("order-1042", "order", {**ORDER, "order_id": "1042", "amount": 240, "items": ["kettle"]}, "completed"),
    ("order-1043", "order", {**ORDER, "order_id": "1043", "amount": 900, "items": ["piano"]}, "compensated"),
    ("approval-desk", "approval", {"item": "desk", "amount": 900, "email": "ada@example.com"}, "waiting"),
    ("order-1044", "order", {**ORDER, "order_id": "1044", "amount": 1500, "items": ["lamp"]}, "waiting"),
)
"""What runs there are: id, workflow, input, and the state in which each is left, one after the other."""


def main() -> None:
    wanted = sys.argv[1:]
    expect.set_options(timeout=30_000)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage, chromium() as browser:
        for name, size, show in SCENES:
            for theme in ("light", "dark"):
                if not wanted or name in wanted:
                    take(browser, stage, f"dashboard-{name}-{theme}", size, theme, show)


class Stage:
    """A server with a worker, and the runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = os.environ | {
            "FLOWCTL_PLUGINS_DIR": os.pathsep.join(str(EXAMPLES / name) for name in PLUGINS),
            "FLOWCTL_SECRET_MAIL_TOKEN": "shown-nowhere",
            "FLOWCTL_DB": str(folder / "flowctl.db"),
        }

    def __enter__(self) -> Stage:
        documents = [str(EXAMPLES / name) for name in DOCUMENTS]
        subprocess.run(
            [*FLOWCTL, "deploy", *documents, "--json"],
            check=True,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        command = [*FLOWCTL, "serve", "--port", "0", "--workers", "1", "--json"]
        self._server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=self._folder, env=self._environment
        )
        assert self._server.stdout is not None
        lines = [self._server.stdout.readline()]
        while lines[-1].rstrip() != "}":
            lines.append(self._server.stdout.readline())
        self.url = json.loads("".join(lines))["url"].partition("#")[0]
        self.token = (self._folder / "flowctl.db.tokens").read_text().split()[-1]
        for name, workflow, given, _ in RUNS:
            self.ask("runs", {"id": name, "workflow": workflow, "input": given})
        for name, _, _, state in RUNS:
            while (found := self.ask(f"runs/{name}"))["status"] != state:
                if found["completed_at"]:
                    raise SystemExit(f"{name} is {found['status']}: {found['error']}")
                time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()

    def ask(self, path: str, body: object = None) -> Any:
        """What the API answers."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}api/v1/{path}", data, headers)
        ) as answer:
            return json.load(answer)


FLOWCTL = (sys.executable, "-m", "flowctl")


def take(
    browser: Browser, stage: Stage, name: str, size: tuple[int, int], theme: Any, show: Callable[[Page], None]
) -> None:
    """One picture: the whole page or its beginning, unless something lies over it."""
    width, height = size
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme) as context:
        page = context.new_page()
        if not name.startswith("dashboard-sign-in"):
            context.request.post(f"{stage.url}api/v1/session", data={"token": stage.token})
        page.goto(stage.url)
        show(page)
        page.wait_for_timeout(300)  # pictures in the page are drawn
        wide, high = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        if not page.locator("dialog").count():
            page.set_viewport_size({"width": width, "height": min(HIGHEST, max(height, high))})
        page.screenshot(path=IMAGES / f"{name}.png")
        if wide > width:
            print(f"{name} is {wide} wide, which is more than {width}")


def at(place: str, *then: Callable[[Page], None]) -> Callable[[Page], None]:
    """Go to a page, wait until it is there, and do something on it."""

    def show(page: Page) -> None:
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator("h1").first).to_be_visible()
        for act in then:
            act(page)

    return show


def press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name, exact=True).click()


def see(what: str) -> Callable[[Page], None]:
    return lambda page: expect(page.locator(what).first).to_be_visible()


def keys(*pressed: str) -> Callable[[Page], None]:
    def press(page: Page) -> None:
        for key in pressed:
            page.keyboard.press(key)

    return press


ROWS, GRAPH, HISTORY = see(".runs li"), see(".picture img"), see(".history li")
PAIR = "#/compare?left=order-1042&right=order-1043"


def run(name: str, *then: Callable[[Page], None]) -> Callable[[Page], None]:
    return at(f"#/runs/{name}", GRAPH, HISTORY, *then)


SCENES: tuple[tuple[str, tuple[int, int], Callable[[Page], None]], ...] = (
    ("sign-in", WIDE, see("input")),
    ("runs", WIDE, at("#/", ROWS)),
    ("runs-keyboard", WIDE, at("#/", ROWS, keys("j", "j"))),
    ("runs-filtered", WIDE, at("#/?status=waiting&q=item%3Ddesk", ROWS)),
    ("runs-narrow", NARROW, at("#/", ROWS)),
    ("run-waiting", WIDE, run("order-1044")),
    ("run-waiting-narrow", NARROW, run("order-1044")),
    ("run-completed", WIDE, run("order-1042")),
    ("run-compensated", WIDE, run("order-1043")),
    ("run-retried", WIDE, run("payment-slow")),
    ("run-loop", WIDE, run("approval-desk")),
    ("run-long", WIDE, run("january~3")),
    ("run-unknown", WIDE, at("#/runs/nobody", see(".wrong"))),
    ("signal", WIDE, run("order-1044", press("Send approve"))),
    ("signal-narrow", NARROW, run("order-1044", press("Send approve"))),
    ("cancel", WIDE, run("order-1044", press("Cancel"))),
    ("replay", WIDE, run("order-1042", press("Replay"))),
    ("workflows", WIDE, at("#/workflows", ROWS)),
    ("workflow", WIDE, at("#/workflows/order/2", GRAPH)),
    ("workflow-narrow", NARROW, at("#/workflows/order/2", GRAPH)),
    ("start", WIDE, at("#/workflows/order/2", GRAPH, press("Start a run"))),
    ("compare", WIDE, at(PAIR, see("table"))),
    ("compare-narrow", NARROW, at(PAIR, see("table"))),
)


if __name__ == "__main__":
    main()
