"""The short form of killing processes at random; ``kill_examples`` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_runs_of_the_examples_that_are_killed_end_as_if_they_had_not_been() -> None:
    command = [sys.executable, "-m", "tests.crash.kill_examples", "--seed", "7", "--kills", "25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout
