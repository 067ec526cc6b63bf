"""``docs/python.md``: every block is a file, every program in it is run, and prints what the page says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flowctl
from flowctl.building.steps import METHODS
from tests.console import ROOT, alike, reader
from tests.test_docs import rows, section

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, in the folder of a reader."""
    made = tmp_path_factory.mktemp("reader")
    for name, text, _ in BLOCK.findall(PAGE):
        (made / name).write_text(f"# {name}\n{text}", encoding="utf-8")
    return made


def run(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=reader(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_block_of_code_is_a_file_that_is_run_or_used() -> None:
    assert len(BLOCK.findall(PAGE)) == len(re.findall(r"^```(?:python|yaml)$", PAGE, re.MULTILINE))
    unused = [name for name, _, output in BLOCK.findall(PAGE) if not output]
    assert unused == ["shop.py", "order.yaml", "test_order.py"]


@pytest.mark.parametrize(
    ("name", "printed"), [(name, output) for name, _, output in BLOCK.findall(PAGE) if output]
)
def test_a_program_of_the_page_prints_what_the_page_says(name: str, printed: str, folder: Path) -> None:
    assert alike([run(name, folder=folder).rstrip()]) == alike([printed.rstrip()])


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    assert "2 passed" in run("-m", "pytest", "-q", "test_order.py", folder=folder)


def test_the_program_in_the_readme_prints_what_its_comment_says(tmp_path: Path) -> None:
    [program] = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    [said] = re.findall(r"# (.*)$", program, re.MULTILINE)
    (tmp_path / "readme.py").write_text(program)
    assert run("readme.py", folder=tmp_path).strip() == said


def first_cells(title: str, text: str = PAGE) -> str:
    return " ".join(row[0] for row in rows(section(text, title)))


def test_every_public_method_is_in_the_reference() -> None:
    for title, kind in (("### `flowctl.Engine`", flowctl.Engine), ("### `flowctl.Handle`", flowctl.Handle)):
        public = {
            name
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }
        assert set(re.findall(r"(\w+)\(", first_cells(title))) - {"for"} == public


def test_every_argument_of_run_is_in_the_reference() -> None:
    said = set(re.findall(r"`(\w+)`", first_cells("### `flowctl.run`")))
    assert said == set(inspect.signature(flowctl.run).parameters)


def test_every_verb_and_its_method_is_in_the_reference() -> None:
    written = section(PAGE, "### `Workflow` and `Steps`")
    methods = {row[0].strip("`"): row[1].split("(")[0].strip("`.") for row in rows(written)}
    assert {verb: methods.get(verb) for verb in METHODS} == dict(METHODS)


def test_every_end_of_a_run_is_in_the_reference() -> None:
    public = {name for name in flowctl.__all__ if name.startswith("Run") and name != "RunError"}
    assert set(re.findall(r"`(Run\w+)`", first_cells("### Errors"))) == public
