"""flowctl beside peers that are no library: the same work done by Restate, Temporal and Prefect, each of them
a server with clients beside it.

    python -m benchmarks.others [--rounds N] [--quick] [--write] [Restate] [Temporal] [Prefect]

Restate needs Node and npm, Temporal its server's program (``make temporal``). All have the settings they are
shipped with, and keep their data on the same disk. Their steps cross a network, if only the machine's own;
that is what they are, and what their users have. Temporal's is a development server, one process on an SQLite
file, not a cluster. Who takes long is given less to do. ``--write`` adds the rows to those of docs/.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks import report, steps, work
from benchmarks.comparison import OURS, Subject, in_turn
from benchmarks.environments import PEERS, Missing, node_modules, python_with
from benchmarks.figures import Comparison, Row, compared, keep, machine
from flowctl.runtimes.temporal import server


class Peer(NamedTuple):
    """Somebody who does the same work. ``command`` does it, given a folder, what, and how much: so many
    ``steps`` of one run, or so many ``runs`` at once, for which ``wanted`` is our ratio.
    """

    name: str
    version: str
    command: Callable[[Path], list[str]]
    steps: int
    runs: int
    wanted: str = ""

    def work(self, folder: Path, what: str, number: int) -> float:
        """Seconds that the work took."""
        command = [*self.command(folder), what, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{self.name} failed at {what}: {done.stderr[-500:]}")
        return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def restate() -> Peer:
    """Restate, by Node."""
    modules = node_modules()
    package = json.loads((modules / "@restatedev" / "restate-server" / "package.json").read_text())
    program = ["node", str(PEERS / "restate_work.mjs"), str(modules)]
    return Peer(
        "Restate", package["version"], lambda folder: [*program, str(folder)], 500, 1_000, "at least 10"
    )


def temporal() -> Peer:
    """Temporal's development server, and its Python library, which flowctl has as well."""
    program = server.program()
    if program is None:
        raise Missing(f"its server is not here: `make temporal` builds it; name it in {server.VARIABLE}")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Server ([0-9.]+)", said)
    command = [sys.executable, str(PEERS / "temporal_work.py"), program]
    known = f"{found.group(1) if found else said.strip()} by Python {version('temporalio')}"
    return Peer("Temporal", known, lambda folder: [*command, str(folder), _free_port()], 200, 200)


def prefect() -> Peer:
    """Prefect, in its own Python."""
    python = python_with("prefect")
    command = [str(python), str(PEERS / "prefect_work.py")]
    code = "from importlib.metadata import version; print(version('prefect'))"
    said = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout
    return Peer("Prefect", said.strip(), lambda folder: [*command, str(folder), _free_port()], 50, 20)


def _free_port() -> str:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


ALL: dict[str, Callable[[], Peer]] = {"Restate": restate, "Temporal": temporal, "Prefect": prefect}


def rows(peer: Peer, rounds: int, quick: bool) -> list[Row]:
    """The same rows as those of DBOS; where there is a target, also by two processes."""
    count, runs = (peer.steps // 5, peer.runs // 10) if quick else (peer.steps, peer.runs)
    theirs: Subject = lambda folder: runs * work.STEPS / peer.work(folder, "at_once", runs)  # noqa: E731
    sequential: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_sequential(folder, count),
        peer.name: lambda folder: count / peer.work(folder, "sequential", count),
    }
    at_once: dict[str, Subject] = {
        OURS: lambda folder: steps.flowctl_at_once(folder, runs, work.STEPS),
        peer.name: theirs,
    }
    by_two: dict[str, Subject] = {
        "flowctl, two processes": lambda folder: steps.flowctl_processes(folder, runs, work.STEPS),
        peer.name: theirs,
    }
    beside = f"beside {peer.name}"
    what = f"{beside}: {runs:,} runs of {work.STEPS} steps at once"
    wanted = {peer.name: peer.wanted} if peer.wanted else {}
    made = [
        compared(f"{beside}: one run, step after step", "steps/s", in_turn(rounds, sequential, {}), {}),
        compared(what, "steps/s", in_turn(rounds, at_once, {}), wanted),
    ]
    if wanted:
        made.append(compared(f"{what}, by two processes", "steps/s", in_turn(rounds, by_two, {}), wanted))
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument("--write", action="store_true", help="add the figures to those of docs/")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"some of {', '.join(ALL)}; all by default")
    options = parser.parse_args(arguments)
    made = Comparison(machine(), {}, [])
    for name in options.peers or ALL:
        try:
            peer = ALL[name]()
        except Missing as missing:
            print(f"without {name}, which cannot be installed here: {missing}\n")
            continue
        made.versions[name] = peer.version
        made.rows += rows(peer, options.rounds, options.quick)
    print(report.table(made))
    if options.write:
        keep(made, last=True)
        report.write()


if __name__ == "__main__":
    main()
