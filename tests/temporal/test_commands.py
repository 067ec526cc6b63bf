"""The command line on Temporal: what every command does there, or says why it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import open_backend
from flowctl.machine.core import BLOCKED_FOR
from tests.temporal.server import Server

ORDER = Path(__file__).resolve().parents[2] / "examples" / "order"
INPUT = ["-i", "order_id=0012", "-i", 'items=["lamp"]', "-i", "email=ada@example.com", "-i", "express=true"]
APPROVED = ["--payload", '{"by": "Grace"}']

Flowctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flowctl(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Flowctl:
    """A command line in a folder, and with a queue, of its own."""
    environment = os.environ | {
        "FLOWCTL_DB": server.url(task_queue=request.node.name),
        "FLOWCTL_PLUGINS_DIR": str(ORDER),
        "FLOWCTL_SECRET_MAIL_TOKEN": "token",
        "SHOP_DB": str(tmp_path / "shop.db"),
    }

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowctl", *words],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_an_order_waits_is_approved_and_completes(
    flowctl: Flowctl, server: Server, request: pytest.FixtureRequest
) -> None:
    ran = flowctl("run", str(ORDER / "order.yaml"), *INPUT, "-i", "amount=1500", "--json")
    assert ran.returncode == 3, ran.stderr
    run = said(ran)
    assert run["status"] == "waiting"
    assert [(step["path"], step["status"]) for step in run["steps"]] == [
        ("reserve", "completed"),
        ("charge", "completed"),
        ("cooling_off", "skipped"),
        ("approval", "waiting"),
    ]
    assert flowctl("signal", "@last", "approved").returncode == 2
    once = ("signal", "@last", "approve", *APPROVED, "--dedup-id", "once")
    assert flowctl(*once).returncode == 0
    resumed = flowctl("resume", run["id"][:-3], "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert said(resumed)["status"] == "completed"
    assert flowctl(*once).returncode == 0
    assert flowctl("signal", "@last", "approve", *APPROVED).returncode == 5
    status = said(flowctl("status", "@last", "--json"))
    assert status == said(resumed)
    [listed] = said(flowctl("list", "--json"))
    assert listed["id"] == run["id"]
    history = [json.loads(line) for line in flowctl("history", "@last", "--jsonl").stdout.splitlines()]
    assert [history[0]["kind"], history[-1]["kind"]] == ["created", "ended"]
    with contextlib.closing(open_backend(server.url(task_queue=request.node.name))) as backend:
        last, before = backend.earlier(run["id"], limit=2)
        first, begins = backend.earlier(run["id"], before=before, limit=1_000)
    assert (first + last, begins) == (history, None)
    assert flowctl("graph", "@last", "--format", "mermaid").returncode == 0


def test_an_order_that_cannot_be_shipped_is_undone_in_reverse(flowctl: Flowctl) -> None:
    words = [*INPUT[:2], "-i", 'items=["piano"]', *INPUT[4:], "-i", "amount=900"]
    ran = flowctl("run", str(ORDER / "order.yaml"), *words, "--json")
    assert ran.returncode == 1, ran.stderr
    assert said(ran)["status"] == "compensated"
    assert said(ran)["saga"]["undone"] == ["charge", "reserve"]


def test_a_worker_executes_what_was_started_and_the_same_id_is_the_same_run(flowctl: Flowctl) -> None:
    start = ["start", str(ORDER / "order.yaml"), *INPUT, "--id", "worker-1", "--json"]
    named = {"id": "worker-1", "workflow_id": "worker-1"}
    assert said(flowctl(*start, "-i", "amount=9")) == named | {"created": True}
    assert said(flowctl(*start, "-i", "amount=9")) == named | {"created": False}
    assert flowctl(*start, "-i", "amount=8").returncode == 5
    worked = flowctl("worker", "--drain")
    assert worked.returncode == 0, worked.stderr
    assert said(flowctl("status", "worker-1", "--json"))["status"] == "completed"


def test_a_worker_without_the_plugin_blocks_a_run_and_another_one_goes_on(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    start = ["start", str(ORDER / "order.yaml"), *INPUT, "-i", "amount=9", "--id", "b-1"]
    assert flowctl(*start).returncode == 0
    (tmp_path / "empty").mkdir()
    assert flowctl("worker", "--drain", FLOWCTL_PLUGINS_DIR=str(tmp_path / "empty")).returncode == 0
    blocked = said(flowctl("status", "b-1", "--json"))
    assert blocked["status"] == "blocked"
    assert "no plugin here registers the activity shop.reserve_inventory" in blocked["blocked"]["reason"]
    assert flowctl("start", *start[1:-1], "b-2").returncode == 0
    assert flowctl("worker", "--drain", FLOWCTL_PLUGINS_DIR=str(tmp_path / "empty")).returncode == 0
    cancelled = flowctl("cancel", "b-1", "--reason", "never mind", "--json")
    assert said(cancelled)["status"] == "cancelled", cancelled.stderr
    before = time.monotonic()
    resumed = flowctl("resume", "b-2", "--json", FLOWCTL_PLUGINS_DIR=str(tmp_path / "empty"))
    assert said(resumed)["status"] == "blocked", resumed.stderr
    resumed = flowctl("resume", "b-2", "--json")
    assert said(resumed)["status"] == "completed", resumed.stderr
    assert time.monotonic() - before < BLOCKED_FOR / 1000 / 2


def test_people_pause_terminate_retry_and_replay_runs(flowctl: Flowctl) -> None:
    run = said(flowctl("run", str(ORDER / "order.yaml"), *INPUT, "-i", "amount=1500", "--json"))
    assert flowctl("pause", run["id"]).returncode == 0
    assert said(flowctl("resume", run["id"], "--json"))["status"] == "waiting"
    replayed = flowctl("replay", run["id"], "--from", "charge", "--json")
    assert said(replayed)["steps"][1]["path"] == "charge", replayed.stderr
    assert flowctl("terminate", run["id"]).returncode == 0
    assert said(flowctl("status", run["id"], "--json"))["status"] == "terminated"
    assert flowctl("retry", run["id"]).returncode == 5


def test_runs_that_are_cancelled_together_are_undone_though_a_worker_was_here_a_moment_ago(
    flowctl: Flowctl,
) -> None:
    run = said(flowctl("run", str(ORDER / "order.yaml"), *INPUT, "-i", "amount=1500", "--json"))
    assert run["status"] == "waiting"
    cancelled = flowctl("cancel", "--all", "--reason", "never mind", "--json")
    answer = {"id": run["id"], "status": "compensated", "error": None}
    assert said(cancelled) == [answer], cancelled.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deploy", str(ORDER / "order.yaml")], "not deployed to Temporal"),
        (["workflows"], "not deployed to Temporal"),
        (["deprecate", "order@2"], "not deployed to Temporal"),
        (["run", "order"], "not deployed to Temporal"),
        (["verify"], "kept by its server"),
        (["gc"], "kept by its server"),
        (["backup", "copy.db"], "kept by its server"),
        (["status", "nobody"], "there is no run nobody"),
        (["status", "@last"], "no run was started from this folder yet"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(flowctl: Flowctl, words: list[str], says: str) -> None:
    done = flowctl(*words)
    assert done.returncode in (2, 4)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_namespace_that_is_not_there_is_named(flowctl: Flowctl, server: Server) -> None:
    done = flowctl("list", FLOWCTL_DB=server.url("nowhere"))
    assert done.returncode == 74
    assert "Temporal has no namespace nowhere" in done.stderr
    assert len(done.stderr.splitlines()) == 1
