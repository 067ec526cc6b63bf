"""The pictures of docs/dashboard.md: every page of the dashboard over the examples, light and dark.

``make pictures`` takes them, or those that are named (``python dashboard/pictures.py run-waiting``). Look at each of
them afterwards: that is what they are for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = Path(os.environ.get("PICTURES", ROOT / "docs" / "images"))
EXAMPLES = ROOT / "examples"
PLUGINS = ("order", "trip", "payment", "batch", "approval-loop", "onboarding")
DOCUMENTS = (
    "order/order.yaml", "trip/trip.yaml", "payment/payment.yaml", "batch/batch.yaml",
    "approval-loop/approval.yaml", "onboarding/onboarding-v1.yaml", "onboarding/onboarding-v2.yaml",
)  # fmt: skip
WIDE, NARROW = (1280, 800), (390, 800)

ORDER = {"email": "ada@example.com", "express": True}
RUNS: tuple[tuple[str, str, Mapping[str, Any], str], ...] = (
    ("january", "batch", {"month": "2030-01"}, "completed"),
    ("onboarding-charles", "onboarding@1", {"name": "Charles", "email": "charles@example.com"}, "completed"),
    ("trip-ada", "trip", {"traveller": "Ada", "email": "ada@example.com", "flight": "FC100", "hotel": "harbour"},
     "completed"),
    ("trip-grace", "trip", {"traveller": "Grace", "email": "grace@example.com", "flight": "FC100", "hotel": "grand"},
     "compensated"),
    ("payment-slow", "payment", {"card": "slow", "amount": 250, "email": "ada@example.com"}, "completed"),
    ("order-1042", "order", {**ORDER, "order_id": "1042", "amount": 240, "items": ["kettle"]}, "completed"),
    ("order-1043", "order", {**ORDER, "order_id": "1043", "amount": 900, "items": ["piano"]}, "compensated"),
    ("approval-desk", "approval", {"item": "desk", "amount": 900, "email": "ada@example.com"}, "waiting"),
    ("order-1044", "order", {**ORDER, "order_id": "1044", "amount": 1500, "items": ["lamp", "kettle"]}, "waiting"),
)  # fmt: skip
"""What runs there are: id, workflow, input, and the state in which each is left, one after the other."""


def main() -> None:
    wanted = sys.argv[1:]
    expect.set_options(timeout=30_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder)) as stage,
        sync_playwright() as playwright,
    ):
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for name, size, show in SCENES:
            for theme in ("light", "dark"):
                if not wanted or name in wanted:
                    take(browser, stage, f"dashboard-{name}-{theme}", size, theme, show)
        browser.close()


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
        for id, workflow, given, _ in RUNS:
            self.ask("runs", {"id": id, "workflow": workflow, "input": given})
        for id, _, _, state in RUNS:
            while (found := self.ask(f"runs/{id}"))["status"] != state:
                if found["completed_at"]:
                    raise SystemExit(f"{id} is {found['status']}: {found['error']}")
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
    """One picture: the whole page, unless something lies over it."""
    width, height = size
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme) as context:
        page = context.new_page()
        if not name.startswith("dashboard-sign-in"):
            context.request.post(f"{stage.url}api/v1/session", data={"token": stage.token})
        page.on("response", lambda answer: answer.ok or print(f"{name}: {answer.status} {answer.url}"))
        page.on("requestfailed", lambda asked: print(f"{name}: {asked.failure} {asked.url}"))
        page.goto(stage.url)
        show(page)
        page.wait_for_timeout(300)  # pictures in the page are drawn
        page.screenshot(path=IMAGES / f"{name}.png", full_page=page.locator("dialog").count() == 0)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            print(f"{name} is {wide} wide, which is more than {width}")


def at(place: str, *then: Callable[[Page], None]) -> Callable[[Page], None]:
    """Go to a page, wait until it is there, and do something on it."""

    def show(page: Page) -> None:
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator("h1").first).to_be_visible()
        if "runs/" in place and "nobody" not in place:
            expect(page.locator(".picture img")).to_be_visible()
            expect(page.locator(".history li").first).to_be_visible()
        for act in then:
            act(page)

    return show


def press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name, exact=True).click()


def fill(label: str, text: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_label(label).fill(text)


def rows(page: Page) -> None:
    expect(page.locator(".runs li").first).to_be_visible()


def keys(*pressed: str) -> Callable[[Page], None]:
    return lambda page: [page.keyboard.press(key) for key in pressed][0]


SCENES: tuple[tuple[str, tuple[int, int], Callable[[Page], None]], ...] = (
    ("sign-in", WIDE, lambda page: expect(page.get_by_label("Token")).to_be_visible()),
    ("runs", WIDE, at("#/", rows)),
    ("runs-keyboard", WIDE, at("#/", rows, keys("j", "j"))),
    ("runs-filtered", WIDE, at("#/?status=waiting&q=customer%3Dada%40example.com")),
    ("runs-narrow", NARROW, at("#/", rows)),
    ("run-waiting", WIDE, at("#/runs/order-1044")),
    ("run-waiting-narrow", NARROW, at("#/runs/order-1044")),
    ("run-completed", WIDE, at("#/runs/order-1042")),
    ("run-compensated", WIDE, at("#/runs/order-1043")),
    ("run-retried", WIDE, at("#/runs/payment-slow")),
    ("run-loop", WIDE, at("#/runs/approval-desk")),
    ("run-long", WIDE, at("#/runs/january~3")),
    ("signal", WIDE, at("#/runs/order-1044", press("Send approve"))),
    ("signal-narrow", NARROW, at("#/runs/order-1044", press("Send approve"))),
    ("cancel", WIDE, at("#/runs/order-1044", press("Cancel"))),
    ("replay", WIDE, at("#/runs/order-1042", press("Replay"))),
    ("workflows", WIDE, at("#/workflows", rows)),
    ("workflow", WIDE, at("#/workflows/order/2", lambda page: expect(page.locator(".picture img")).to_be_visible())),
    ("workflow-narrow", NARROW, at("#/workflows/order/2", lambda page: expect(page.locator(".picture img")).to_be_visible())),
    ("start", WIDE, at("#/workflows/order/2", press("Start a run"))),
    ("compare", WIDE, at("#/compare?left=order-1042&right=order-1043", lambda page: expect(page.locator(".difference").first).to_be_visible())),
    ("compare-narrow", NARROW, at("#/compare?left=order-1042&right=order-1043", lambda page: expect(page.locator(".difference").first).to_be_visible())),
    ("not-there", WIDE, at("#/runs/nobody")),
)  # fmt: skip


if __name__ == "__main__":
    main()
