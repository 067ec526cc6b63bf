"""``docs/observability.md``: its commands are run, and its tables are what the code has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from flowctl.default_plugins import ASKED_BY, DISABLED
from flowctl.engine import events
from flowctl.engine.events import RUN_EVENTS, STEP_EVENTS, UNDO_EVENTS
from flowctl.state import ENDED
from flowctl.telemetry import metrics
from tests.console import ROOT, alike, commands, reader, run

PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is a session of bash")
def test_the_page_shows_what_a_reader_gets(tmp_path: Path) -> None:
    session = commands(PAGE)
    ran = run(session, tmp_path, reader())
    assert [real.code for real in ran] == [shown.exits for shown in session]
    assert alike([shown.output for shown in session]) == alike([real.output for real in ran])


def named(heading: str) -> set[str]:
    """The names in the first column of a table."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return {name for line in table.splitlines() for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])}


def test_every_type_of_event_is_explained_and_no_other() -> None:
    runs = {name for name in RUN_EVENTS.values() if "{" not in name} | {f"run.{status}" for status in ENDED}
    steps = {*STEP_EVENTS.values(), *UNDO_EVENTS.values(), events.RETRYING, "step.waiting"}
    assert named("type") == runs | steps


def test_every_metric_is_explained_and_no_other() -> None:
    others = {"flowctl.run.duration", "flowctl.step.duration", "flowctl.queue_depth"}
    assert named("metric") == set(metrics.COUNTED.values()) | others


def test_every_variable_that_turns_it_on_or_off_is_explained() -> None:
    assert named("variable") == {*ASKED_BY, DISABLED}
