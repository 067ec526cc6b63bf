"""What activities get from a worker on Temporal: resources, secrets, isolation, heartbeats after a kill."""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from flowctl.backends import StartRequest, open_backend
from flowctl.backends.temporal import sending as subject
from flowctl.document import load
from flowctl.plugins import load as load_plugins
from flowctl.runtimes.temporal.begin import Begin
from tests.canaries import CANARIES, leaks
from tests.console import reader
from tests.temporal.server import Server

PLUGIN = """
import os, pathlib, signal, threading
from flowctl import ActivityContext, activity, resource

def note(what):
    with open("notes", "a") as file:
        file.write(what + "\\n")

@resource
def book():
    note("opened")
    yield {"opened by": os.getpid()}
    note("closed")

@activity("t.thread")
def thread(text: str, book: dict) -> object:
    assert threading.current_thread() is not threading.main_thread()
    note(text)
    return [os.getpid() == book["opened by"], text]

@activity("t.async")
async def coroutine(text: str, book: dict) -> object:
    return [os.getpid() == book["opened by"], text]

@activity("t.process", isolation="process")
def process(text: str, worker: str) -> object:
    return [os.getppid() == int(worker), text]

@activity("t.die", isolation="process")
def die() -> None:
    os._exit(9)

@activity("t.worker")
def worker() -> str:
    return str(os.getpid())

@activity("t.alive")
def alive(ctx: ActivityContext) -> None:
    ctx.heartbeat({"page": 1})

@activity("t.alive_in_process", isolation="process")
def alive_in_process(ctx: ActivityContext) -> None:
    ctx.heartbeat({"page": 1})

@activity("t.alive_on_the_loop")
async def alive_on_the_loop(ctx: ActivityContext) -> None:
    ctx.heartbeat({"page": 1})

@activity("t.pages")
def pages(ctx: ActivityContext) -> object:
    if ctx.last_heartbeat is None:
        ctx.heartbeat({"page": 3})
        while not pathlib.Path("heard").exists():
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.last_heartbeat
"""
SECRET = "${{ secrets.VAULT }}"
WORK: dict[str, Any] = {
    "dsl": 1,
    "name": "work",
    "secrets": ["VAULT"],
    "steps": [
        {"id": "here", "activity": "t.worker"},
        {"id": "thread", "activity": "t.thread", "with": {"text": SECRET}},
        {"id": "loop", "activity": "t.async", "with": {"text": SECRET}},
        {
            "id": "process",
            "activity": "t.process",
            "with": {"text": SECRET, "worker": "${{ steps.here.output }}"},
        },
        {"id": "die", "activity": "t.die", "retry": False, "optional": True},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "telling.py").write_text(PLUGIN)
    return tmp_path


def environment(folder: Path, server: Server) -> dict[str, str]:
    return reader() | {
        "FLOWCTL_DB": server.url(task_queue=folder.name),
        "FLOWCTL_PLUGINS_DIR": "plugins",
        "FLOWCTL_SECRET_VAULT": CANARIES["VAULT"],
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flowctl", *words]


def flowctl(folder: Path, server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(folder, server),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_worker_gives_activities_what_they_get_on_sqlite_and_tells_no_secret(
    server: Server, folder: Path, program: str
) -> None:
    (folder / "work.yaml").write_text(json.dumps(WORK))
    done = flowctl(folder, server, "run", "work.yaml", "--id", folder.name, "--json")
    assert done.returncode == 0, done.stderr
    steps = {step["path"]: step for step in json.loads(done.stdout)["steps"]}
    for name in ("thread", "loop", "process"):
        assert steps[name]["output"] == [True, "***"], name
    assert steps["die"]["error"]["type"] == "ProcessDied"
    assert (folder / "notes").read_text().splitlines() == ["opened", CANARIES["VAULT"], "closed"]
    shown = [program, "workflow", "show", "--address", server.target, "-w", folder.name, "-o", "json"]
    history = subprocess.run(shown, capture_output=True, check=True).stdout
    assert b"t.process" in history
    said = {"history": history, "stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    assert leaks(said) == []


ALIVE = """
dsl: 1
name: alive
steps:
  - foreach: ${{ [1, 2, 3] }}
    concurrency: 2
    steps:
      - {id: thread, activity: t.alive}
      - {id: process, activity: t.alive_in_process}
      - {id: loop, activity: t.alive_on_the_loop}
"""


def test_wherever_an_activity_runs_its_heartbeats_are_its_own(server: Server, folder: Path) -> None:
    (folder / "alive.yaml").write_text(ALIVE)
    done = flowctl(folder, server, "run", "alive.yaml", "--json")
    assert (done.returncode, done.stderr) == (0, "")


LACKS = """
dsl: 1
name: lacks
secrets: [TOK]
steps:
  - {id: a, activity: core.echo, with: {t: "${{ secrets.TOK }}"}}
output: ${{ steps.a.output }}
"""


def test_a_run_that_lacks_a_secret_says_where_it_was_looked_for_and_goes_on_with_it(
    server: Server, folder: Path
) -> None:
    (folder / "lacks.yaml").write_text(LACKS)
    (folder / "flowctl.toml").write_text('[secrets]\nproviders = ["files"]\nfolder = "kept"\n')
    ran = flowctl(folder, server, "run", "lacks.yaml", "--json")
    blocked = json.loads(ran.stdout)["blocked"]
    place = folder / "kept" / "TOK"
    assert (ran.returncode, blocked["code"]) == (3, "MissingSecret")
    assert f"nobody here has the secret TOK; it was looked for in the file {place}" in blocked["reason"]
    place.parent.mkdir()
    place.write_text("token")
    resumed = flowctl(folder, server, "resume", "@last", "--json")
    assert (resumed.returncode, json.loads(resumed.stdout)["output"]) == (0, {"t": "***"}), resumed.stderr


def test_how_far_a_killed_worker_came_is_told_to_the_next_one(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once Temporal has heard of it. It is missed after two seconds here, and not after ten."""
    text = "dsl: 1\nname: pages\nsteps: [{id: copy, activity: t.pages}]\noutput: ${{ steps.copy.output }}\n"
    monkeypatch.setattr(subject, "Begin", functools.partial(Begin, heard_within=2_000))
    monkeypatch.chdir(folder)
    backend = open_backend(server.url(task_queue=folder.name), plugins=load_plugins([Path("plugins")]))
    try:
        backend.start(StartRequest(load(text, "pages.yaml").workflow, text, {}, id=folder.name))
    finally:
        backend.close()
    with subprocess.Popen(
        command("worker"), cwd=folder, env=environment(folder, server), stderr=subprocess.DEVNULL
    ) as worker:
        asyncio.run(until_heard(server, folder.name))
        Path("heard").touch()
        assert worker.wait(60) == -signal.SIGKILL
    done = flowctl(folder, server, "resume", folder.name, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"page": 3}


async def until_heard(server: Server, workflow_id: str) -> None:
    client = await Client.connect(server.target)
    handle = client.get_workflow_handle(workflow_id)
    while not any(
        pending.heartbeat_details.payloads
        for pending in (await handle.describe()).raw_description.pending_activities
    ):
        pass
