"""``flowctl test``: its report, its exit codes, JSON, JUnit, coverage, watching, replays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from flowctl.testing import watching
from tests.case_helpers import ORDER, written
from tests.cli_helpers import Flowctl, Said, caller


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


@pytest.fixture
def put(tmp_path: Path) -> Any:
    """Write a test file about the order, in a folder."""

    def put(*cases: dict[str, Any], name: str = "order", workflow: str = ORDER, **more: Any) -> None:
        (tmp_path / "order.yaml").write_text(workflow)
        (tmp_path / f"{name}.test.yaml").write_text(json.dumps(written(*cases, **more)))

    return put


GOOD: dict[str, Any] = {"case": "it is shipped", "input": {"express": False}}
BAD: dict[str, Any] = {
    "case": "it is shipped elsewhere",
    "expect": {"output": {"tracking": "T-8"}, "calls": ["reserve", "ship"]},
}


def test_what_passes_is_told_on_a_line(flowctl: Flowctl, put: Any) -> None:
    put(GOOD)
    said = flowctl("test")
    assert (said.code, said.err) == (0, "")
    first, second, empty, last = said.out.splitlines()
    assert (first, empty) == ("order.test.yaml  order v1", "")
    assert second.startswith("  ✓ it is shipped  30 d in ")
    assert last.startswith("1 passed: 30 d of runs in ")


def test_what_fails_is_told_with_what_differs(flowctl: Flowctl, put: Any) -> None:
    put(GOOD, BAD)
    said = flowctl("test", "order.test.yaml")
    assert said.code == 1
    told = said.out[said.out.index("✗ it is shipped elsewhere\n") :].splitlines()
    assert told[:11] == [
        "✗ it is shipped elsewhere",
        "  output.tracking  order.test.yaml:1",
        '    expected  "T-8"',
        '    actual    "T-7"',
        "  calls  order.test.yaml:1",
        "      reserve",
        "    + charge",
        "      ship",
        "",
        told[9],
    ]
    assert told[9].startswith("1 passed, 1 failed: ")


def test_failures_that_break_the_same_are_told_together(flowctl: Flowctl, put: Any) -> None:
    silent = ORDER.replace(", after: attempted", "")
    put({"case": "it is shipped"}, workflow=silent, invariants={"no doubt": "saga.in_doubt == []"})
    said = flowctl("test", "--every-failure")
    assert said.code == 1
    assert said.out.count("    this case shows it alone:\n") == 1
    assert "  when reserve times out before its effect (every time): compensation_failed\n" in said.out
    assert "        failures: [{step: reserve, time_out: before}]\n" in said.out


def test_json_has_everything(flowctl: Flowctl, put: Any) -> None:
    put({**GOOD, "every_failure": True}, {**BAD, "every_failure": True})
    said = flowctl("test", "--json", "--coverage")
    assert (said.code, said.err) == (1, "")
    [file] = said.json["files"]
    assert (file["file"], file["workflow"], file["version"], file["errors"]) == (
        "order.test.yaml",
        "order",
        1,
        [],
    )
    good, bad = file["cases"]
    assert (good["status"], good["elapsed"], bad["every_failure"]) == ("passed", 2_592_000, None)
    assert bad["mismatches"][0] == {
        "what": "output.tracking",
        "expected": "T-8",
        "actual": "T-7",
        "line": 1,
    }
    assert good["every_failure"]["runs"] == said.json["summary"]["failures_tried"] > 0
    assert {key: said.json["summary"][key] for key in ("passed", "failed", "errors")} == {
        "passed": 1,
        "failed": 1,
        "errors": 0,
    }
    [document] = said.json["coverage"]
    assert document["kinds"]["step"] == {"covered": 4, "total": 5}


def test_a_file_with_mistakes_is_told_and_the_others_are_run(
    flowctl: Flowctl, put: Any, tmp_path: Path
) -> None:
    put(GOOD)
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\ncases: [{case: one, inptu: {}}]\n")
    said = flowctl("test")
    assert said.code == 2
    assert said.err.startswith(
        "error[UnknownKey]: unknown key 'inptu' in the case 'one' (bad.test.yaml:2:21)"
    )
    assert "1 passed, 1 file with mistakes" in said.out
    said = flowctl("test", "--json")
    assert [file["errors"][0]["code"] if file["errors"] else None for file in said.json["files"]] == [
        "UnknownKey",
        None,
    ]


def test_cases_are_selected_by_a_part_of_their_name(flowctl: Flowctl, put: Any) -> None:
    put(GOOD, BAD)
    assert flowctl("test", "-k", "ELSEWHERE").code == 1
    said = flowctl("test", "-k", "nothing like it")
    assert (said.code, said.out) == (4, "")
    assert (
        said.err == "error[NotFound]: no test in . has 'nothing like it' in its name; -k takes a part of it\n"
    )


def test_where_there_are_no_tests_that_is_said(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.test.yaml").write_text("nonsense")
    assert flowctl("test").code == 4
    said = flowctl("test", "nowhere")
    assert (said.code, said.err) == (2, "error[UsageError]: there is no file or folder 'nowhere'\n")


def test_a_workflow_is_no_test_file(flowctl: Flowctl, put: Any) -> None:
    put(GOOD)
    said = flowctl("test", "order.yaml")
    assert (said.code, said.err) == (
        2,
        "error[UsageError]: order.yaml is no test file; test files are called NAME.test.yaml\n",
    )


def test_validate_knows_test_files(flowctl: Flowctl, put: Any, tmp_path: Path) -> None:
    put(GOOD)
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\ncases: [{case: one, inptu: {}}]\n")
    said = flowctl("validate", "order.yaml", "order.test.yaml", "bad.test.yaml")
    assert (said.code, said.out) == (2, "order.yaml: valid\norder.test.yaml: valid\n")
    assert "unknown key 'inptu' in the case 'one'" in said.err
    assert flowctl("validate", "--fix", "order.test.yaml").code == 0


def test_coverage_tells_what_is_missing_and_may_fail(flowctl: Flowctl, put: Any) -> None:
    put({"case": "it is shipped"})
    said = flowctl("test", "--coverage")
    assert said.code == 0
    assert "    no branch: cooling_off if true\n" in said.out
    assert "    no retry: reserve\n" in said.out
    assert "    no compensation: charge.undo\n" in said.out
    said = flowctl("test", "--fail-under", "90")
    assert (said.code, said.err) == (1, "41.6 % is covered, less than 90 %\n")
    everything = {
        "input": {"amount": 500, "express": False},
        "events": [{"at": "1h", "signal": "approve", "payload": {"by": "A"}}],
    }
    put({"case": "fast"}, {"case": "slow", **everything})
    assert flowctl("test", "--every-failure", "--fail-under", "100").code == 0


def test_junit_has_every_case(flowctl: Flowctl, put: Any, tmp_path: Path) -> None:
    put(GOOD, BAD)
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\n")
    assert flowctl("test", "--junit", "out.xml").code == 2
    bad, order = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (order.get("name"), order.get("tests"), order.get("failures")) == ("order.test.yaml", "2", "1")
    good, failed = order
    assert (good.get("name"), len(good)) == ("it is shipped", 0)
    assert "output.tracking" in (failed[0].text or "")
    assert bad[0][0].tag == "error"
    assert (
        "error[UsageError]: no/where.xml cannot be written" in flowctl("test", "--junit", "no/where.xml").err
    )


def test_what_is_watched_is_run_again_when_it_changes() -> None:
    looks: Iterator[dict[str, int]] = iter([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2, "b": 1}])
    waits: list[float] = []
    changes = watching.changes(lambda: next(looks), waits.append)
    assert [next(changes), next(changes), next(changes)] == [None] * 3
    assert waits == [watching.LOOKS_EVERY]


def test_documents_plugins_and_tests_are_watched(
    put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(GOOD)
    (tmp_path / "shop.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    watched = {"./order.yaml", "./order.test.yaml", "./shop.py"}
    assert set(watching.seen(["."])) == watched
    assert {Path(file).name for file in watching.seen(["order.test.yaml"])} == {
        Path(file).name for file in watched
    }


def test_each_round_of_a_watch_is_a_process_with_the_same_options(
    flowctl: Flowctl, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(GOOD, BAD)
    rounds: list[Said] = []

    def run(command: list[str], *, check: bool) -> None:
        assert command[1:3] == ["-m", "flowctl"]
        rounds.append(flowctl(*command[3:]))

    monkeypatch.setattr(watching, "changes", lambda look: iter([None, None]))
    monkeypatch.setattr("flowctl.cli.testing.subprocess.run", run)
    flowctl("test", "--watch", "-k", "shipped", "--every-failure", "--fail-under", "5", "order.test.yaml")
    assert [said.code for said in rounds] == [1, 1]
    assert "failures tried" in rounds[0].out
    assert "coverage" in rounds[0].out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--watch", "--json"], "--watch never ends"),
        (["--to", "order.yaml"], "--to says what --replay compares with"),
        (["--replay"], "--replay needs exported runs"),
        (["--replay", "x.jsonl"], "nothing says which documents"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    flowctl: Flowctl, arguments: list[str], says: str
) -> None:
    said = flowctl("test", *arguments)
    assert said.code == 2
    assert says in said.out + said.err


def test_plugins_that_cannot_be_used_are_told(flowctl: Flowctl, put: Any, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "broken.py").write_text("1/0\n")
    put(GOOD, plugins_dir="plugins")
    assert "warning: plugin broken" in flowctl("test").err
