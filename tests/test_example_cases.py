"""The examples' own test files: they pass, they leave nothing out, and they find what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowctl.document.loader import load_yaml
from flowctl.testing.coverage import Coverage
from flowctl.testing.suite import Suite
from tests import console
from tests.case_helpers import WITH_PACKAGES
from tests.mutation.explained import UNFOUND
from tests.mutation.hunt import EXAMPLES, hunt
from tests.mutation.mutants import mutants

FILES = sorted(EXAMPLES.glob("*/*.test.yaml"))
TESTING = (console.ROOT / "docs" / "testing.md").read_text(encoding="utf-8")

UNCOVERED = {"premium.test.yaml": ["fulfil.else.standard.undo"]}
"""What tests cannot come to: after the child of other customers nothing follows that could fail."""


def named(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=lambda file: file.name)


@named(FILES)
def test_the_tests_of_an_example_pass_and_leave_nothing_out(file: Path) -> None:
    suite = Suite(WITH_PACKAGES, coverage=Coverage())
    read = suite.read(file)
    results = list(suite.cases(read))
    assert [result["case"] for result in results if result["status"] != "passed"] == []
    assert any(result["every_failure"] for result in results)
    assert suite.coverage is not None
    covered = {document["workflow"]: document for document in suite.coverage.to_json()}
    missing = [item["what"] for item in covered[read.subject.workflow.name]["missing"]]
    assert missing == UNCOVERED.get(file.name, [])


def test_every_document_of_the_examples_has_a_test_file() -> None:
    documents = {file for file in EXAMPLES.glob("*/*.yaml") if not file.name.endswith(".test.yaml")}
    tested = {file.parent / load_yaml(file.read_bytes(), file.name)["workflow"] for file in FILES}
    assert tested == documents


@named([file for file in FILES if file.name in ("trip.test.yaml", "standard-shipping.test.yaml")])
def test_the_tests_of_an_example_find_its_mutants(file: Path) -> None:
    """``python -m tests.mutation`` does this for all of them, which takes minutes."""
    verdicts = list(hunt(file))
    assert sum(verdict.fate == "found" for verdict in verdicts) >= 4
    unfound = {
        (verdict.document, verdict.what): verdict.fate
        for verdict in verdicts
        if verdict.fate in ("changed", "unchanged")
    }
    assert unfound.items() <= UNFOUND.items()


def test_mutants_that_are_not_found_are_explained() -> None:
    there = {
        (file.name, mutant.what)
        for file in EXAMPLES.glob("*/*.yaml")
        if not file.name.endswith(".test.yaml")
        for mutant in mutants(load_yaml(file.read_bytes(), file.name))
    }
    assert UNFOUND.keys() <= there
    changed = [name for name, fate in UNFOUND.items() if fate == "changed"]
    assert all(f"`{document}`" in TESTING and what in TESTING for document, what in changed)
