"""The tutorial of ``docs/testing.md``: its commands are run, and its outputs are what a reader gets."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from flowctl.document.cases import read_tests
from flowctl.document.loader import load_yaml
from flowctl.testing import names
from flowctl.testing.expectations import EXPECTATIONS
from tests.console import ROOT, alike, commands, reader, run

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "flowctl/cli/templates/project/order.test.yaml.tmpl").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "schemas" / "test.schema.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="the tutorial is a session of bash")
def test_the_tutorial_shows_what_a_reader_gets(tmp_path: Path) -> None:
    tutorial = commands(PAGE)
    ran = run(tutorial, tmp_path, reader())
    assert [(shown.command, shown.exits) for shown in tutorial] == [
        (shown.command, real.code) for shown, real in zip(tutorial, ran, strict=True)
    ]
    assert alike([shown.output for shown in tutorial]) == alike([real.output for real in ran])


def test_the_tutorial_shows_successes_failures_and_mistakes() -> None:
    codes = {shown.exits for shown in commands(PAGE) if shown.command.startswith("flowctl test")}
    assert codes == {0, 1, 2}


def blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_what_the_tutorial_quotes_is_in_the_template() -> None:
    template = load_yaml(TEMPLATE, "template")
    quoted = [load_yaml(block, "page") for block in blocks()]
    for data in quoted[:-1]:
        for key, value in data.items():
            if key == "cases":
                assert all(case in template["cases"] for case in value)
            else:
                assert template[key] == value, key


def test_the_mocks_of_the_reference_are_mocks() -> None:
    text = f"workflow: ./x.yaml\ncases: [{{case: one}}]\n{blocks()[-1]}"
    assert read_tests(text, "page")[1].errors == []


def test_every_word_of_test_files_is_explained() -> None:
    words = {*SCHEMA["properties"], *SCHEMA["$defs"]["case"]["properties"]}
    for kind in ("mock", "act", "event", "failure", "effect", "expect"):
        words |= set(SCHEMA["$defs"][kind].get("properties", {}))
    words |= {*names.ACT, *names.EFFECT, *names.RUN}
    said = set(re.findall(r"\w+", PAGE))
    assert words - said - {"description"} == set()


def test_the_expectations_of_the_schema_are_those_that_are_looked_at() -> None:
    assert SCHEMA["$defs"]["expect"]["properties"].keys() == EXPECTATIONS.keys() | {"elapsed", "that"}
