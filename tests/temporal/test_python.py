"""Programs use Temporal as they use SQLite."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import flowctl
from tests.console import ROOT
from tests.temporal.server import Server

ORDER = ROOT / "examples" / "order"
GIVEN = {"order_id": "0012", "items": ["lamp"], "email": "ada@example.com", "express": True}


def test_an_engine_executes_runs_in_a_thread_of_its_own(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWCTL_SECRET_MAIL_TOKEN", "demo")

    async def play() -> None:
        async with flowctl.Engine(server.url(task_queue="python"), plugins_dir=[ORDER]) as engine:
            run = await engine.start(ORDER / "order.yaml", {**GIVEN, "amount": 100})
            assert (await run.result())["tracking"].startswith("T-0012-")
            waits = await engine.start(ORDER / "order.yaml", {**GIVEN, "amount": 1500})
            await waits.cancel("never mind")
            assert (await waits.wait())["error"]["message"] == "never mind"

    asyncio.run(play())


def test_a_script_may_run_a_workflow_where_a_loop_runs_already_as_in_a_notebook(server: Server) -> None:
    async def cell() -> Any:
        text = "dsl: 1\nname: adds\nsteps: [{set: {sum: '${{ 1 + 1 }}'}}]\noutput: ${{ vars.sum }}\n"
        return flowctl.run(text, db=server.url(task_queue="notebook"))

    assert asyncio.run(cell()) == 2
