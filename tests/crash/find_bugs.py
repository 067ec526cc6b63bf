"""Run the harnesses against bugs: which finds which?

    python -m tests.crash.find_bugs           # writes the table into docs/guarantees.md; a quarter of an hour

Each harness is run in a short form, first as it is, and then with each bug (``bugs``) seeded. Exits with 1 if
one finds something without a bug, or misses a bug that it should find.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.crash.bugs import BUGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- which harness finds which bug: python -m tests.crash.find_bugs -->", "<!-- end -->"
LONGEST = 150

SHORT: Mapping[str, Sequence[str]] = {
    "kill_everywhere": ("--points", "24", "--story", "saga"),
    "fail_everywhere": ("--points", "24", "--story", "saga"),
    "lose_power": ("--permille", "15", "--scenario", "an order"),
    "jump_clock": ("--rounds", "10"),
    "rivals": ("--seconds", "8"),
    "crowd": ("--seconds", "5", "--stops"),
}
"""The harnesses, and how they are run here."""

SHOULD_FIND: Mapping[str, Sequence[str]] = {
    "synchronous-normal": ("lose_power",),
    "synchronous-off": ("lose_power",),
    "no-fence": ("rivals",),
    "commit-again": ("fail_everywhere",),
    "lost-tail": ("rivals", "kill_everywhere", "lose_power"),
    "undo-twice": ("kill_everywhere", "fail_everywhere", "crowd"),
    "effect-first": ("kill_everywhere", "fail_everywhere"),
    "signals-forgotten": ("crowd",),
    "timers-trust-the-loop": ("jump_clock",),
}


def finds(harness: str, bug: str | None) -> bool:
    """Whether a harness finds something, in its short form."""
    command = [sys.executable, "-m", f"tests.crash.{harness}", *SHORT[harness]]
    if bug is not None:
        command += ["--bug", bug]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1) or not done.stdout:  # it could not even say what it has found
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.returncode == 1


def main() -> int:
    """All of it; the table."""
    wrong = [f"{harness} finds something without a bug" for harness in SHORT if finds(harness, None)]
    lines = [
        "| bug | " + " | ".join(f"`{harness}`" for harness in SHORT) + " |",
        "|---" * (len(SHORT) + 1) + "|",
    ]
    for bug in BUGS:
        found = [harness for harness in SHORT if finds(harness, bug)]
        wrong += [f"{harness} misses {bug}" for harness in SHOULD_FIND[bug] if harness not in found]
        said = (BUGS[bug].__doc__ or "").strip().partition("\n")[0]
        lines.append(
            f"| {said} | " + " | ".join("found" if harness in found else "–" for harness in SHORT) + " |"
        )
        print(lines[-1], flush=True)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN + "\n")
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")
    print("\n".join(wrong) or "every bug is found by whom it should be found by")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
