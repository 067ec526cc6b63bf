"""``flowctl torture``: real processes that die, and a disk that fails, against an author's own cases."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowctl.testing import faults
from flowctl.testing.faults.shim import COMPILERS
from tests.case_helpers import ORDER, written
from tests.cli_helpers import Flowctl, caller

ROOT = Path(__file__).parent.parent

needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, COMPILERS)),
    reason="faults at system calls need Linux and a C compiler",
)


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


UNDONE: dict[str, Any] = {
    "case": "what nobody ships is undone",
    "input": {"amount": 200},
    "events": [{"at": "1h", "signal": "approve", "payload": {"by": "ada"}}],
    "mocks": {"shop.ship": {"raise": "Lost"}, "shop.charge": {"return": {"id": 1}, "after": "3s"}},
    "expect": {"status": "compensated", "compensations": ["charge", "reserve"]},
}


def put(folder: Path, *cases: dict[str, Any]) -> None:
    (folder / "order.yaml").write_text(ORDER)
    (folder / "order.test.yaml").write_text(json.dumps(written(*cases)))


@needs_shim
def test_a_saga_survives_kills_and_io_errors(flowctl: Flowctl, tmp_path: Path) -> None:
    put(tmp_path, UNDONE)
    said = flowctl("torture", "order.yaml", "--points", "6", "--seed", "3", "--json")
    assert said.code == 0, said.out
    [case] = said.json["cases"]
    assert (case["status"], case["points"], case["violations"]) == ("passed", 6, [])
    assert case["kills"] > 0
    assert case["io_errors"] > 0
    assert case["recoveries"] == case["kills"] + case["io_errors"] >= 6 - case["passed_by"]
    assert case["effects"] >= 4 * 7  # reserve, charge, refund, release: undisturbed, and at each point
    assert said.json["summary"]["effects"] == case["effects"]


BUGGY = """
import sys
from flowctl.testing.torture import main
from tests.crash.bugs import BUGS
main(sys.argv[1:], BUGS["lost-tail"])
"""


def tortured_with_a_bug(file: Path, only: str | None) -> Any:
    asked: dict[str, Any] = {
        "file": str(file),
        "plugins_dirs": [],
        "select": None,
        "seed": 1,
        "points": 4,
        "shim": True,
    }
    done = subprocess.run(
        [sys.executable, "-c", BUGGY, json.dumps({**asked, "only": only})],
        cwd=ROOT,
        env=os.environ | faults.preloading(faults.build()),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@needs_shim
def test_an_engine_that_loses_entries_is_found_and_the_point_repeats_it(
    tmp_path: Path,
) -> None:
    put(tmp_path, UNDONE)
    case = tortured_with_a_bug(tmp_path / "order.test.yaml", None)
    assert case["status"] == "failed"
    first = case["violations"][0]
    again = tortured_with_a_bug(tmp_path / "order.test.yaml", first["point"])
    assert [each["point"] for each in again["violations"]] == [first["point"]]


def test_without_the_shim_processes_are_killed_at_moments(
    flowctl: Flowctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Path:
        raise faults.Unavailable("there is no compiler")

    monkeypatch.setattr(faults, "build", build)
    put(tmp_path, UNDONE)
    said = flowctl("torture", "order.test.yaml", "--points", "3")
    assert said.code == 0, said.out
    assert "  there is no compiler: processes are killed at random moments only\n" in said.out
    refused = flowctl("torture", "order.test.yaml", "--at", "EIO@7")
    assert refused.code == 2
    assert "EIO@7 cannot be repeated here: there is no compiler" in refused.err
    assert re.search(r"^HELD: 1 case of order v1; [1-9]\d* kills?, 0 I/O errors, ", said.out, re.MULTILINE)


def test_a_case_that_fails_undisturbed_is_a_violation_and_one_that_cannot_be_tried_is_named(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    wrong = {"case": "it costs nothing", "expect": {"output": {"tracking": "T-8"}}}
    lost = {"case": "lost", "failures": [{"step": "charge", "lose_worker": "after"}]}
    put(tmp_path, wrong, lost)
    said = flowctl("torture", "order.test.yaml")
    assert said.code == 1
    assert "undisturbed, it does not hold: output.tracking" in said.out
    assert "  again: flowctl test order.test.yaml -k 'it costs nothing'\n" in said.out
    assert "left out: it brings failures of its own: lose_worker\n" in said.out
    assert "\nVIOLATED: 1 case of order v1, 1 left out; " in said.out


def test_bad_files_points_and_selections_are_told_before_anything_is_tortured(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    put(tmp_path, UNDONE)
    (tmp_path / "alone.yaml").write_text(ORDER)
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\ncases: 7\n")
    assert flowctl("torture", "bad.test.yaml").code == 2
    assert "alone.yaml has no tests beside it" in flowctl("torture", "alone.yaml").err
    assert flowctl("torture", "nowhere.test.yaml").code == 2
    said = flowctl("torture", "order.yaml", "--at", "flood@7")
    assert said.code == 2
    assert "'flood@7' is no point" in said.err
    assert flowctl("torture", "order.yaml", "-k", "nothing like it").code == 4


@needs_shim
def test_the_page_shows_what_a_reader_gets(flowctl: Flowctl, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    command, shown = re.findall(
        r"^```text\n(.*?)^```$", page[page.index("\n### Torture") :], re.DOTALL | re.MULTILINE
    )
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    said = flowctl(*command.split()[1:])
    assert (said.code, _without_counts(said.out)) == (0, _without_counts(shown))


def _without_counts(text: str) -> str:
    without = re.sub(r"[\d.,]+ (kill|I/O error|effect|fault)s?", r"N \1s", text)
    without = re.sub(r"\d+ recover(y|ies)", "N recoveries", without)
    return re.sub(r"[\d.]+ m?s\n", "T\n", re.sub(r", N faults came too late", "", without))
