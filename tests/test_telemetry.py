"""Traces and metrics, as a collector receives them: real processes, OTLP over HTTP."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from flowctl import trace
from flowctl.activities import ActivityContext
from flowctl.default_plugins import modules, telemetry_asked_by
from flowctl.telemetry import setup
from tests.cli_helpers import Flowctl, caller
from tests.collector import Collector, collector

ROOT = Path(__file__).parent.parent
SECRET = "s3cr3t-0f-the-mail"


@pytest.fixture
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


def flowctl(folder: Path, to: Collector | None, *arguments: str, plugins: Path | None = None) -> int:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "FLOWCTL"))
    }
    environment |= {"FLOWCTL_SECRET_MAIL_TOKEN": SECRET, "PYTHONPATH": str(ROOT)}
    if to is not None:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = to.url
    command = [sys.executable, "-m", "flowctl", *arguments, "--db", "flowctl.db"]
    command += ["--plugins-dir", str(plugins or folder / "plugins")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


ORDER = (
    "--input",
    '{"order_id": "0012", "items": ["lamp"], "email": "grace@example.com", "express": true, "amount": %d}',
)


def test_the_order_example_is_one_trace_of_several_processes(tmp_path: Path, collected: Collector) -> None:
    example = ROOT / "examples" / "order"
    ask = (ORDER[0], ORDER[1] % 1500)
    assert (
        flowctl(tmp_path, collected, "run", str(example / "order.yaml"), "--id", "one", *ask, plugins=example)
        == 3
    )
    assert "? step reserve" in collected.tree(), "the run is not over"
    flowctl(tmp_path, None, "signal", "one", "approve", "--payload", '{"by": "Grace"}', plugins=example)
    assert flowctl(tmp_path, collected, "resume", "one", plugins=example) == 0
    assert collected.tree() == [
        "run order",
        "  step reserve",
        "    attempt shop.reserve_inventory",
        "  step charge",
        "    attempt payments.charge",
        "    attempt payments.charge",
        "    attempt payments.charge",
        "  step approval",
        "  step ship",
        "    attempt shop.ship",
        "  step confirm",
        "    attempt mail.send",
    ]
    assert len({span.trace_id for span in collected.spans.values()}) == 1
    assert collected.services == {"flowctl"}
    counted = {name: collected.count(f"flowctl.{name}") for name in (
        "runs.started", "runs.completed", "runs.failed", "run.duration", "steps.completed", "steps.retries",
    )}  # fmt: skip
    assert counted == {
        "runs.started": 1,
        "runs.completed": 1,
        "runs.failed": 0,
        "run.duration": 1,
        "steps.completed": 5,
        "steps.retries": 2,
    }
    assert all(SECRET.encode() not in body for body in collected.raw)


# ``sleepy`` says where it is, in its own span; each isolation in turn, and a child.
PLUGIN = """
import os, pathlib, signal
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

@activity("t.die")
def die() -> None:
    died = pathlib.Path("died")
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""
PARENT = """
dsl: 1
name: parent
steps:
  - {id: a, activity: t.thread}
  - id: both
    parallel: {left: [{id: b, activity: t.async}]}
  - {id: c, activity: t.process}
  - {id: d, workflow: ./child.yaml, compensate: none}
output: ${{ steps.a.output }}
"""
CHILD = """
dsl: 1
name: child
steps: [{id: e, activity: t.die}]
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
    "  step c",
    "    attempt t.process",
    "      in a process",
    "  step d",
    "    attempt ./child.yaml",
    "      run child",
    "        step e",
    "          attempt t.die",
]
UNDONE = """
dsl: 1
name: undone
steps:
  - {id: a, activity: t.thread, compensate: {activity: t.async}}
  - {id: b, activity: core.fail, with: {message: no carrier}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(PLUGIN)
    for name, text in (("parent", PARENT), ("child", CHILD), ("undone", UNDONE)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_spans_of_activities_and_runs_of_children_are_where_they_belong(
    folder: Path, collected: Collector
) -> None:
    """One process is killed in the middle; another one goes on in the same trace."""
    assert flowctl(folder, collected, "run", "parent.yaml", "--id", "one") == -signal.SIGKILL
    assert flowctl(folder, collected, "resume", "one") == 0
    whole = [line for line in collected.tree() if not line.startswith("?")]
    assert whole[0] == "run parent"
    assert whole[-5:] == TREE[-5:]
    [made] = [span for span in collected.spans.values() if span.name == "in a process"]  # sent in time
    assert made.parent_span_id.hex() == trace.attempt_span("one", "c", 1)
    assert len({span.trace_id for span in collected.spans.values()}) == 1


def test_spans_of_an_activity_are_inside_of_its_attempt(folder: Path, collected: Collector) -> None:
    (folder / "died").touch()
    assert flowctl(folder, collected, "run", "parent.yaml", "--id", "one") == 0
    assert collected.tree() == TREE


def test_what_fails_and_is_undone_is_marked_and_counted(folder: Path, collected: Collector) -> None:
    assert flowctl(folder, collected, "run", "undone.yaml", "--id", "one") == 1
    assert collected.tree() == [
        "run undone",
        "  step a",
        "    attempt t.thread",
        "      in a thread",
        "  step b",
        "    attempt core.fail",
        "  undo a",
        "    attempt t.async",
        "      in a coroutine",
    ]
    marked = {span.name: span.status.message for span in collected.spans.values() if span.status.code == 2}
    assert marked == {"step b": "Failed: no carrier", "attempt core.fail": "Failed: no carrier"}
    assert collected.count("flowctl.runs.compensated") == 1
    assert collected.count("flowctl.steps.failed") == 1
    assert collected.count("flowctl.steps.compensated") == 1
    assert collected.count("flowctl.queue_depth") == 0


def test_runs_that_wait_for_a_worker_are_counted(folder: Path, collected: Collector) -> None:
    assert flowctl(folder, None, "start", "undone.yaml", "--id", "one") == 0
    flowctl(folder, collected, "run", "undone.yaml", "--id", "two")
    assert collected.count("flowctl.queue_depth") == 1


# --- off, unless asked for


def test_nothing_of_it_is_imported_unless_asked_for(folder: Path) -> None:
    code = (
        "import sys; from flowctl.cli.entry import execute\n"
        "code = execute(['run', 'undone.yaml', '--db', 't.db', '--plugins-dir', 'plain'])\n"
        "names = ('opentelemetry', 'flowctl.telemetry')\n"
        "print(code, [name for name in sys.modules if name.startswith(names)])"
    )
    (folder / "undone.yaml").write_text("dsl: 1\nname: w\nsteps: [{id: a, activity: core.echo}]\n")
    (folder / "plain").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []"


ASKED: Mapping[str, tuple[dict[str, str], str | None]] = {
    "nothing": ({}, None),
    "an endpoint": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "one of traces": ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "h"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    "an empty one": ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
    "one, and disabled": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h", "OTEL_SDK_DISABLED": "TRUE"}, None),
}


@pytest.mark.parametrize(("environment", "by"), ASKED.values(), ids=ASKED)
def test_an_endpoint_asks_for_it(environment: dict[str, str], by: str | None) -> None:
    assert telemetry_asked_by(environment) == by
    assert ("flowctl.telemetry" in modules(environment)) == (by is not None)


def test_who_asks_without_the_extra_is_told_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name in [name for name in sys.modules if name.startswith("flowctl.telemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    call: Flowctl = caller(capsys)
    said = call("plugins", "--json").json["problems"]
    assert [problem["plugin"] for problem in said] == ["telemetry"]
    assert "pip install 'flowctl[otel]'" in said[0]["error"]


def test_a_variable_that_makes_no_sense_stops_nothing_but_telemetry(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "-1")
    monkeypatch.setattr("flowctl.telemetry._telemetry", functools.cache(provide_anew))
    call: Flowctl = caller(capsys)
    said = call("run", "undone.yaml", "--db", "t.db", "--json", "--plugins-dir", "plugins")
    assert (said.code, said.json["status"]) == (1, "compensated")
    assert "plugin telemetry" in said.err


def provide_anew() -> None:
    setup.provide()


def test_doctor_says_where_it_goes_without_a_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)
    call: Flowctl = caller(capsys)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert "off;" in telemetry_check(call)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://ann:pw@collector.example:4318/x")
    assert "go to https://collector.example:4318 (OTEL_EXPORTER_OTLP_ENDPOINT)" in telemetry_check(call)


def telemetry_check(call: Flowctl) -> str:
    return next(
        str(check["message"]) for check in call("doctor", "--json").json if check["name"] == "telemetry"
    )


def test_a_collector_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Hangs:
        def force_flush(self) -> bool:
            return never.wait()

    monkeypatch.setattr(setup, "PATIENCE", 0.01)
    setup.Providers(cast(Any, Hangs()), cast(Any, Hangs())).flush()
    assert not never.is_set()
    never.set()


def test_what_the_exporter_complains_of_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    complaints = setup._Complaints()
    for _ in range(3):
        complaints.handle(logging.LogRecord("o", logging.WARNING, "", 0, "refused\nagain", (), None))
    assert caplog.text.count("telemetry does not arrive") == 1


# --- ids


def test_an_activity_can_hand_on_where_it_is() -> None:
    where = ActivityContext(run_id="one", path="a", attempt=2, trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    assert where.traceparent == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{trace.attempt_span('one', 'a', 2)}-01"
    assert ActivityContext().traceparent is None


def test_ids_of_spans_are_for_ever() -> None:
    """Another version goes on in the trace of a run that this one has begun."""
    assert trace.run_span("order-1") == "89e28a280cc423ad"
    assert trace.step_span("order-1", "charge") == "ed15acc80a76adc0"
    assert trace.attempt_span("order-1", "charge", 1) == "fbdbfd701f76e2e8"
