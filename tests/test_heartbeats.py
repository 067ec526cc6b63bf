"""How far an attempt has come outlives the process that is killed: real processes, and SIGKILL."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowctl.journal.audit import audit
from flowctl.journal.sqlite import SqliteJournal

# ``copy`` tells of its progress and hangs. What it logs after that comes to the engine after it; the event
# lets another branch go on, whose second step is made when what the first has recorded is durable, and the
# heartbeat with it. That one kills the process.
PLUGIN = """
import asyncio, logging, os, pathlib, signal, threading, time
from flowctl import ActivityContext, activity

told = threading.Event()

class Tells(logging.Handler):
    def emit(self, record):
        told.set()

logging.getLogger("flowctl.activity").addHandler(Tells())

@activity("t.copy_thread")
def copy_thread(ctx: ActivityContext) -> object:
    before = ctx.last_heartbeat
    if before is None:
        ctx.heartbeat({"page": 7})
        ctx.logger.warning("so far")
        time.sleep(600)
    return before

@activity("t.copy_process", isolation="process")
def copy_process(ctx: ActivityContext) -> object:
    return copy_thread(ctx)

@activity("t.copy_async")
async def copy_async(ctx: ActivityContext) -> object:
    before = ctx.last_heartbeat
    if before is None:
        ctx.heartbeat({"page": 7})
        ctx.logger.warning("so far")
        await asyncio.sleep(600)
    return before

@activity("t.told")
def wait_until_told() -> None:
    told.wait()

@activity("t.die")
def die() -> None:
    died = pathlib.Path("died")
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""

WORKFLOW = """
dsl: 1
name: copying
steps:
  - id: both
    parallel:
      work: [{id: copy, activity: t.copy_ISOLATION, secret: SECRET}]
      death: [{id: told, activity: t.told}, {id: die, activity: t.die}]
output: {done: "${{ steps.both.output.work }}"}
"""


@pytest.mark.parametrize("isolation", ["thread", "process", "async"])
def test_how_far_an_attempt_has_come_outlives_its_process(isolation: str, tmp_path: Path) -> None:
    prepare(tmp_path, isolation)
    assert flowctl(tmp_path, "run", "w.yaml", "--id", "one").returncode == -signal.SIGKILL
    with contextlib.closing(SqliteJournal.open(tmp_path / "flowctl.db", read_only=True)) as journal:
        [kept] = journal.heartbeats("one")
    assert (kept.path, kept.attempt, kept.details) == ("both.work.copy", 1, b'{"page":7}')
    assert audit(str(tmp_path / "flowctl.db")).problems == []
    resumed = flowctl(tmp_path, "resume", "one", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["output"] == {"done": {"page": 7}}
    with contextlib.closing(SqliteJournal.open(tmp_path / "flowctl.db", read_only=True)) as journal:
        assert journal.heartbeats("one") == []


def test_how_far_a_secret_step_has_come_is_in_no_answer(tmp_path: Path) -> None:
    prepare(tmp_path, "thread", secret="true")
    assert flowctl(tmp_path, "run", "w.yaml", "--id", "one").returncode == -signal.SIGKILL
    flowctl(tmp_path, "history", "one", "--export", "one.jsonl")
    said = [
        flowctl(tmp_path, *command).stdout for command in (["status", "one", "--json"], ["history", "one"])
    ]
    assert "page" not in "".join([*said, (tmp_path / "one.jsonl").read_text()])


def prepare(folder: Path, isolation: str, secret: str = "false") -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "tools.py").write_text(PLUGIN)
    (folder / "w.yaml").write_text(WORKFLOW.replace("ISOLATION", isolation).replace("SECRET", secret))


def flowctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--db", "flowctl.db", "--plugins-dir", "plugins")
    command = [sys.executable, "-m", "flowctl", *arguments, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
