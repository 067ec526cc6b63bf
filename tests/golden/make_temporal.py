"""Temporal's own histories of a released version, kept: ``python -m tests.golden.make_temporal VERSION``.

Real runs on a development server, by the command line, as Temporal's tools export them: one file for each
Temporal run, so that a child and what continued as new have files of their own. What is there already stays
as it is: a golden history is made by the version that it is named after, and by no other.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.crash.stories import CORPUS
from tests.golden.make import EXAMPLES, ORDER
from tests.temporal.long import go
from tests.temporal.server import Server, serving

HERE = Path(__file__).parent / "temporal"

RUNS: Mapping[str, tuple[Path, Mapping[str, Any], Sequence[Sequence[str]]]] = {
    "order-completed": (EXAMPLES / "order/order.yaml", ORDER | {"amount": 900}, []),
    "order-approved": (
        EXAMPLES / "order/order.yaml",
        ORDER | {"amount": 1500},
        [("approve", '{"by": "Grace"}')],
    ),
    "order-undone": (EXAMPLES / "order/order.yaml", ORDER | {"amount": 900, "items": ["piano"]}, []),
    "branches": (CORPUS / "together.yaml", {}, []),
    "each-undone": (CORPUS / "each.yaml", {}, []),
    "children-undone": (CORPUS / "parent.yaml", {}, []),
    "caught": (CORPUS / "tries.yaml", {}, []),
    "rounds": (CORPUS / "rounds.yaml", {}, []),
}
"""Workflow, input and signals by workflow id."""

MOVED = 12
"""Steps of a run that continues as new by itself, after each ``MOVES_AT`` events."""

MOVES_AT = 60

MACHINE = frozenset({"identity", "stackTrace"})


def main(version: str) -> None:
    """Make those that are not there."""
    folder = HERE / version
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as here, serving(Path(here)) as server:
        for name, (workflow, data, signals) in RUNS.items():
            _run(server, Path(here), name, workflow, data, signals)
        asyncio.run(go(server, MOVED, moves_at=MOVES_AT))
        asyncio.run(_export(server, folder))


def _run(
    server: Server,
    here: Path,
    name: str,
    workflow: Path,
    data: Mapping[str, Any],
    signals: Sequence[Sequence[str]],
) -> None:
    environment = os.environ | {
        "FLOWCTL_DB": server.url(),
        "FLOWCTL_LEDGER": str(here / "ledger.jsonl"),
        "FLOWCTL_PLUGINS_DIR": str(workflow.parent),
        "FLOWCTL_SECRET_MAIL_TOKEN": "demo",
    }

    def flowctl(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "flowctl", *arguments], cwd=here, env=environment, check=False)

    flowctl("run", str(workflow), "--input", json.dumps(data), "--id", name, "--wait", "5s")
    for signal, payload in signals:
        flowctl("signal", name, signal, "--payload", payload)
        flowctl("resume", name, "--wait", "5s")


async def _export(server: Server, folder: Path) -> None:
    client = await Client.connect(server.target)
    found = sorted([run async for run in client.list_workflows()], key=lambda run: run.start_time)
    numbers: dict[str, int] = {}
    for run in found:
        name = "moved" if run.workflow_type == "long" else run.id.replace("/", "-")
        numbers[name] = numbers.get(name, 0) + 1
        file = folder / f"{name}.{numbers[name]}.json"
        if not file.exists():
            history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            known = _anonymous(history.to_json_dict()) | {"workflowId": run.id}
            text = json.dumps(known, separators=(",", ":")) + "\n"
            file.write_text(re.sub(rf"\d+@{re.escape(socket.gethostname())}", "worker@host", text))


def _anonymous(data: Any) -> Any:
    """Without what a history says about the machine that it was made on, which no replay looks at."""
    if isinstance(data, dict):
        return {name: "" if name in MACHINE else _anonymous(value) for name, value in data.items()}
    return [_anonymous(item) for item in data] if isinstance(data, list) else data


if __name__ == "__main__":
    main(sys.argv[1])
