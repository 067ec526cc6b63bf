"""``flowctl serve`` on Temporal: the same API and dashboard, of the runs of a namespace."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import open_backend
from flowctl.embedding.loading import Documents
from flowctl.plugins import load
from tests.temporal.server import Server

DOCUMENT = """
dsl: 1
name: waits
signals: {go: {}}
steps: [{id: w, wait_for_signal: go}]
output: ${{ steps.w.output.payload }}
"""


class Api:
    """What a program asks, with the token of the file that the server has made."""

    def __init__(self, port: int, tokens: Path) -> None:
        self._url = f"http://localhost:{port}/api/v1"
        [owner] = [line for line in tokens.read_text().splitlines() if line and not line.startswith("#")]
        self._headers = {"Authorization": f"Bearer {owner.split()[2]}", "Content-Type": "application/json"}

    def __call__(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        asked = urllib.request.Request(self._url + path, data, self._headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)


def test_runs_are_shown_signalled_and_worked_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = server.url(task_queue="serving")
    plugins = load(entry_points=False)
    with contextlib.closing(open_backend(url, plugins=plugins)) as backend:
        run_id, _ = backend.start(Documents(backend, plugins).request(DOCUMENT, {}, None, None))
        command = [
            sys.executable,
            "-m",
            "flowctl",
            "serve",
            "--db",
            url,
            "--port",
            "0",
            "--workers",
            "1",
            "--json",
        ]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as serving:
            try:
                assert serving.stdout is not None
                said = json.loads("".join(iter(serving.stdout.readline, "}\n")) + "}")
                ask = Api(said["port"], Path(said["tokens"]))
                assert Path(said["tokens"]) == tmp_path / ".flowctl" / "temporal.tokens"
                assert [run["id"] for run in ask("/runs")["runs"]] == [run_id]
                ask(f"/runs/{run_id}/signals/go", {"payload": 7})
                assert backend.drive(run_id, wait=0)["output"] == 7
                assert ask(f"/runs/{run_id}")["status"] == "completed"
            finally:
                serving.terminate()
