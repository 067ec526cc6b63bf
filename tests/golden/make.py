"""Histories of a released version, to be kept: ``python -m tests.golden.make VERSION``.

Real runs of the examples on SQLite, by the command line, exported as they ended or wait. What is there
already stays as it is: a golden history is made by the version that it is named after, and by no other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"

ORDER = {"order_id": "0012", "items": ["lamp"], "email": "ada@example.com", "express": True}
DESK = {"item": "desk", "amount": 900, "email": "ada@example.com"}

RUNS: Mapping[str, tuple[str, Mapping[str, Any], Sequence[Sequence[str]]]] = {
    "order-waits": ("order/order.yaml", ORDER | {"amount": 1500}, []),
    "order-completed": (
        "order/order.yaml",
        ORDER | {"amount": 1500},
        [("approve", '{"by": "Grace"}')],
    ),
    "order-undone": ("order/order.yaml", ORDER | {"amount": 900, "items": ["piano"]}, []),
    "approval-revised": (
        "approval-loop/approval.yaml",
        DESK,
        [("revise", '{"amount": 700}'), ("revise", '{"amount": 5000}'), ("approve", "null")],
    ),
    "premium-completed": (
        "premium/premium.yaml",
        {"order_id": "0012", "email": "ada@example.com", "amount": 100, "message": "Well done"},
        [],
    ),
    "dashboard-completed": ("dashboard/dashboard.yaml", {"region": "north"}, []),
}
"""Workflow, input and signals by name."""


def main(version: str) -> None:
    folder = HERE / version
    folder.mkdir(exist_ok=True)
    for name, (workflow, data, signals) in RUNS.items():
        if not (folder / f"{name}.jsonl").exists():
            _make(folder / f"{name}.jsonl", name, EXAMPLES / workflow, data, signals)


def _make(
    file: Path, name: str, workflow: Path, data: Mapping[str, Any], signals: Sequence[Sequence[str]]
) -> None:
    with tempfile.TemporaryDirectory() as here:
        environment = os.environ | {
            "FLOWCTL_PLUGINS_DIR": str(workflow.parent),
            "FLOWCTL_SECRET_MAIL_TOKEN": "demo",
        }

        def flowctl(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "flowctl", *arguments], cwd=here, env=environment, check=False
            )

        flowctl("run", str(workflow), "--input", json.dumps(data), "--id", name, "--wait", "5s")
        for signal, payload in signals:
            flowctl("signal", name, signal, *(["--payload", payload] if payload != "null" else []))
            flowctl("resume", name, "--wait", "5s")
        flowctl("history", name, "--export", str(file))


if __name__ == "__main__":
    main(sys.argv[1])
