"""The log on standard error: who speaks, in lines for people or for programs, and no secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowctl.cli import logs
from tests.cli_helpers import Flowctl, caller

SECRET = "hunter2-hunter2"

PLUGIN = """
import logging
from flowctl import ActivityContext, activity

@activity("t.speak")
def speak(text: str, ctx: ActivityContext) -> None:
    ctx.logger.debug("all of it")
    ctx.logger.info("said %s", text)
    logging.getLogger("third.party").warning("by itself\\x1b[31m\\nand on")

@activity("t.process", isolation="process")
def process(text: str, ctx: ActivityContext) -> None:
    ctx.logger.info("said %s", text)
    try:
        raise KeyError("lost")
    except KeyError:
        ctx.logger.exception("failed")
"""
WORKFLOW = """
dsl: 1
name: w
secrets: [TOKEN]
steps: [{id: a, activity: t.ACTIVITY, with: {text: "${{ secrets.TOKEN }}"}}]
"""


@pytest.fixture
def flowctl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Flowctl]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWCTL_SECRET_TOKEN", SECRET)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(PLUGIN)
    for name in ("speak", "process"):
        (tmp_path / f"{name}.yaml").write_text(WORKFLOW.replace("ACTIVITY", name))
    level = logging.getLogger().level
    call = caller(capsys)
    yield lambda *arguments: call(*arguments, "--plugins-dir", "plugins", "--db", "t.db")
    logs.begin("warning", "text")
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize("name", ["speak", "process"])
def test_json_lines_say_who_speaks_and_no_secret(name: str, flowctl: Flowctl) -> None:
    said = flowctl(
        "run", f"{name}.yaml", "--id", "one", "--log-format", "json", "--log-level", "info", "--json"
    )
    assert (said.code, said.json["status"]) == (0, "completed")
    lines = [json.loads(line) for line in said.err.splitlines()]
    own = lines[0]
    assert own.pop("time").endswith("Z")
    assert own == {
        "level": "info",
        "logger": f"flowctl.activity.t.{name}",
        "message": "said ***",
        "run_id": "one",
        "path": "a",
        "attempt": 1,
    }
    assert lines[1]["message"].splitlines()[0] == {"speak": "by itself\x1b[31m", "process": "failed"}[name]
    assert SECRET not in said.err


def test_text_is_a_line_for_people_that_controls_nothing(flowctl: Flowctl) -> None:
    said = flowctl("--log-level", "info", "run", "speak.yaml", "--id", "one")
    first, second, third = said.err.splitlines()
    assert first.partition(" ")[2] == (
        "info    flowctl.activity.t.speak: said *** (run_id=one path=a attempt=1)"
    )
    assert second.endswith("third.party: by itself\\x1b[31m")
    assert third == "    and on"


def test_without_a_word_only_warnings_are_shown(flowctl: Flowctl) -> None:
    said = flowctl("run", "speak.yaml")
    assert "said" not in said.err
    assert "by itself" in said.err


def test_the_environment_says_how_and_an_option_wins(
    flowctl: Flowctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCTL_LOG_LEVEL", "debug")
    monkeypatch.setenv("FLOWCTL_LOG_FORMAT", "json")
    assert "all of it" in flowctl("run", "speak.yaml").err
    assert flowctl("run", "speak.yaml", "--log-level", "error").err == ""
    monkeypatch.setenv("FLOWCTL_LOG_FORMAT", "xml")
    said = flowctl("run", "speak.yaml")
    assert said.code == 2
    assert "FLOWCTL_LOG_FORMAT" in said.err or "--log-format" in said.err


def test_a_record_that_cannot_be_made_disturbs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger().level
    logs.begin("warning", "json")
    [handler] = [each for each in logging.getLogger().handlers if isinstance(each, logs._Handler)]
    handler.handle(logging.LogRecord("broken", logging.WARNING, "", 0, "%d", ("no number",), None))
    assert capsys.readouterr().err == "a log record of broken cannot be shown\n"
    logging.getLogger().setLevel(level)
