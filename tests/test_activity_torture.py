"""Activities that do their worst, under every isolation: each ends as a typed error or as the page on plugins
says, and whoever comes after them is served. The table of that page is made here, of what came of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import console

PLUGIN = """
import asyncio, ctypes, gc, os, signal, subprocess, sys, time
from flowctl import activity

kept = []

class Odd(BaseException): ...

def worst(how):
    if how == "exit": sys.exit(3)
    if how == "interrupt": raise KeyboardInterrupt
    if how == "generator_exit": raise GeneratorExit
    if how == "cancelled": raise asyncio.CancelledError("by itself")
    if how == "base": raise Odd("odd")
    if how == "big": return "x" * 100_000_000
    if how == "not_json": return {1, 2}
    if how == "leak": kept.append(bytearray(50_000_000)); return "leaked"
    if how == "recursion": return worst(how)
    if how == "flood":
        for _ in range(2000): print("x" * 1000)
        return "flooded"
    if how == "fork":
        if os.fork() == 0: os._exit(0)
        return "forked"
    if how == "children":
        return subprocess.Popen(["sleep", "600"]).pid
    if how == "environment": os.environ["SPOILT"] = "1"; os.chdir("/"); return "changed"
    if how == "signals": signal.signal(signal.SIGTERM, signal.SIG_IGN); return "changed"
    if how == "closes": os.closerange(0, 3); return "closed"
    if how == "os_exit": os._exit(9)
    if how == "segfault": ctypes.string_at(0)
    if how == "abort": os.abort()
    if how == "memory": kept.append(bytearray(1 << 40)); return "has it"
    if how == "hang": time.sleep(600)
    if how == "ignores":
        while True:
            try: time.sleep(600)
            except BaseException: pass
    return "fine"

@activity("worst.thread")
def in_thread(how: str) -> object:
    return worst(how)

@activity("worst.process", isolation="process")
def in_process(how: str) -> object:
    return worst(how)

@activity("worst.loop")
async def on_loop(how: str) -> object:
    if how == "hang": await asyncio.sleep(600)
    if how == "ignores":
        while True:
            try: await asyncio.sleep(600)
            except asyncio.CancelledError: pass
    return worst(how)
"""

SHARED = {
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "generator_exit": "GeneratorExit",
    "cancelled": "CancelledError",
    "base": "Odd",
    "recursion": "RecursionError",
    "big": "PayloadTooLarge",
    "not_json": "InvalidOutput",
    "memory": "MemoryError",
    "hang": "Timeout",
    "ignores": "Timeout",
    "leak": None,
    "flood": None,
    "fork": None,
    "fine": None,
}
"""What comes of it under every isolation: the type of the error, None for success."""

PROCESS = {
    "os_exit": "ProcessDied",
    "segfault": "ProcessDied",
    "abort": "ProcessDied",
    "children": None,
    "environment": None,
    "signals": None,
    "closes": None,
}
"""What only a process survives, or keeps to itself."""

EXPECTED = {
    (where, how): error
    for where in ("loop", "thread", "process")
    for how, error in (SHARED | (PROCESS if where == "process" else {})).items()
    if (where, how)
    != ("loop", "flood")  # what a coroutine prints stands where it prints it, as the page says
}
LOST = {
    (where, how): "WorkerLost" for where in ("loop", "thread") for how in ("os_exit", "segfault", "abort")
}
"""What takes the engine down: the error once ten workers are lost."""

DID = {
    "exit": "`sys.exit` (a `SystemExit`)",
    "interrupt": "raises `KeyboardInterrupt`",
    "generator_exit": "`GeneratorExit`",
    "cancelled": "`CancelledError` by itself",
    "base": "any other `BaseException` (here `Odd`)",
    "recursion": "recurses for ever (`RecursionError`)",
    "memory": "asks for a terabyte (`MemoryError`)",
    "big": "returns 100 MB",
    "not_json": "returns what is not JSON",
    "hang": "awaits or sleeps for ever",
    "ignores": "does not heed being told to stop",
    "leak": "leaks memory",
    "fork": "forks",
    "children": "leaves processes behind",
    "flood": "prints a flood",
    "environment": "changes the working directory or the environment",
    "signals": "handlers of signals",
    "closes": "closes 0, 1 and 2",
    "os_exit": "`os._exit`",
    "segfault": "a segfault",
    "abort": "`abort`",
}
"""What each activity does, as the page says it. Those of which the same comes are in one row."""

_ENDLESS = (
    "; a coroutine that blocks the loop instead blocks its engine",
    "; the thread is abandoned",
    "; it is killed",
)
_SHARED = ("for the whole engine: do not", "for the whole engine: do not", "for itself")
_LOST = (*(", once ten workers are lost, each of which makes it again",) * 2, "")
LEFT = {
    "hang": _ENDLESS,
    "ignores": _ENDLESS,
    "leak": ("the engine has less", "the engine has less", "up to `memory`, and it is gone with its process"),
    "fork": ("goes on; what it forked must leave by `os._exit`", *("the same",) * 2),
    "children": ("they live on", "they live on", "those in its group are killed with it"),
    "flood": ("to stdout or stderr, as it says", "to stderr", "to stderr"),
    "environment": _SHARED,
    "signals": _SHARED,
    "closes": _SHARED,
    "os_exit": _LOST,
    "segfault": _LOST,
    "abort": _LOST,
}
"""What is to be said besides: of each on the loop, in a thread, in a process."""

PAGE = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")


def table(found: Mapping[tuple[str, str], str | None]) -> str:
    """The table of the page."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for how, did in DID.items():
        left = LEFT.get(how, ("", "", ""))
        errors = [found.get((where, how)) for where in ("loop", "thread", "process")]
        rows.setdefault(tuple(map(_cell, errors, left, [did] * 3)), []).append(did)
    lines = ["| the activity | on the loop | in a thread | in a process |", "|---|---|---|---|"]
    lines += [f"| {', '.join(did)} | {' | '.join(cells)} |" for cells, did in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(error: str | None, left: str, did: str) -> str:
    if error is None:
        return left
    return ("an error of that type" if f"`{error}`" in did else f"`{error}`") + left


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "worst.py").write_text(PLUGIN)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"\n')
    return tmp_path


def flowctl(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowctl", *arguments],
        cwd=project,
        env=console.reader(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def write(project: Path, steps: list[dict[str, Any]]) -> None:
    document = {"dsl": 1, "name": "w", "steps": steps}
    (project / "w.yaml").write_text(json.dumps(document))


def test_the_worst_of_activities_is_a_typed_error_and_the_next_one_is_served(project: Path) -> None:
    write(
        project,
        [
            {
                "id": f"{where}_{how}",
                "activity": f"worst.{where}",
                "with": {"how": how},
                "timeout": "500ms" if error == "Timeout" else "60s",
                "optional": True,
            }
            for (where, how), error in EXPECTED.items()
        ],
    )
    done = flowctl(project, "run", "w.yaml", "--id", "r", "--json", "--wait", "150s")
    assert done.returncode == 0, done.stderr[-2000:]
    steps = {step["path"]: step for step in json.loads(done.stdout)["steps"]}  # and nothing else: no flood
    found = {(where, how): (steps[f"{where}_{how}"]["error"] or {}).get("type") for where, how in EXPECTED}
    assert found == EXPECTED
    written = table(found | LOST)
    assert written in PAGE, f"what docs/plugins.md says is not what happens, which is:\n\n{written}"


@pytest.mark.parametrize(("where", "how"), [("thread", "os_exit"), ("loop", "segfault")])
def test_what_takes_the_engine_down_is_made_again_and_fails_the_step_after_ten_losses(
    project: Path, where: str, how: str
) -> None:
    """Ten workers in turn take it over."""
    other = {"id": "other", "activity": "core.echo", "with": {"x": 1}}
    write(project, [other, {"id": "a", "activity": f"worst.{where}", "with": {"how": how}}])
    assert flowctl(project, "start", "w.yaml", "--id", "r").returncode == 0
    deaths = 0
    while (done := flowctl(project, "worker", "--drain")).returncode not in (0, 1):
        deaths += 1
        assert deaths <= 10
    status = json.loads(flowctl(project, "status", "r", "--json").stdout)
    ended = (deaths, status["status"], status["error"]["type"])
    assert ended == (10, "failed", LOST[where, how]), done.stderr
    assert [step["status"] for step in status["steps"]] == ["completed", "failed"]
