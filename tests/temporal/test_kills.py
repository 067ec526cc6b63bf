"""The short form of killing workers, and the server, at random; ``kill_on_temporal`` is the long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from flowctl.runtimes.temporal.server import VARIABLE
from tests.console import ROOT


def test_runs_whose_workers_and_server_are_killed_do_nothing_twice_and_end_as_they_should(
    program: str,
) -> None:
    """In a process of its own: it forks."""
    command = [sys.executable, "-m", "tests.crash.kill_on_temporal"]
    done = subprocess.run(
        [*command, "--seed", "1", "--kills", "10", "--runs", "6"],
        cwd=ROOT,
        env={**os.environ, VARIABLE: program},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert (found["workers killed"], found["server restarts"], found["violations"]) == (10, 1, 0)
