"""The packages under ``plugins/``: alike in form, and described as they are.

What they do is tested beside them, as installed (``make plugins``); here they are only read.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))


def project(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in requirements}


def tree(package: Path) -> ast.Module:
    return ast.parse((package / f"{package.name.replace('-', '_')}.py").read_text())


def activities(package: Path) -> Iterator[str]:
    for node in ast.walk(tree(package)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "activity":
            assert isinstance(node.args[0], ast.Constant)
            yield str(node.args[0].value)


def settings(package: Path) -> Iterator[str]:
    for node in ast.walk(tree(package)):
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            yield from (ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign))


def test_there_are_packages_to_look_at() -> None:
    assert {"flowctl-http", "flowctl-sql"} <= {package.name for package in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_one_module_under_one_entry_point(package: Path) -> None:
    module = package.name.replace("-", "_")
    about = project(package)
    assert about["name"] == package.name
    assert about["entry-points"] == {"flowctl": {package.name.removeprefix("flowctl-"): module}}
    assert [file.name for file in package.glob("*.py")] == [f"{module}.py"]
    assert list((package / "tests").glob("test_*.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_its_activities_are_called_after_it(package: Path) -> None:
    prefix = package.name.removeprefix("flowctl-") + "."
    found = list(activities(package))
    assert found
    assert all(name.startswith(prefix) for name in found)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_its_page_names_every_activity_and_every_setting(package: Path) -> None:
    page = (package / "README.md").read_text()
    missing = [name for name in activities(package) if f"`{name}`" not in page]
    example = page.partition("## Settings")[2]
    missing += [name for name in settings(package) if not re.search(rf"\b{name}\b", example)]
    assert missing == []
    assert f"plugins/{package.name}/README.md" in (ROOT / "docs" / "plugins.md").read_text()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_it_needs_is_locked_for_development(package: Path) -> None:
    """``make setup`` installs from the lock, which is made from the one list."""
    about = project(package)
    needed = names([*about["dependencies"], *about["optional-dependencies"]["dev"]]) - {"flowctl"}
    locked = (ROOT / "requirements" / "dev.lock").read_text()
    assert [name for name in needed if not re.search(rf"^{name}==", locked, re.MULTILINE)] == []
    assert needed <= names(project(ROOT)["optional-dependencies"]["dev"])
