"""What people do to children, and to parents because of their children: real processes, a real database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = """
import pathlib
from flowctl import activity

@activity("t.do")
def do(what: str) -> str:
    with open("log", "a") as log:
        print(what, file=log)
    return what

@activity("t.gate")
def gate(name: str) -> None:
    if not pathlib.Path(name).exists():
        raise RuntimeError(f"{name} is shut")
"""

DOCUMENTS: dict[str, list[Any]] = {
    "pays": [
        {"id": "g", "activity": "t.gate", "with": {"name": "open"}, "retry": False},
        {
            "id": "pay",
            "activity": "t.do",
            "with": {"what": "pay"},
            "compensate": {"activity": "t.do", "with": {"what": "refund"}},
        },
    ],
    "buys": [{"id": "c", "workflow": "./pays.yaml"}],
    "orders": [{"id": "d", "workflow": "./pays.yaml", "detached": True}],
    "stubborn": [
        {
            "id": "a",
            "activity": "t.do",
            "with": {"what": "a"},
            "compensate": {"activity": "t.gate", "with": {"name": "open"}, "retry": False},
        }
    ],
    "gives_up": [{"id": "c", "workflow": "./stubborn.yaml"}, {"fail": {"type": "Boom"}}],
    "waits": [{"wait_for_signal": "go"}],
    "awaits": [{"id": "c", "workflow": "./waits.yaml"}],
    "tagged": [
        {"attributes": {"search": {"card": "${{ input.card }}"}, "memo": {"card": "${{ input.card }}"}}}
    ],
    "hides": [{"id": "c", "workflow": "./tagged.yaml", "with": {"card": "4711"}, "secret": True}],
}


class Project:
    """A folder with the documents and the plugin; what is called answers with its output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "plugins").mkdir()
        (folder / "plugins" / "t.py").write_text(PLUGIN)
        for name, steps in DOCUMENTS.items():
            document = {"dsl": 1, "name": name, "steps": steps}
            if name == "waits":
                document["signals"] = {"go": {}}
            if name == "tagged":
                document["input"] = {"type": "object", "properties": {"card": {"type": "string"}}}
            (folder / f"{name}.yaml").write_text(json.dumps(document))

    def __call__(self, *words: str, exits: int = 0) -> str:
        command = [sys.executable, "-m", "flowctl", *words, "--db", "runs.db", "--plugins-dir", "plugins"]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == exits, done.stdout + done.stderr
        return done.stdout

    def states(self) -> dict[str, str]:
        return {run["id"]: run["status"] for run in json.loads(self("list", "--json"))}

    def done(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().split() if log.exists() else []

    def open_gate(self) -> None:
        (self.folder / "open").touch()


@pytest.fixture
def flowctl(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_failed_child_is_not_retried_besides_the_parent_that_runs_it_anew(flowctl: Project) -> None:
    flowctl("run", "buys.yaml", "--id", "b", exits=1)
    flowctl.open_gate()
    flowctl("retry", "--all")
    flowctl("retry", "--all")
    assert flowctl.states() == {"b": "completed", "b/c#2": "completed", "b/c": "failed"}
    assert flowctl.done() == ["pay"]


def test_a_child_that_its_parent_only_started_is_retried_with_all_others(flowctl: Project) -> None:
    flowctl("run", "orders.yaml", "--id", "o")
    flowctl("worker", "--drain")
    flowctl.open_gate()
    flowctl("retry", "--all")
    assert flowctl.states() == {"o": "completed", "o/d": "completed"}


def test_what_failed_to_undo_a_child_is_named_and_retried_before_its_parent(flowctl: Project) -> None:
    said = flowctl("run", "gives_up.yaml", "--id", "g", exits=6)
    commands = [line.split(" --db")[0].strip() for line in said.splitlines() if "flowctl retry" in line]
    assert commands == ["flowctl retry 'g/c~undo'", "flowctl retry g", "flowctl retry g --skip c"]
    flowctl.open_gate()
    flowctl("retry", "--all")
    assert flowctl.states() == {"g": "compensated", "g/c": "completed", "g/c~undo": "compensated"}


def test_a_child_that_was_terminated_leaves_its_step_in_doubt(flowctl: Project) -> None:
    flowctl("run", "awaits.yaml", "--id", "a", "--wait", "0s", exits=3)
    flowctl("terminate", "a/c")
    ended = json.loads(flowctl("resume", "a", "--json", exits=6))
    assert (ended["status"], ended["saga"]["in_doubt"]) == ("compensation_failed", ["c"])


def test_a_child_has_a_graph(flowctl: Project) -> None:
    flowctl("run", "awaits.yaml", "--id", "a", "--wait", "0s", exits=3)
    assert flowctl("graph", "a/c").startswith("⏳ a/c · waits v1  waiting")
    flowctl("graph", "a/nobody", exits=4)
    flowctl("graph", "nowhere/nothing.yaml", exits=2)


def test_a_child_that_a_secret_step_runs_publishes_nothing(flowctl: Project) -> None:
    flowctl("run", "hides.yaml", "--id", "h")
    flowctl("history", "h/c", "--export", "exported")
    for said in (flowctl("status", "h/c", "--json"), flowctl("list", "--json")):
        assert "4711" not in said
    assert "4711" not in (flowctl.folder / "exported").read_text()
    assert flowctl("list", "--where", "card=4711", "--json").strip() == "[]"
