"""Torture every example, and print what was done to it as a table.

    python -m tests.crash.torture_examples --seed 2 --points 10

That is ``flowctl torture`` for each test file of the examples. Exits with 1 on any violation, after printing
the commands that repeat them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (
    *("cases", "points", "kills", "io_errors", "stops", "delays", "clock_jumps"),
    *("recoveries", "effects", "otherwise", "ties", "violations"),
)


def row(name: str, counts: Mapping[str, int]) -> str:
    """A line of the table."""
    return f"| {name} | {' | '.join(f'{counts[column]:,}' for column in COLUMNS)} |"


def tortured(file: Path, seed: int, points: int) -> dict[str, Any]:
    """What ``flowctl torture --json`` says."""
    command = [sys.executable, "-m", "flowctl", "torture", str(file.relative_to(ROOT)), "--json"]
    command += ["--seed", str(seed), "--points", str(points)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Torture; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", type=int, default=10)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    violations = []
    print(f"| example | {' | '.join(column.replace('_', ' ') for column in COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for file in sorted(ROOT.glob("examples/*/*.test.yaml")):
        found = tortured(file, options.seed, options.points)
        print(row(f"`{file.name.removesuffix('.test.yaml')}`", found["summary"]), flush=True)
        total.update({column: found["summary"][column] for column in COLUMNS})
        violations += [
            f"{file.name}, {case['case']}, at {each['point']}: {each['what']}"
            for case in found["cases"]
            for each in case["violations"]
        ]
    print(row("all", total))
    print(*violations, sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
