"""Functions of plugins in documents: who needs them, and what becomes of a run whose worker lacks one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.function_helpers import LACKS, furnish, live_through


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def flowctl(folder: Path, *words: str, plugins: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowctl", *words, "--db", "runs.db", "--plugins-dir", plugins]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_every_command_knows_the_functions_of_plugins(folder: Path) -> None:
    live_through(folder, "runs.db")


def test_a_run_is_read_and_sent_signals_by_who_lacks_a_function(folder: Path) -> None:
    flowctl(folder, "run", "doubling.yaml", "--id", "one", plugins="plugins")
    for words in (["status", "one"], ["history", "one"], ["signal", "one", "go"]):
        done = flowctl(folder, *words, plugins="empty")
        assert done.returncode == 0, done.stderr
    assert json.loads(flowctl(folder, "resume", "one", "--json", plugins="plugins").stdout)["output"] == 8


def test_a_worker_without_a_function_says_so_in_a_line_and_the_run_is_blocked(folder: Path) -> None:
    flowctl(folder, "start", "doubling.yaml", "--id", "one", plugins="plugins")
    flowctl(folder, "signal", "one", "go", plugins="plugins")
    worked = flowctl(folder, "worker", "--drain", plugins="empty")
    [line] = [line for line in worked.stdout.splitlines() if "double" in line]
    assert "■  one  blocked" in line
    assert line.endswith(f"it cannot be driven: {LACKS}")
    assert worked.stderr == ""
    blocked = json.loads(flowctl(folder, "status", "one", "--json", plugins="empty").stdout)
    assert (blocked["status"], blocked["blocked"]["reason"]) == ("blocked", f"it cannot be driven: {LACKS}")
    lacking = flowctl(folder, "resume", "one", plugins="empty")
    assert (lacking.returncode, lacking.stderr) == (2, f"error[ExpressionError]: {LACKS}\n")
    assert json.loads(flowctl(folder, "resume", "one", "--json", plugins="plugins").stdout)["output"] == 8


def test_children_are_run_and_undone_by_a_worker_that_has_their_functions(folder: Path) -> None:
    """One that lacks them parks the parent: nothing has failed."""

    def run(*words: str, plugins: str, exits: int = 0) -> str:
        done = flowctl(folder, *words, plugins=plugins)
        assert done.returncode == exits, done.stderr
        return done.stdout

    def is_blocked(path: str) -> None:
        run("worker", "--drain", plugins="empty")
        parent = json.loads(run("status", "one", "--json", plugins="empty"))
        assert (parent["status"], parent["blocked"]) == (
            "blocked",
            {"code": "ExpressionError", "reason": LACKS, "path": path},
        )

    run("start", "parent.yaml", "--id", "one", plugins="plugins")
    is_blocked("child")
    said = run("resume", "one", plugins="plugins", exits=3)
    assert "flowctl status one/child" in said
    assert "flowctl signal" not in said

    run("signal", "one/child", "go", plugins="empty")
    run("worker", "--drain", plugins="empty")
    child = json.loads(run("status", "one/child", "--json", plugins="empty"))
    assert (child["status"], child["blocked"]["reason"]) == ("blocked", f"it cannot be driven: {LACKS}")
    run("resume", "one", plugins="plugins", exits=3)

    run("signal", "one", "fail", plugins="empty")
    is_blocked("undone.undo")
    ended = json.loads(run("resume", "one", "--json", plugins="plugins", exits=1))
    assert (ended["status"], ended["saga"]["undone"]) == ("compensated", ["undone", "child"])
