"""What a command costs above ``python -c pass``, on an existing database and a known document, into a pipe.

Whole processes, each command in turn with the empty one, so that a machine that slows down slows both.
Bytecode is kept, as it is where flowctl is installed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Target

TIMES = 11

PLUGIN = '''
from flowctl import activity

@activity("bench.noop")
async def noop(n: int) -> int:
    """Nothing."""
    return n
'''

DOCUMENT = "dsl: 1\nname: bench\nsteps:\n" + "".join(
    f'  - {{id: s{number}, activity: bench.noop, with: {{n: "${{{{ input.n }}}}"}}}}\n' for number in range(5)
)


def seconds(arguments: list[str], folder: Path) -> float:
    """How long one process takes."""
    begun = time.perf_counter()
    subprocess.run(arguments, cwd=folder, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - begun


def above_nothing(arguments: list[str], folder: Path) -> float:
    """The median of what a command takes longer than an empty Python, in milliseconds."""
    empty = [sys.executable, "-c", "pass"]
    seconds(arguments, folder)
    return 1000 * statistics.median(seconds(arguments, folder) - seconds(empty, folder) for _ in range(TIMES))


def main() -> list[Target]:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plugins").mkdir()
        (folder / "plugins" / "bench.py").write_text(PLUGIN)
        (folder / "bench.yaml").write_text(DOCUMENT)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ |= {
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
            "FLOWCTL_DB": str(folder / "flowctl.db"),
            "FLOWCTL_PLUGINS_DIR": str(folder / "plugins"),
        }
        flowctl = [sys.executable, "-m", "flowctl"]
        seconds([*flowctl, "run", "bench.yaml", "-i", "n=1"], folder)
        found = []
        print(f"{'command':40} {'above python -c pass':>22} {'target':>8}")
        for arguments, target in (
            (["--help"], 80),
            (["status", "@last"], 130),
            (["run", "bench.yaml", "-i", "n=1"], 250),
        ):
            taken = above_nothing([*flowctl, *arguments], folder)
            print(f"flowctl {' '.join(arguments):32} {taken:19.0f} ms {target:5} ms")
            what = f"flowctl {' '.join(arguments)}, above python -c pass"
            found.append(Target(what, taken, target, "ms"))
    return found


if __name__ == "__main__":
    main()
