"""The scenarios among the examples: alike in form, described as they are, and apart from the rest.

What they do is tested beside them, with what they need installed (``make scenarios``); here they are read.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowctl import document
from flowctl.render import graph as drawing
from tests.console import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FOLDERS = sorted(file.parent for file in (ROOT / "examples").glob("*/flowctl.toml"))
SCENARIOS = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
LOCAL = {"127.0.0.1"}


def test_the_scenarios_of_make_are_those_there_are() -> None:
    found = re.search(r"^PLAYS := (.*)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    assert sorted(found[1].split()) == [folder.name for folder in FOLDERS]
    assert len(FOLDERS) == 4


@SCENARIOS
def test_a_scenario_has_all_its_parts(folder: Path) -> None:
    for name in (f"{folder.name}.yaml", f"{folder.name}.test.yaml", "README.md"):
        assert (folder / name).is_file(), name
    for pattern in ("play_*.py", "test_*.py"):
        assert len(list(folder.glob(pattern))) == 1, pattern


@SCENARIOS
def test_its_page_has_one_command_and_the_graph_of_its_workflow(folder: Path) -> None:
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^make .*$", page, re.MULTILINE) == [f"make scenario-{folder.name}"]
    file = folder / f"{folder.name}.yaml"
    loaded = document.load(file.read_text(encoding="utf-8"), file.name)
    mermaid = drawing.mermaid(drawing.graph(loaded.workflow))
    assert f"```mermaid\n{mermaid}\n```\n" in page, f"draw it anew: flowctl graph {file} --format mermaid"


@SCENARIOS
def test_its_page_names_every_file_and_only_tests_there_are(folder: Path) -> None:
    page = (folder / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#]+)\)", page))
    there = {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "README.md"
    }
    assert there - linked == set()
    [tests] = folder.glob("test_*.py")
    assert set(re.findall(r"`(test_\w+)`", page)) <= set(re.findall(r"def (test_\w+)", tests.read_text()))


@SCENARIOS
def test_it_reaches_nothing_but_this_machine(folder: Path) -> None:
    hosts = re.findall(r"\d+\.\d+\.\d+\.\d+", (folder / "flowctl.toml").read_text(encoding="utf-8"))
    assert set(hosts) == LOCAL
    urls = re.findall(r"https?://([^:/\s\"]+)", (folder / f"{folder.name}.yaml").read_text(encoding="utf-8"))
    assert set(urls) <= LOCAL


def test_what_scenarios_need_is_nothing_that_flowctl_itself_has_in_another_version() -> None:
    """Both are found by one Python."""
    scenarios, own = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))
        for lock in ("scenarios.lock", "dev.lock")
    )
    assert scenarios
    assert {name: scenarios[name] for name in scenarios.keys() & own} == {
        name: own[name] for name in scenarios.keys() & own
    }
