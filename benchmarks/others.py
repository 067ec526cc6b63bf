"""flowctl beside peers that are no library: the same work done by Restate, a server with clients beside it.

    python -m benchmarks.others [--rounds N] [--quick] [--write]

Needs Node and npm. Restate's settings are those it is shipped with. Its steps cross a network, if only the
machine's own; that is what it is, and what its users have. ``--write`` adds the rows to those of docs/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from benchmarks import report, steps, work
from benchmarks.comparison import OURS, Subject, in_turn
from benchmarks.environments import PEERS, Missing, node_modules
from benchmarks.figures import Comparison, Row, compared, keep, machine

RESTATE = "Restate"


class Restate:
    """Restate, by Node."""

    def __init__(self, modules: Path) -> None:
        self._modules = modules

    @property
    def version(self) -> str:
        """Of the server."""
        package = self._modules / "@restatedev" / "restate-server" / "package.json"
        return str(json.loads(package.read_text())["version"])

    def work(self, folder: Path, what: str, number: int) -> float:
        """Seconds that the work took."""
        command = [
            "node",
            str(PEERS / "restate_work.mjs"),
            str(self._modules),
            str(folder),
            what,
            str(number),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise RuntimeError(f"Restate failed at {what}: {done.stderr[-500:]}")
        return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def rows(restate: Restate, rounds: int, quick: bool) -> list[Row]:
    """The same rows as those of DBOS."""
    count, runs = (100, 100) if quick else (500, 1000)
    sequential: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_sequential(folder, count),
        RESTATE: lambda folder: count / restate.work(folder, "sequential", count),
    }
    at_once: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_at_once(folder, runs, work.STEPS),
        RESTATE: lambda folder: runs * work.STEPS / restate.work(folder, "at_once", runs),
    }
    by_two: dict[str, Subject] = {
        "flowctl, two processes": lambda folder: steps.flowctl_processes(folder, runs, work.STEPS),
        RESTATE: at_once[RESTATE],
    }
    what = f"beside Restate: {runs:,} runs of {work.STEPS} steps at once"
    return [
        compared("beside Restate: one run, step after step", "steps/s", in_turn(rounds, sequential, {}), {}),
        compared(what, "steps/s", in_turn(rounds, at_once, {}), {RESTATE: "at least 10"}),
        compared(
            f"{what}, by two processes", "steps/s", in_turn(rounds, by_two, {}), {RESTATE: "at least 10"}
        ),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument("--write", action="store_true", help="add the figures to those of docs/")
    options = parser.parse_args(arguments)
    try:
        restate = Restate(node_modules())
    except Missing as missing:
        parser.exit(1, f"Restate cannot be installed here: {missing}\n")
    made = Comparison(machine(), {"Restate": restate.version}, rows(restate, options.rounds, options.quick))
    print(report.table(made))
    if options.write:
        keep(made, last=True)
        report.write()


if __name__ == "__main__":
    main()
