"""Events: what plugins are told of, and that telling them harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowctl.activities import activity, declared
from flowctl.document import load
from flowctl.engine import Engine, Worker
from flowctl.engine import events as subject
from flowctl.engine.events import Courses, Listener
from flowctl.journal import Change, is_secret
from flowctl.journal.memory import MemoryJournal
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time
from flowctl.testing.world import START
from tests.cli_helpers import Flowctl, caller

Events = list[Mapping[str, Any]]

SAGA = """
dsl: 1
name: order
steps:
  - {id: reserve, activity: t.good, with: {n: 1}, compensate: {activity: t.good, with: {n: "${{ args.n }}"}}}
  - {id: rest, sleep: 1s}
  - id: both
    parallel:
      left: [{id: inner, activity: t.good, with: {n: 2}}]
  - {id: ship, activity: t.bad, retry: {attempts: 2, delay: 1s}}
"""

TOLD = """
run.started
step.started reserve
step.completed reserve
step.waiting rest
step.completed rest
step.started both
step.started both.left.inner
step.completed both.left.inner
step.completed both
step.started ship
step.retrying ship
step.started ship
step.failed ship
run.compensating
step.compensating reserve.undo
step.compensated reserve.undo
run.compensated
"""


@activity("t.good")
async def good(n: int) -> int:
    return n


@activity("t.bad")
async def bad() -> None:
    raise ConnectionError("no carrier")


class Stage:
    """An engine in virtual time with these activities, and what its listener heard."""

    def __init__(self, listener: Listener | None = None) -> None:
        self.heard: Events = []
        self.loop = VirtualTimeLoop()
        self.journal = MemoryJournal()
        made = {name: declared(function) for name, function in {"t.good": good, "t.bad": bad}.items()}
        self.engine = Engine(
            self.journal,
            {name: found for name, found in made.items() if found is not None},
            secret=lambda name: None,
            clock=lambda: START + self.loop.milliseconds(),
            listener=listener or self.heard.append,
        )

    def run(self, document: str, *, drive: bool = True, **input: Any) -> str:
        workflow = load(document, "w.yaml").workflow
        run, _ = self.engine.start(workflow, document, input, id="one")
        status = run.status
        if drive:
            status = run_in_virtual_time(self.engine.drive("one", wait=10_000), self.loop).status
        return status

    def told(self) -> list[str]:
        self.engine.close()
        self.loop.close()
        return [
            f"{event['type'].removeprefix('dev.flowctl.')} {event['data'].get('path', '')}".rstrip()
            for event in self.heard
        ]


def test_the_life_of_a_run_and_its_steps_is_told_in_order() -> None:
    stage = Stage()
    assert stage.run(SAGA) == "compensated"
    assert stage.told() == TOLD.split("\n")[1:-1]


def test_an_event_is_a_cloud_event() -> None:
    stage = Stage()
    stage.run(SAGA)
    stage.engine.close()
    event = stage.heard[12]
    assert {**event, "id": "", "data": {}} == {
        "specversion": "1.0",
        "id": "",
        "source": "/flowctl/order",
        "type": "dev.flowctl.step.failed",
        "subject": "one/ship",
        "time": "2026-01-01T00:00:02.000Z",
        "datacontenttype": "application/json",
        "data": {},
    }
    data = event["data"]
    assert data["error"]["message"] == "no carrier"
    assert (data["run_id"], data["workflow"], data["verb"], data["name"]) == (
        "one",
        "order",
        "activity",
        "t.bad",
    )
    assert (data["attempt"], data["started_at"]) == (2, "2026-01-01T00:00:01.000Z")
    assert data["attempt_started_at"] == "2026-01-01T00:00:02.000Z"
    assert stage.heard[6]["data"]["block"] == "both"
    json.dumps(event)


def test_the_same_event_has_the_same_id_whoever_tells_it() -> None:
    """Somebody who reads the journal afterwards, entry by entry, comes to the same events."""
    stage = Stage()
    stage.run(SAGA)
    stage.engine.close()
    run = stage.journal.run("one")
    assert run is not None
    again = []
    for number, entry in enumerate(stage.journal.entries("one"), 1):
        run.entries = number
        again += list(Courses(stage.journal).events(Change(run, [entry])))
    assert again == stage.heard
    assert len({event["id"] for event in again}) == len(again)


def test_what_is_asked_of_a_run_that_nobody_drives_is_told() -> None:
    stage = Stage()
    stage.run(SAGA, drive=False)
    stage.engine.operations.pause("one")
    stage.engine.operations.terminate("one")
    assert stage.told() == ["run.paused", "run.terminated"]


def test_a_worker_that_forgets_what_waits_tells_the_same() -> None:
    stage = Stage()
    stage.run(SAGA, drive=False)

    async def work() -> None:
        while stage.engine.run("one").status != "compensated":
            await Worker(stage.engine, linger=0).work(drain=True)
            await asyncio.sleep(0.2)

    run_in_virtual_time(work(), stage.loop)
    assert stage.told() == TOLD.split("\n")[1:-1]
    assert stage.engine._telling is not None
    assert stage.engine._telling._courses._known == {}


def test_a_run_that_others_had_in_between_is_met_anew() -> None:
    stage = Stage()
    stage.run(SAGA)
    stage.engine.close()
    run, entries = stage.journal.run("one"), stage.journal.entries("one")
    assert run is not None
    courses, heard = Courses(stage.journal), []
    for number, entry in enumerate(entries, 1):
        if number != 3:  # the end of the sleep, and the start of what follows it
            run.entries = number
            heard += list(courses.events(Change(run, [entry])))
    missed = {event["id"][:32] for event in stage.heard} - {event["id"][:32] for event in heard}
    assert missed == {entries[2].hash.hex()[:32]}
    assert heard == [event for event in stage.heard if event["id"][:32] not in missed]


def test_steps_that_were_in_progress_when_a_run_ends_are_over() -> None:
    stage = Stage()
    document = """
dsl: 1
name: w
timeout: 1s
steps:
  - {id: block, steps: [{id: rest, sleep: 500ms}, {id: wait, wait_for_signal: go}]}
signals: {go: {}}
"""
    assert stage.run(document) == "failed"
    assert stage.told()[-4:] == [
        "run.cancelling",
        "step.cancelled block.wait",
        "step.cancelled block",
        "run.failed",
    ]


def test_secret_data_is_in_no_event() -> None:
    stage = Stage()
    stage.run("""
dsl: 1
name: w
steps:
  - {id: a, activity: t.good, with: {n: 424242}, secret: true}
""")
    assert stage.told()[-1] == "run.completed"
    assert "424242" not in json.dumps(stage.heard)


def test_of_a_run_that_is_secret_as_a_whole_no_event_has_data() -> None:
    """A child of a secret step."""
    stage = Stage()
    stage.run(SAGA.replace("n: 1", "n: 424242"))
    run, entries = stage.journal.run("one"), stage.journal.entries("one")
    assert run is not None
    run.input, run.inherited = {"n": 424242}, {"secret": True}
    assert is_secret(run)
    heard = list(Courses(stage.journal).events(Change(run, entries)))
    assert len(heard) == len(TOLD.split("\n")) - 2
    assert "424242" not in json.dumps(heard)
    stage.engine.close()


def test_a_listener_that_raises_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def listener(event: Mapping[str, Any]) -> None:
        heard.append(event["type"])
        raise SystemExit("away")

    stage = Stage(listener)
    assert stage.run(SAGA) == "compensated"
    stage.engine.close()
    assert len(heard) == len(TOLD.split("\n")) - 2
    assert "a listener failed" in caplog.text


def test_a_listener_that_hangs_holds_up_no_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "WAITING", 3)
    never = threading.Event()

    def listener(event: Mapping[str, Any]) -> None:
        never.wait()

    stage = Stage(listener)
    assert stage.run(SAGA) == "compensated"
    assert stage.engine._telling is not None
    stage.engine._telling.close(patience=0.001)
    assert "too slow" in caplog.text
    assert "were not told" in caplog.text
    never.set()


PLUGIN = """
import json
from flowctl import hookimpl

@hookimpl
def flowctl_on_event(event):
    with open("events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")
"""


def test_a_plugin_hears_all_of_a_run_before_the_command_is_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ears.py").write_text(PLUGIN)
    (tmp_path / "w.yaml").write_text(
        "dsl: 1\nname: w\nsignals: {go: {}}\n"
        "steps: [{id: a, wait_for_signal: go}, {id: b, activity: core.echo}]\n"
    )
    flowctl: Flowctl = caller(capsys)
    options = ("--db", "t.db", "--plugins-dir", "plugins")
    assert flowctl("run", "w.yaml", "--id", "one", "--wait", "0s", *options).code == 3
    assert types(tmp_path) == ["run.started", "step.waiting"]
    flowctl("signal", "one", "go", *options)
    assert flowctl("resume", "one", *options).code == 0
    assert types(tmp_path)[2:] == ["step.completed", "step.started", "step.completed", "run.completed"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events[2]["data"]["started_at"] == events[1]["time"], "known from the journal"


def types(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "events.jsonl").read_text().splitlines()
        return [json.loads(line)["type"].removeprefix("dev.flowctl.") for line in lines]
    return []
