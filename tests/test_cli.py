"""The command as people and programs meet it: real processes, a real database, real documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli_helpers import ORDER, SHOP


class Project:
    """A folder with a workflow and a plugin, and ``flowctl`` in it as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "plugins").mkdir()
        (folder / "plugins" / "shop.py").write_text(SHOP)
        (folder / "order.yaml").write_text(ORDER)
        (folder / "flowctl.toml").write_text('plugins_dir = "plugins"')
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("FLOWCTL_", "PYTHONIO"))
        }

    def start(self, *arguments: str | bytes, **how: Any) -> subprocess.Popen[str]:
        environment = self.environment | how.pop("environment", {})
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | how
        command = [sys.executable, "-m", "flowctl", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=environment, text=True, **streams)

    def __call__(self, *arguments: str | bytes, **how: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **how) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, code: int = 0) -> Any:
        said = self(*arguments, "--json")
        assert (said.returncode, said.stderr) == (code, ""), said
        return json.loads(said.stdout)


@pytest.fixture
def flowctl(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_run_completes_and_its_story_can_be_read(flowctl: Project) -> None:
    said = flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp")
    assert (said.returncode, said.stderr) == (0, "")
    assert "order-1" in said.stdout
    status = flowctl.json("status", "@last")
    assert (status["id"], status["status"], status["output"]) == ("order-1", "completed", {"item": "lamp"})
    assert [step["path"] for step in status["steps"]] == ["reserve", "approval", "ship"]
    assert [run["id"] for run in flowctl.json("list")] == ["order-1"]
    assert {"created", "completed", "ended"} <= {
        entry["kind"] for entry in flowctl.json("history", "order-1")
    }
    for command in ("status", "history"):
        assert "reserve" in flowctl(command, "order-1").stdout


def test_a_run_that_waits_goes_on_after_its_signal(flowctl: Project) -> None:
    said = flowctl(
        "run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s"
    )
    assert said.returncode == 3
    assert "flowctl signal order-1 approve" in said.stdout
    waiting = flowctl.json("status", "order-1")["waiting_for"]
    assert [(wait["path"], wait["kind"], wait["names"]) for wait in waiting] == [
        ("approval", "signal", ["approve"])
    ]

    assert flowctl("signal", "order-1", "aprove").returncode == 2
    assert flowctl("signal", "order-1", "approve", "--payload", "{}").returncode == 2
    once = ("signal", "order-1", "approve", "--payload", '{"by": "ada"}', "--dedup-id", "once")
    said = flowctl(*once)
    assert said.returncode == 0
    assert "flowctl resume order-1" in said.stdout

    assert flowctl.json("resume", "order-1")["status"] == "completed"
    assert flowctl(*once).returncode == 0
    assert flowctl(*once[:-2]).returncode == 5


def test_a_signal_that_carries_nothing_fits_one_that_takes_an_object(
    flowctl: Project, tmp_path: Path
) -> None:
    (tmp_path / "ask.yaml").write_text(
        "dsl: 1\nname: ask\nsignals: {go: {payload: {type: object}}, ring: {}}\n"
        "steps:\n  - {id: first, wait_for_signal: go}\n  - {id: second, wait_for_signal: ring}\n"
        "output: ${{ [steps.first.output.payload, steps.second.output.payload] }}\n"
    )
    assert flowctl("run", str(tmp_path / "ask.yaml"), "--id", "ask-1", "--wait", "0s").returncode == 3
    for name in ("go", "ring"):
        assert flowctl("signal", "ask-1", name).returncode == 0
    assert flowctl.json("resume", "ask-1")["output"] == [{}, None]


def test_a_run_that_fails_is_undone_and_exits_1(flowctl: Project) -> None:
    document = flowctl.json("run", "order.yaml", "-i", "item=lamp", "-i", "fail=true", code=1)
    assert document["status"] == "compensated"
    assert document["error"]["type"] == "RuntimeError"
    assert document["saga"]["undone"] == ["reserve"]


def test_a_cancelled_run_is_undone_here_and_now(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    document = flowctl.json("cancel", "order-1", "--reason", "too late", code=1)
    assert (document["status"], document["saga"]["undone"]) == ("compensated", ["reserve"])
    assert document["error"]["message"] == "too late"
    assert flowctl("cancel", "order-1").returncode == 5


def test_the_same_id_with_the_same_input_is_the_same_run(flowctl: Project) -> None:
    arguments = ("run", "order.yaml", "--id", "order-1")
    first = flowctl.json(*arguments, "-i", "item=lamp")
    assert flowctl.json(*arguments, "--input", '{"item": "lamp"}') == first
    assert flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=desk").returncode == 5


# --- bad input


@pytest.mark.parametrize("arguments", [["-i", b"item=\xff"], ["--id", b"\xed\xa0\x80"]])
def test_bytes_that_are_not_text_are_refused(flowctl: Project, arguments: list[str | bytes]) -> None:
    said = flowctl("run", "order.yaml", *arguments)
    assert said.returncode == 2
    assert "is not UTF-8" in said.stderr


# --- streams


def test_a_reader_that_leaves_does_not_disturb_a_run(flowctl: Project) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        said = flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", stdout=writing)
    finally:
        os.close(writing)
    assert (said.returncode, said.stderr) == (0, "")
    assert flowctl.json("status", "order-1")["status"] == "completed"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
def test_what_is_asked_of_a_run_that_nobody_drives_is_so_at_once(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    assert flowctl.json("pause", "order-1") == {"id": "order-1", "status": "paused"}
    assert flowctl.json("status", "order-1")["status"] == "paused"
    assert flowctl.json("unpause", "order-1") == {"id": "order-1", "status": "waiting"}
    flowctl("pause", "--all")
    assert flowctl.json("resume", "order-1", "--wait", "0s", code=3)["status"] == "waiting"
    assert flowctl.json("retry", "order-1", code=5)["error"]["code"] == "RunOpen"
    assert flowctl.json("terminate", "order-1") == {"id": "order-1", "status": "terminated"}
    assert flowctl.json("resume", "order-1", code=1)["saga"]["undone"] == []
    assert flowctl.json("terminate", "order-1", code=5)["error"]["code"] == "RunClosed"


def test_a_run_that_somebody_drives_hears_of_its_end_at_once(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    with flowctl.start("resume", "order-1", "--wait", "48h", "--json") as driver:
        assert driver.stdout is not None
        flowctl.json("terminate", "order-1")
        out, _ = driver.communicate(timeout=60)
    assert (driver.returncode, json.loads(out)["status"]) == (1, "terminated")


def test_a_failed_run_goes_on_once_what_was_wrong_is_mended(flowctl: Project) -> None:
    document = flowctl.folder / "plain.yaml"
    document.write_text(
        "dsl: 1\nname: plain\nsteps:\n"
        "  - {id: look, activity: shop.ship, with: {fail: false}}\n"
        "  - {id: ship, activity: shop.carry}\n"
    )
    plugin = flowctl.folder / "plugins" / "shop.py"
    plugin.write_text(SHOP + CARRY.format("raise RuntimeError('no carrier')"))
    assert flowctl.json("run", "plain.yaml", "--id", "p", code=1)["status"] == "failed"
    plugin.write_text(SHOP + CARRY.format("return 'gone'"))
    retried = flowctl.json("retry", "p")
    assert (retried["status"], retried["attempt"], retried["output"]) == ("completed", 2, "gone")


CARRY = """
@activity("shop.carry", retry=False)
def carry() -> str:
    {}
"""


def test_an_answer_that_cannot_be_written_is_not_a_success(flowctl: Project) -> None:
    with open("/dev/full", "w") as full:
        said = flowctl("activities", "--json", stdout=full)
    assert said.returncode == 74
    assert said.stderr.startswith("error[OutputError]")


def test_closed_streams_do_not_matter(flowctl: Project) -> None:
    script = f'exec "{sys.executable}" -m flowctl run order.yaml --id order-1 -i item=lamp <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", script], cwd=flowctl.folder, env=flowctl.environment, timeout=60)
    assert done.returncode == 0
    assert flowctl.json("status", "order-1")["status"] == "completed"


def test_a_terminal_of_another_encoding_gets_escapes_and_json_stays_json(flowctl: Project) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ("run", "order.yaml", "--id", "order-1", "-i", "item=lämp→")
    said = flowctl(*arguments, "--json", environment=ascii_only)
    assert said.returncode == 0
    assert json.loads(said.stdout)["input"]["item"] == "lämp→"
    said = flowctl("status", "order-1", environment=ascii_only)
    assert said.returncode == 0
    assert said.stdout.isascii()


def test_ctrl_c_leaves_a_run_that_can_be_resumed(flowctl: Project) -> None:
    (flowctl.folder / "order.yaml").write_text(ORDER.replace("wait_for_signal: approve", "sleep: 1h"))
    with flowctl.start("run", "order.yaml", "-i", "item=lamp", "-i", "ask=true", "--wait", "2h") as process:
        assert process.stdout is not None
        while "approval" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    run_id = flowctl.json("status", "@last")["id"]
    assert f"flowctl resume {run_id}" in err
    assert flowctl("resume", run_id, "--wait", "0s").returncode == 3


# --- looking on from another process


def test_a_run_is_watched_until_it_rests(flowctl: Project) -> None:
    (flowctl.folder / "order.yaml").write_text(ORDER.replace("wait_for_signal: approve", "sleep: 1h"))
    run = ("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "2h")
    with flowctl.start(*run) as driver:
        assert driver.stdout is not None
        while "approval" not in driver.stdout.readline():
            assert driver.poll() is None
        with flowctl.start("status", "order-1", "--watch") as onlooker:
            assert onlooker.stdout is not None
            assert "order-1  waiting" in onlooker.stdout.readline()
            driver.kill()
            driver.communicate(timeout=60)
            out, err = onlooker.communicate(timeout=60)
    assert (onlooker.returncode, err) == (0, "")
    assert "flowctl resume order-1" in out


def test_a_history_is_followed_to_the_end_of_the_run(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    with flowctl.start("history", "order-1", "--follow", "--jsonl") as onlooker:
        flowctl("signal", "order-1", "approve", "--payload", '{"by": "ada"}')
        flowctl("resume", "order-1")
        out, err = onlooker.communicate(timeout=60)
    assert (onlooker.returncode, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == flowctl.json("history", "order-1")


def test_two_runs_differ_where_the_second_failed(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "good", "-i", "item=lamp")
    flowctl("run", "order.yaml", "--id", "bad", "-i", "item=lamp", "-i", "fail=true")
    found = flowctl.json("diff", "good", "bad")["differences"]
    assert ("", "status", ["completed", "compensated"]) in [
        (f["path"], f["what"], f["values"]) for f in found
    ]
    assert [f["path"] for f in found if f["what"] == "error" and f["path"]] == ["ship"]
    before = flowctl.json("status", "bad", "--at", "ship")
    assert (before["steps"][0]["path"], before["steps"][0]["status"]) == ("reserve", "completed")
    assert (before["status"], before["error"]) == ("running", None)


def test_all_runs_of_a_workflow_are_cancelled_and_undone(flowctl: Project) -> None:
    for run_id in ("order-1", "order-2"):
        flowctl("run", "order.yaml", "--id", run_id, "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    flowctl("run", "order.yaml", "--id", "order-3", "-i", "item=lamp")
    answers = flowctl.json("cancel", "--all", "--workflow", "order")
    assert [(answer["id"], answer["status"]) for answer in answers] == [
        ("order-1", "compensated"),
        ("order-2", "compensated"),
    ]
    assert flowctl.json("cancel", "--all") == []


# --- what a command costs


HEAVY = {"asyncio", "jsonschema", "pluggy", "rich", "sqlite_utils", "yaml"}
IMPORTS = """
import sys
from flowctl.cli.entry import execute
code = execute(sys.argv[1:])
print(*sorted(set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def imported(flowctl: Project, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", IMPORTS, *arguments]
    done = subprocess.run(
        command, cwd=flowctl.folder, env=flowctl.environment, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_imports_almost_nothing(flowctl: Project) -> None:
    modules = imported(flowctl, "--help")
    assert not modules & (HEAVY | {"sqlite3", "msgspec"})
    ours = {name for name in modules if name.startswith("flowctl.") and not name.startswith("flowctl.cli")}
    assert ours == {"flowctl.errors"}


def test_reading_pays_for_nothing_it_does_not_use(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp")
    for command in ("status", "history"):
        assert not imported(flowctl, command, "order-1") & HEAVY


def test_a_known_document_is_not_read_again(flowctl: Project) -> None:
    flowctl("run", "order.yaml", "-i", "item=lamp")
    assert not imported(flowctl, "run", "order.yaml", "-i", "item=lamp") & {"rich", "sqlite_utils", "yaml"}
