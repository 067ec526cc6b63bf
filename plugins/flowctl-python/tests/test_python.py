"""Functions of modules: which may be called, and that nothing else is even imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flowctl_python as python
from flowctl.plugins import load

PRICES = """
import os
from math import sqrt
from os.path import join

RATE = 0.2

class Tax:
    @staticmethod
    def of(amount):
        return amount * RATE

def gross(net, *, rate=RATE):
    return net * (1 + rate)

async def later(word):
    return word

def _hidden():
    return "hidden"

def broken():
    raise LookupError("no price")
"""


@pytest.fixture(autouse=True)
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "prices_of_test.py").write_text(PRICES)

    def set_up(*functions: str) -> None:
        python.flowctl_configure({"functions": list(functions), "path": ["src"]}, str(tmp_path))

    yield set_up
    python.flowctl_configure({}, ".")
    sys.modules.pop("prices_of_test", None)


Configure = Callable[..., None]


def test_a_function_is_called_by_place_and_by_name(configure: Configure) -> None:
    configure("prices_of_test:gross", "math:hypot", "prices_of_test:Tax.of")
    assert python.call("prices_of_test:gross", [100], {"rate": 0.5}) == 150
    assert python.call("prices_of_test:gross", kwargs={"net": 100, "rate": 1}) == 200
    assert python.call("math:hypot", [3, 4]) == 5
    assert python.call("prices_of_test:Tax.of", [10]) == 2


def test_a_coroutine_is_run_to_its_end(configure: Configure) -> None:
    configure("prices_of_test:later")
    assert python.call("prices_of_test:later", ["now"]) == "now"


def test_a_whole_module_is_what_it_defines_for_others(configure: Configure) -> None:
    configure("prices_of_test:*")
    assert python.call("prices_of_test:gross", [0]) == 0
    for name in ("_hidden", "join", "sqrt", "os", "os.getcwd", "Tax.of", "RATE", "__loader__", "*"):
        with pytest.raises(python.NotAllowed):
            python.call(f"prices_of_test:{name}")


@pytest.mark.parametrize(
    "name",
    ["prices_of_test:broken", "os:system", "prices_of_test", ":gross", "", "prices_of_test.gross", "a b:c"],
)
def test_what_the_project_does_not_name_is_not_even_imported(configure: Configure, name: str) -> None:
    configure("prices_of_test:gross")
    with pytest.raises(python.NotAllowed):
        python.call(name)
    assert "prices_of_test" not in sys.modules


@pytest.mark.parametrize("name", ["prices_of_test:nothing", "no_such_module:f", "prices_of_test:RATE"])
def test_what_is_not_there_is_said_to_be_so(configure: Configure, name: str) -> None:
    configure(name)
    with pytest.raises(python.NoSuchFunction):
        python.call(name)


def test_what_a_function_raises_comes_out_as_it_is(configure: Configure) -> None:
    configure("prices_of_test:broken")
    with pytest.raises(LookupError, match="no price"):
        python.call("prices_of_test:broken")


def test_a_function_is_called_once() -> None:
    policy = load(entry_points=False, objects=[python]).activities["python.call"].policy.retry
    assert policy is not None
    assert policy.attempts == 1


@pytest.mark.parametrize(
    "settings", [{"function": []}, {"functions": ["os.system"]}, {"functions": ["*"]}, {"functions": [":f"]}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[python], settings={"flowctl_python": settings})
    assert len(plugins.problems) == 1
    assert "python.call" not in plugins.activities


WORKFLOW = """
dsl: 1
name: price
steps:
  - id: gross
    activity: python.call
    with: {function: "prices_of_test:gross", args: [100], kwargs: {rate: 1}}
output: "${{ steps.gross.output }}"
"""


def test_an_installed_plugin_serves_workflows_by_the_settings_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "price.yaml").write_text(WORKFLOW)
    (tmp_path / "flowctl.toml").write_text(
        '[plugins.python]\nfunctions = ["prices_of_test:gross"]\npath = ["src"]\n'
    )
    command = [sys.executable, "-m", "flowctl", "run", "price.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, 200), done.stdout
