"""Events and telemetry on Temporal: the same as on SQLite, and only of what Temporal has taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import flowctl
from flowctl.backends import open_backend
from flowctl.engine.events import Courses, Event
from flowctl.journal import Change
from flowctl.journal.memory import MemoryJournal
from flowctl.plugins import load as load_plugins
from flowctl.runtimes.temporal import witness
from flowctl.runtimes.temporal.remote import seen
from flowctl.runtimes.temporal.witness import Witness
from tests.collector import collector
from tests.console import ROOT, reader
from tests.temporal.server import Server

ORDER = ROOT / "examples" / "order"
ASKED = {"order_id": "0012", "items": ["lamp"], "email": "grace@example.com", "express": True, "amount": 1500}
FAILS = {**ASKED, "items": ["piano"], "amount": 900}
EARS = """
import json
from flowctl import hookimpl

@hookimpl
def flowctl_on_event(event):
    with open("events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")
"""
TIMES = ("time", "started_at", "attempt_started_at", "until", "retry_at", "received_at")

Flowctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ears.py").write_text(EARS)
    return tmp_path


def command(folder: Path, database: str, *words: str, exits: int, **more: str) -> str:
    """Call flowctl in a folder, with the example's plugins and those of the folder."""
    environment = reader() | {
        "FLOWCTL_DB": database,
        "FLOWCTL_PLUGINS_DIR": f"{ORDER}:{folder / 'plugins'}",
        "FLOWCTL_SECRET_MAIL_TOKEN": "token",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-m", "flowctl", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == exits, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def heard(folder: Path) -> list[Event]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def orders(folder: Path, database: str, **more: str) -> None:
    """One order by two processes, which completes, and one that is undone."""
    run = ("run", str(ORDER / "order.yaml"), "--input")
    command(folder, database, *run, json.dumps(ASKED), "--id", "lamp", exits=3, **more)
    command(folder, database, "signal", "lamp", "approve", "--payload", '{"by": "Grace"}', exits=0)
    command(folder, database, "resume", "lamp", exits=0, **more)
    command(folder, database, *run, json.dumps(FAILS), "--id", "piano", exits=1, **more)


def timeless(thing: Any) -> Any:
    """Without what is different each time."""
    if isinstance(thing, Mapping):
        return {key: timeless(thing[key]) for key in thing if key not in (*TIMES, "id", "trace_id")}
    return thing


def test_the_order_example_tells_and_exports_what_it_does_on_sqlite(server: Server, folder: Path) -> None:
    events, trees, counts = [], [], []
    for name, database in (("sqlite", "flowctl.db"), ("temporal", server.url(task_queue=folder.name))):
        here = folder / name
        here.mkdir()
        (here / "plugins").symlink_to(folder / "plugins")
        with collector() as collected:
            orders(here, database, OTEL_EXPORTER_OTLP_ENDPOINT=collected.url)
        events.append(heard(here))
        trees.append(collected.tree())
        counts.append({metric: collected.count(metric) for metric in sorted(collected.points)})
        assert len({span.trace_id for span in collected.spans.values()}) == 2
    assert list(map(timeless, events[1])) == list(map(timeless, events[0]))
    assert trees[1] == trees[0]
    assert counts[1] == counts[0]
    assert [line for line in trees[1] if line.startswith("run")] == ["run order", "run order"]
    assert (counts[1]["flowctl.runs.completed"], counts[1]["flowctl.runs.compensated"]) == (1, 1)
    told = [event["id"] for event in events[1]]
    assert len(told) > 25
    assert len(set(told)) == len(told)
    assert set(told) == asyncio.run(in_history(server, "lamp", "piano"))


async def in_history(server: Server, *runs: str) -> set[str]:
    """The ids of the events of these runs, as somebody makes them who reads Temporal's history."""
    client = await Client.connect(server.target)
    found: set[str] = set()
    for run_id in runs:
        there = await seen(client, run_id)
        found |= {event["id"] for event in events_of(there.journal, run_id)}
    return found


def events_of(journal: MemoryJournal, run_id: str) -> list[Event]:
    run = journal.run(run_id)
    assert run is not None
    return list(Courses(journal).events(Change(run, journal.entries(run_id))))


PLUGIN = """
from flowctl import ActivityContext, activity

def speak(name):
    from opentelemetry import trace
    with trace.get_tracer("shop").start_as_current_span(name):
        pass

@activity("t.thread")
def thread(ctx: ActivityContext) -> str:
    speak("in a thread")
    return ctx.traceparent

@activity("t.async")
async def coroutine() -> None:
    speak("in a coroutine")

@activity("t.process", isolation="process")
def process() -> None:
    speak("in a process")
"""
PARENT = """
dsl: 1
name: parent
steps:
  - {id: a, activity: t.thread}
  - id: both
    parallel: {left: [{id: b, activity: t.async}]}
  - {id: d, workflow: ./child.yaml, compensate: none}
"""
CHILD = """
dsl: 1
name: child
steps: [{id: c, activity: t.process}]
"""
TREE = [
    "run parent",
    "  step a",
    "    attempt t.thread",
    "      in a thread",
    "  step both",
    "    step both.left.b",
    "      attempt t.async",
    "        in a coroutine",
    "  step d",
    "    attempt ./child.yaml",
    "      run child",
    "        step c",
    "          attempt t.process",
    "            in a process",
]


def test_a_worker_exports_spans_of_activities_and_of_children_where_they_belong(
    server: Server, folder: Path
) -> None:
    (folder / "plugins" / "shop.py").write_text(PLUGIN)
    for name, text in (("parent", PARENT), ("child", CHILD)):
        (folder / f"{name}.yaml").write_text(text)
    database = server.url(task_queue=folder.name)
    command(folder, database, "start", "parent.yaml", "--id", "tree", exits=0)
    with collector() as collected:
        command(folder, database, "worker", "--drain", exits=0, OTEL_EXPORTER_OTLP_ENDPOINT=collected.url)
    assert collected.tree() == TREE
    assert len({span.trace_id for span in collected.spans.values()}) == 1
    assert {event["data"]["run_id"] for event in heard(folder)} == {"tree", "tree/d"}


# --- in programs

WAITS = "{dsl: 1, name: waits, signals: {go: {}}, steps: [{id: a, wait_for_signal: go}]}"


class Ears:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.rests = threading.Event()

    @flowctl.hookimpl
    def flowctl_on_event(self, event: Mapping[str, Any]) -> None:
        self.heard.append(event["type"].removeprefix("dev.flowctl."))
        if self.heard[-1] == "step.waiting":
            self.rests.set()


def test_an_engine_in_a_program_works_on_temporal_and_its_plugins_hear_of_a_run_that_rests(
    server: Server, folder: Path
) -> None:
    """While it rests: nothing happens that would show that Temporal has it."""
    ears, database = Ears(), server.url(task_queue=folder.name)

    async def scene() -> None:
        async with flowctl.Engine(database, plugins=[ears]) as engine:
            handle = await engine.start(WAITS)
            assert await asyncio.to_thread(ears.rests.wait, 60)
            await handle.signal("go")
            await handle.result()

    asyncio.run(scene())
    assert ears.heard == ["run.started", "step.waiting", "step.completed", "run.completed"]


# --- what Temporal does not take

SHORT = """
dsl: 1
name: short
signals: {late: {}}
steps: [{id: a, activity: core.echo}]
"""


def test_an_end_that_temporal_does_not_take_is_not_told(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes between the decision that the run has ended and Temporal hearing of it."""
    (folder / "short.yaml").write_text(SHORT)
    database = server.url(task_queue=folder.name)
    attend, ends = Witness.attend, []

    @contextlib.contextmanager
    def attended(self: Witness, info: Any, act: Any) -> Iterator[None]:
        with attend(self, info, act):
            yield
            decided = getattr(witness._here, "decisions", None) or []
        if any(decision.change.run.status == "completed" for decision in decided):
            ends.append(act.history_length)
            if len(ends) == 1:
                asyncio.run(interrupt(server, info.workflow_id))

    monkeypatch.setattr(Witness, "attend", attended)
    command(folder, database, "start", "short.yaml", "--id", "short", exits=0)
    events = told_by_a_worker(folder, database)
    assert len(ends) == 2, "the run was to end twice"
    assert events == asyncio.run(in_history(server, "short"))
    assert [event["type"] for event in heard(folder)].count("dev.flowctl.run.completed") == 1


async def interrupt(server: Server, workflow_id: str) -> None:
    client = await Client.connect(server.target)
    await client.get_workflow_handle(workflow_id).signal("late")


def told_by_a_worker(folder: Path, database: str) -> set[str]:
    """The ids of the events that a worker in this process tells until nothing is due."""
    with contextlib.chdir(folder):
        backend = open_backend(database, plugins=load_plugins([Path("plugins")]))
        try:
            backend.work(drain=True, observe=lambda run: None)
        finally:
            backend.close()
    return {event["id"] for event in heard(folder)}
