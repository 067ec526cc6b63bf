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
