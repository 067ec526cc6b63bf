"""The pytest plugin, in a pytest of its own: it collects test files, and runs workflows from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowctl.errors import InvalidDocument
from flowctl.testing.python import WorkflowBroken, run_workflow
from tests.case_helpers import MOCKS, ORDER, written


def ran(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


PYTHON = """\
import pytest

class Declined(Exception):
    pass

MOCKS = {MOCKS}

def test_a_card_is_declined(run_workflow):
    def charge(amount, key):
        assert key == "test/charge"
        raise Declined(f"not {{amount}}")

    run = run_workflow("order.yaml", {{"item": "lamp"}}, MOCKS | {{"shop.charge": charge}})
    assert (run.status, run.error["type"], run.error["message"]) == ("compensated", "Declined", "not 5")
    assert run.compensations == ["charge", "reserve"]

def test_it_takes_a_month(run_workflow):
    run = run_workflow("order.yaml", {{"item": "lamp", "express": False}}, MOCKS)
    assert (run.output, run.elapsed) == ({{"tracking": "T-7"}}, 30 * 86400)
    assert run.check().every_failure() > 20
"""


def test_test_files_are_collected_and_workflows_run_from_python(tmp_path: Path) -> None:
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "order.test.yaml").write_text(
        json.dumps(written({"case": "it is shipped"}, {"case": "it is not", "expect": {"status": "failed"}}))
    )
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\ncases: [{case: one, inptu: {}}]\n")
    (tmp_path / "test_order.py").write_text(PYTHON.format(MOCKS=repr(MOCKS)))
    code, told = ran(tmp_path, "--continue-on-collection-errors")
    assert code == 1
    assert "3 passed, 1 failed, 1 error" in told.replace(
        "1 failed, 3 passed, 1 error", "3 passed, 1 failed, 1 error"
    )
    assert 'actual    "completed"' in told
    assert "error[UnknownKey]: unknown key 'inptu' in the case 'one'" in told
    assert "FAILED order.test.yaml::it is not" in told
    assert "Traceback" not in told


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pod.test.yaml").write_text("kind: Pod\n")
    assert ran(tmp_path)[0] == 5


def test_the_plugin_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "order.test.yaml").write_text("cases: nonsense")
    assert ran(tmp_path, "-p", "no:flowctl")[0] == 5


def test_the_plugin_imports_nothing_of_flowctl_before_there_is_something_to_test(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n\ndef test_light():\n"
        "    heavy = [name for name in sys.modules if name.startswith('flowctl.')]\n"
        "    assert set(heavy) == {'flowctl.testing', 'flowctl.testing.pytest_plugin'}\n"
    )
    assert ran(tmp_path)[0] == 0


# --- the same without pytest


def order(folder: Path) -> Path:
    (folder / "order.yaml").write_text(ORDER)
    return folder / "order.yaml"


def test_what_came_of_a_run_can_be_asked(tmp_path: Path) -> None:
    run = run_workflow(order(tmp_path), {"item": "lamp"}, MOCKS, secrets={"TOKEN": "t"})
    assert (run.status, run.error, run.calls) == ("completed", None, ["reserve", "charge", "ship"])
    assert run.steps["approval"] == "skipped"
    assert run.args("ship") == {"reservation": 7, "token": "t"}
    assert run.left == {"shop.charge": 1, "shop.reserve": 1}
    assert run.document["workflow"] == "order"
    with pytest.raises(KeyError):
        run.args("charge.undo")


def test_what_does_not_hold_is_raised(tmp_path: Path) -> None:
    run = run_workflow(order(tmp_path), {"item": "lamp"}, MOCKS, invariants={"no time passes": "elapsed > 5"})
    with pytest.raises(WorkflowBroken, match="no time passes"):
        run.check()
    doubt = run_workflow(
        order(tmp_path), {"item": "lamp"}, MOCKS, invariants={"no doubt": "saga.in_doubt == []"}
    )
    with pytest.raises(WorkflowBroken, match="when reserve times out"):
        doubt.every_failure()


def test_a_mistake_in_what_is_said_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument) as caught:
        run_workflow(order(tmp_path), {"item": "lamp"}, {"shop.shipp": {}})
    assert "shop.shipp" in caught.value.diagnostics[0].message
