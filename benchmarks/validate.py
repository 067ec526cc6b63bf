"""What it takes to check a document of 1,000 steps: ``python -m benchmarks.validate [--profile]``.

Each step calls an activity whose signature is known, with three expressions: a value from the step before, a
text, a comparison. The command is measured as a whole process, above ``python -c pass``.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.figures import Target
from benchmarks.startup import seconds
from flowctl import document
from flowctl.document.diagnostics import Diagnostic
from flowctl.plugins import load

STEPS, TARGET = 1_000, 1_000
"""Of the document; and milliseconds that the command may take."""

TIMES = 9

PLUGIN = '''
from typing import TypedDict
from flowctl import ActivityContext, activity

class Answer(TypedDict):
    n: int

@activity("bench.next")
def next_number(n: int, label: str, small: bool, ctx: ActivityContext) -> Answer:
    """The number after this one."""
    return {"n": n + 1}
'''

HEAD = """dsl: 1
name: bench
input: {type: object, properties: {n: {type: integer}, name: {type: string}}}
steps:
"""

STEP = """  - id: s{number}
    activity: bench.next
    with: {{n: "${{{{ {before}.n }}}}", label: "step {number} of ${{{{ input.name }}}}", small: "${{{{ {before}.n < {number} and input.n > 0 }}}}"}}
"""  # noqa: E501 - as an author would write it


def generated(steps: int) -> str:
    """A document of so many steps, each with three expressions."""
    before = ["input", *(f"steps.s{number}.output" for number in range(steps))]
    return HEAD + "".join(STEP.format(number=number, before=before[number]) for number in range(steps))


def main(*, profiled: bool = False) -> list[Target]:
    """Print what the check takes, and the command as a whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.py").write_text(PLUGIN)
        (folder / "bench.yaml").write_text(generated(STEPS))
        plugins = load([folder], entry_points=False)
        world = document.World(plugins.activities, folder=folder)
        check = partial(document.problems, generated(STEPS), "bench.yaml", world=world)
        assert check() == []
        if profiled:
            profile = cProfile.Profile()
            profile.runcall(check)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return []
        taken = [taken_by(check) for _ in range(TIMES)]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ |= {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "FLOWCTL_PLUGINS_DIR": str(folder)}
        command = [sys.executable, "-m", "flowctl", "validate", "bench.yaml"]
        seconds(command, folder)  # compiles
        empty = min(seconds([sys.executable, "-c", "pass"], folder) for _ in range(TIMES))
        whole = [seconds(command, folder) - empty for _ in range(TIMES)]
        print(f"{'milliseconds':42} {'best':>7} {'median':>7} {'target':>7}")
        show("the check alone", taken, "")
        show("flowctl validate, above python -c pass", whole, str(TARGET))
        what = f"flowctl validate of {STEPS:,} steps, above python -c pass"
        return [Target(what, 1000 * statistics.median(whole), TARGET, "ms")]


def taken_by(call: partial[list[Diagnostic]]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def show(what: str, taken: list[float], target: str) -> None:
    print(f"{what:42} {1000 * min(taken):7.0f} {1000 * statistics.median(taken):7.0f} {target:>7}")


if __name__ == "__main__":
    main(profiled="--profile" in sys.argv[1:])
