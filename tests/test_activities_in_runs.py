"""What activities are given and can say, seen from whole runs at the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from flowctl import replace_resource
from tests.cli_helpers import Flowctl, caller

PLUGIN = """
import threading
from collections.abc import Iterator

from flowctl import ActivityContext, activity, hookimpl, resource

diary = []
told = threading.Event()

@resource
def pool() -> Iterator[str]:
    diary.append("open")
    yield "the pool"
    diary.append("close")

@activity("t.use")
def use(word: str, pool: str) -> str:
    diary.append(word)
    return pool

@activity("t.beat", retry={"attempts": 2, "delay": "1ms"})
def beat(ctx: ActivityContext) -> object:
    if ctx.attempt == 1:
        ctx.heartbeat({"page": 7})
        raise ConnectionError("lost")
    return ctx.last_heartbeat

@activity("t.patient")
def patient(ctx: ActivityContext) -> str:
    while not ctx.cancelled:
        told.wait(0.001)
    return "saw it"

@hookimpl
def flowctl_configure(settings):
    if settings.keys() - {"word"}:
        raise ValueError("only 'word' is known")
    diary.append(settings.get("word"))

@hookimpl
def flowctl_register_functions(register):
    register("diary", lambda: list(diary))
"""


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "tools.py").write_text(PLUGIN)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"\n[plugins.tools]\nword = "told"\n')
    return caller(capsys)


def workflow(folder: Path, body: str) -> str:
    (folder / "w.yaml").write_text(f"dsl: 1\nname: w\n{body}")
    return "w.yaml"


USE_TWICE = """
steps:
  - {id: one, activity: t.use, with: {word: one}}
  - {id: two, activity: t.use, with: {word: two}}
  - {id: read, set: {seen: "${{ diary() }}"}}
output: {pool: "${{ steps.two.output }}", seen: "${{ vars.seen }}"}
"""


def test_a_resource_is_opened_once_for_all_steps(flowctl: Flowctl, tmp_path: Path) -> None:
    run = flowctl("run", workflow(tmp_path, USE_TWICE), "--json")
    assert run.json["output"] == {"pool": "the pool", "seen": ["told", "open", "one", "two"]}


def test_a_resource_is_replaced_for_a_whole_run(flowctl: Flowctl, tmp_path: Path) -> None:
    file = workflow(tmp_path, USE_TWICE)
    with replace_resource(imported(tmp_path / "plugins" / "tools.py").pool, "a fake"):
        run = flowctl("run", file, "--json")
    assert run.json["output"] == {"pool": "a fake", "seen": ["told", "one", "two"]}


def test_tests_of_workflows_give_real_activities_all_the_same(flowctl: Flowctl, tmp_path: Path) -> None:
    workflow(tmp_path, USE_TWICE)
    seen = "[told, open, one, two]"
    (tmp_path / "w.test.yaml").write_text(
        "workflow: ./w.yaml\nunmocked: real\n"
        f"cases: [{{case: real, expect: {{output: {{pool: the pool, seen: {seen}}}}}}}]\n"
    )
    said = flowctl("test")
    assert said.code == 0, said.out


def imported(file: Path) -> ModuleType:
    """A plugin's file as a test imports it: a second module, beside the engine's."""
    spec = importlib.util.spec_from_file_location("tools_of_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_details_of_a_heartbeat_reach_the_next_attempt(flowctl: Flowctl, tmp_path: Path) -> None:
    file = workflow(tmp_path, "steps: [{id: a, activity: t.beat}]\noutput: ${{ steps.a.output }}\n")
    assert flowctl("run", file, "--json").json["output"] == {"page": 7}


def test_a_thread_sees_that_the_time_of_its_run_is_up(flowctl: Flowctl, tmp_path: Path) -> None:
    file = workflow(tmp_path, "timeout: 200ms\nsteps: [{id: a, activity: t.patient}]\n")
    run = flowctl("run", file, "--json").json
    assert (run["status"], run["error"]["type"]) == ("failed", "Timeout")
    assert run["steps"][0]["output"] == "saw it"


def test_settings_that_a_plugin_refuses_are_named_by_every_command(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"\n[plugins.tools]\nwrod = 1\n')
    said = flowctl("run", workflow(tmp_path, "steps: [{id: a, activity: t.beat}]\n"))
    assert said.code == 2
    assert "only 'word' is known" in said.err
    assert "t.beat" in said.err
