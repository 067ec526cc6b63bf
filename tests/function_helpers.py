"""A plugin with a function, a document that calls it, and what people do with its runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLUGIN = """
from flowctl import hookimpl

@hookimpl
def flowctl_register_functions(register):
    register("double", lambda number: number * 2)
"""

DOCUMENT = """
dsl: 1
name: doubling
signals: {go: {}}
steps:
  - wait_for_signal: go
  - set: {number: "${{ double(4) }}"}
output: ${{ vars.number }}
"""

SENDER = """
dsl: 1
name: sender
input: {type: object, properties: {run: {type: string}}}
steps: [{id: go, send_signal: {run: "${{ input.run }}", signal: go}}]
"""

PARENT = """
dsl: 1
name: parent
signals: {fail: {}}
steps:
  - {id: child, workflow: ./doubling.yaml}
  - {id: undone, workflow: ./undoing.yaml}
  - wait_for_signal: fail
  - fail: {type: Oops}
"""

UNDOING = """
dsl: 1
name: undoing
steps:
  - id: a
    activity: t.noted
    with: {text: done}
    compensate: {activity: t.noted, with: {text: "${{ double(4) }}"}}
"""
"""A child of whose compensation a function is part."""

NOTED = """
from flowctl import activity

@activity("t.noted")
def noted(text: str | int) -> str:
    return str(text)
"""

LACKS = "unknown function 'double'; no plugin here registers it"


def furnish(folder: Path) -> None:
    """Documents, and folders of plugins, one of which is empty."""
    for name in ("plugins", "empty"):
        (folder / name).mkdir()
        (folder / name / "noted.py").write_text(NOTED)
    (folder / "plugins" / "doubling.py").write_text(PLUGIN)
    (folder / "doubling.yaml").write_text(DOCUMENT)
    (folder / "sender.yaml").write_text(SENDER)
    (folder / "parent.yaml").write_text(PARENT)
    (folder / "undoing.yaml").write_text(UNDOING)


def live_through(folder: Path, database: str) -> None:
    """Every command that has to do with runs of the document."""

    def flowctl(*words: str, exits: int = 0) -> str:
        command = [sys.executable, "-m", "flowctl", *words, "--db", database, "--plugins-dir", "plugins"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (exits, False), done.stderr
        return done.stdout

    flowctl("run", "doubling.yaml", "--id", "one", exits=3)
    assert json.loads(flowctl("status", "one", "--json"))["status"] == "waiting"
    assert json.loads(flowctl("start", "doubling.yaml", "--id", "one", "--json"))["created"] is False
    assert [run["id"] for run in json.loads(flowctl("list", "--json"))] == ["one"]
    assert "go" in flowctl("graph", "one", "--format", "mermaid")
    flowctl("run", "sender.yaml", "-i", "run=one")
    assert json.loads(flowctl("resume", "one", "--json"))["output"] == 8
    flowctl("start", "doubling.yaml", "--id", "two")
    flowctl("signal", "two", "go")
    assert json.loads(flowctl("resume", "two", "--json"))["output"] == 8
    assert json.loads(flowctl("history", "two", "--jsonl").splitlines()[-1])["kind"] == "ended"
    flowctl("replay", "two", "--from", "_set1")
