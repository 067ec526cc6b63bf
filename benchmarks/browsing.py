"""The dashboard of a large database in a real browser: how soon a page is there, how soon a change is seen,
and what the browser keeps of it all.

Run it by hand, ``python -m benchmarks.browsing [--runs 10000] [--steps 10000] [--rounds 5]``; it needs
Chromium. A page is there when its state, its graph, its timeline and its history are drawn. Times count from
the beginning of the navigation, in a context that has nothing in its cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.serving import TOKEN, WAITS, served, start
from flowctl.backends import Backend, open_backend
from flowctl.plugins import load as load_plugins

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
      - id: one
        activity: core.echo
        with: {value: "${{ item }}"}
  - id: approval
    wait_for_signal: go
    timeout: 24h
"""

RUN_IS_THERE = """() => {
  const picture = document.querySelector('.picture img');
  const parts = ['.heading .state', '.waterfall .line', '.history li'];
  const drawn = parts.every((part) => document.querySelector(part));
  return drawn && picture?.complete && picture.naturalWidth > 0 && performance.now();
}"""
LIST_IS_THERE = "() => document.querySelectorAll('.runs li').length >= 50 && performance.now()"
HAS_STATE = "([where, state]) => document.querySelector(where)?.dataset.status === state"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "flowctl.db")
        with contextlib.closing(open_backend(path, plugins=load_plugins([]))) as backend:
            long = start(backend, LONG, {"count": options.steps})
            backend.drive(long, wait=0)
            runs = [start(backend, WAITS, {}) for _ in range(options.runs)]
            with served(path, 100) as (port, pid), chromium() as browser:
                url = f"http://localhost:{port}/"
                for what, place, is_there in (
                    (f"a run of {options.steps} steps", f"#/runs/{long}", RUN_IS_THERE),
                    (f"the list of {options.runs} runs", "#/", LIST_IS_THERE),
                ):
                    figures = [opened(browser, url + place, is_there, pid) for _ in range(options.rounds)]
                    times, server, own = zip(*figures, strict=True)
                    say(f"{what} is there", times)
                    print(
                        f"  processor time of the server: the first time {server[0]:.0f} ms,"
                        f" later {statistics.median(server[1:]):.0f} ms;"
                        f" of the page: {statistics.median(own):.0f} ms"
                    )
                look_on(browser, url, backend, runs)
                watch(browser, f"{url}#/runs/{long}", backend, long)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser
        browser.close()


def opened(browser: Browser, url: str, is_there: str, pid: int) -> tuple[float, float, float]:
    """Milliseconds until a page is there, and of processor time: of the server, and of the page's thread."""
    with browser.new_context() as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = processor_time(pid)
        visit(page, url)
        waited = float(wait(page, is_there))
        found = session.send("Performance.getMetrics")["metrics"]
        own = next(each["value"] for each in found if each["name"] == "TaskDuration")
        return waited, processor_time(pid) - before, own * 1000


def processor_time(pid: int) -> float:
    """Milliseconds that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def visit(page: Page, url: str) -> Page:
    """Signed in, and at a page as if it was the first."""
    root = url.partition("#")[0]
    page.context.request.post(f"{root}api/v1/session", data={"token": TOKEN})
    page.goto(url)
    return page


def look_on(browser: Browser, url: str, backend: Backend, runs: list[str]) -> None:
    """The list, while one of its runs changes, and while all do."""
    with browser.new_context() as context:
        page = visit(context.new_page(), f"{url}#/")
        wait(page, LIST_IS_THERE)
        first = heap(page)
        times = [until(page, each, "paused", backend.pause) for each in reversed(runs[-20:])]
        say("a change is seen in the list", times)
        begun = time.monotonic()
        for each in runs:
            backend.unpause(each)
            backend.pause(each)
        written = time.monotonic()
        last = until(page, runs[-1], "running", backend.unpause)
        print(f"after {2 * len(runs)} changes in {written - begun:.1f} s, one more is seen in {last:.0f} ms")
        print(f"the list keeps {first:.1f} MB at first and {heap(page):.1f} MB after all these changes")


def watch(browser: Browser, url: str, backend: Backend, long: str) -> None:
    """The page of the long run, until it is over."""
    with browser.new_context() as context:
        page = visit(context.new_page(), url)
        wait(page, RUN_IS_THERE)
        print(f"the long run's page keeps {heap(page):.1f} MB")
        backend.signal(long, "go", None)
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as thread:  # in this one is Playwright's loop
            thread.submit(drive, backend, long).result()
        written = time.monotonic()
        wait(page, HAS_STATE, [".heading .state", "completed"])
        print(
            f"its end is seen {(time.monotonic() - written) * 1000:.0f} ms after it was durable"
            f" ({written - begun:.1f} s after the signal)"
        )


def drive(backend: Backend, run: str) -> None:
    with contextlib.closing(backend.another()) as other:
        other.drive(run, wait=0)


def until(page: Page, run: str, state: str, change: Callable[[str], object]) -> float:
    """Milliseconds from a durable change until the list shows it."""
    change(run)
    begun = time.monotonic()
    wait(page, HAS_STATE, [f'.runs a[href$="{run}"] .state', state])
    return (time.monotonic() - begun) * 1000


def heap(page: Page) -> float:
    """Megabytes of JavaScript, after its garbage was collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used / 1e6


def wait(page: Page, condition: str, argument: object = None) -> Any:
    """What a condition says once it holds. (The page's policy forbids what Playwright's own waiting does.)"""
    patience = time.monotonic() + 120
    while not (found := page.evaluate(condition, argument)):
        if time.monotonic() > patience:
            raise SystemExit(f"this did not come to hold: {condition}")
        time.sleep(0.01)
    return found


def say(what: str, times: Sequence[float]) -> None:
    first, most = f"the first time {times[0]:.0f} ms", f"worst {max(times):.0f} ms of {len(times)}"
    print(f"{what}: {first}, median {statistics.median(times):.0f} ms, {most}")


if __name__ == "__main__":
    main()
