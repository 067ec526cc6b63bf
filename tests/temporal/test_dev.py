"""flowctl temporal dev."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowctl.errors import Unreachable
from flowctl.runtimes.temporal import server
from flowctl.runtimes.temporal.connection import Address, connect
from tests.cli_helpers import caller
from tests.temporal.server import free_port


def test_the_server_that_it_starts_is_reached_at_the_address_that_it_prints(
    program: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "flowctl", "temporal", "dev", "--port", str(free_port())]
    words += ["--db-filename", str(tmp_path / "runs.db")]
    started = subprocess.Popen(
        words, stdout=subprocess.PIPE, env={**os.environ, server.VARIABLE: program}, cwd=tmp_path
    )
    try:
        assert started.stdout is not None
        said = started.stdout.readline().decode()
        address = Address.parse(said.removeprefix("Temporal at ").partition(",")[0])
        while not asyncio.run(_answers(address)):
            assert started.poll() is None
        assert (tmp_path / "runs.db").exists()
    finally:
        started.send_signal(signal.SIGTERM)
        started.communicate()


async def _answers(address: Address) -> bool:
    try:
        await connect(address)
    except Unreachable:
        return False
    return True


def test_where_the_server_is_not_installed_one_line_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server.VARIABLE, "/nowhere/temporal")
    said = caller(capsys)("temporal", "dev")
    assert said.code == 4
    assert said.err.startswith("error[NotFound]: Temporal's server is not installed here; install Temporal's")
    assert said.err.count("\n") == 1


def test_a_program_that_is_named_is_taken_before_one_on_the_path(tmp_path: Path) -> None:
    for name in ("named", "temporal"):
        (tmp_path / name).touch(mode=0o755)
    on_path = {"PATH": str(tmp_path)}
    assert server.program(on_path) == str(tmp_path / "temporal")
    assert server.program({**on_path, server.VARIABLE: str(tmp_path / "named")}) == str(tmp_path / "named")
