"""The README tells the truth: its tour is run, and its output compared with what a reader gets."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.console import ROOT, Ran, Shown, alike, commands, reader, rewritten, run

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("bash") is None, reason="the tour is a session of bash")
def test_the_tour_shows_what_a_reader_gets(tmp_path: Path) -> None:
    tour = commands(README)
    ran = run(tour, tmp_path, reader())
    assert [(shown.command, shown.exits) for shown in tour] == [
        (shown.command, real.code) for shown, real in zip(tour, ran, strict=True)
    ]
    assert alike([shown.output for shown in tour]) == alike([real.output for real in ran])


def test_the_tour_waits_goes_on_and_undoes() -> None:
    """A tour that shows nothing is true, too."""
    tour = {
        shown.command.split()[1]: shown for shown in commands(README) if shown.command.startswith("flowctl")
    }
    assert {"run", "signal", "resume", "status", "history"} <= tour.keys()
    assert {shown.exits for shown in commands(README)} == {0, 1, 3}
    assert all(shown.output for shown in tour.values())


def test_the_targets_of_make_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make\s([a-z-]+)", pages, re.MULTILINE))
    assert {"demo", "test", "setup", "scenario-report"} <= named
    plays = re.search(r"^PLAYS := (.*)$", makefile, re.MULTILINE)
    assert plays is not None
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert named <= targets | {f"scenario-{name}" for name in plays[1].split()}


FIRST = "order-01M7YPKTY9VDVQXDWSE3KCY964  done in 1.6 s\n  at 2026-11-21 09:22:19 UTC"
LATER = "order-01M7YPKTY9VDVQXDWSE3KCY965  done in 46 ms\n at 2027-01-01 10:00:00 UTC"


def test_sessions_that_differ_in_ids_and_times_are_alike() -> None:
    assert alike([FIRST, FIRST]) == alike([LATER, LATER])


@pytest.mark.parametrize(("was", "became"), [("done", "failed"), ("\n", " "), ("in", "after")])
def test_sessions_that_differ_in_anything_else_are_not_alike(was: str, became: str) -> None:
    assert alike([FIRST]) != alike([FIRST.replace(was, became, 1)])


def test_sessions_that_take_one_run_for_another_are_not_alike() -> None:
    assert alike([FIRST, FIRST]) != alike([FIRST, LATER])


def test_a_page_takes_the_real_outputs() -> None:
    page = "a\n```console\n$ one  # exits 3\nold\n$ two\n```\nb\n"
    assert commands(page) == [Shown("one  # exits 3", "old"), Shown("two", "")]
    made = rewritten(page, [Ran("new\n  lines", 3), Ran("", 0)])
    assert made == "a\n```console\n$ one  # exits 3\nnew\n  lines\n$ two\n```\nb\n"
