"""What it takes to test: ``python -m benchmarks.testing``.

1,000 cases of a workflow of ten steps, as one test file, by the command as a whole process; and one case that
takes 30 days.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASES, STEPS, TARGET = 1_000, 10, 10
"""Of the test file; of the workflow; and the seconds that the command may take."""


def workflow() -> dict[str, Any]:
    """Ten steps, each of which is called with the answer of the one before and can be undone."""
    steps = [
        {
            "id": f"s{number}",
            "activity": "bench.next",
            "with": {"n": f"${{{{ steps.s{number - 1}.output.n }}}}" if number else "${{ input.n }}"},
            "compensate": {"activity": "bench.undo", "with": {"n": "${{ result.n }}"}},
        }
        for number in range(STEPS)
    ]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return {
        "dsl": 1,
        "name": "bench",
        "input": schema,
        "steps": steps,
        "output": f"${{{{ steps.s{STEPS - 1}.output.n }}}}",
    }


def cases() -> dict[str, Any]:
    """Cases that differ in their input."""
    made = [
        {"case": f"from {number}", "input": {"n": number}, "expect": {"output": number + STEPS}}
        for number in range(CASES)
    ]
    mocks = {"bench.next": {"return": {"n": "${{ args.n + 1 }}"}}, "bench.undo": {}}
    return {"workflow": "./bench.yaml", "mocks": mocks, "cases": made}


MONTH = {
    "dsl": 1,
    "name": "month",
    "timeout": "40d",
    "steps": [
        {
            "id": "days",
            "foreach": "range(30)",
            "steps": [{"sleep": "1d"}, {"id": "a", "activity": "bench.next"}],
        }
    ],
}


def tested(folder: Path, document: dict[str, Any], tests: dict[str, Any]) -> dict[str, Any]:
    """The summary of ``flowctl test --json``."""
    (folder / f"{document['name']}.yaml").write_text(json.dumps(document))
    (folder / f"{document['name']}.test.yaml").write_text(json.dumps(tests))
    command = [
        sys.executable,
        "-m",
        "flowctl",
        "test",
        "--json",
        str(folder / f"{document['name']}.test.yaml"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=folder, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        summary = tested(folder, workflow(), cases())["summary"]
        seconds = summary["milliseconds"] / 1000
        print(
            f"{summary['passed']:,} cases of {STEPS} steps:"
            f" {seconds:.2f} s, target {TARGET} s ({seconds / TARGET:.2f})"
        )
        month = {
            "workflow": "./month.yaml",
            "mocks": {"bench.next": {}},
            "cases": [{"case": "a month", "expect": {"elapsed": "30d"}}],
        }
        case = tested(folder, MONTH, month)["files"][0]["cases"][0]
        print(f"{case['elapsed'] / 86_400:g} days of a run: {case['milliseconds']:.1f} ms")


if __name__ == "__main__":
    main()
