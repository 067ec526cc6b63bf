"""Histories of released versions, kept: they still fit the examples, and an edit that breaks one is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends.exported import History, read_history
from flowctl.document import load
from flowctl.errors import UsageError
from flowctl.model import Workflow
from tests.cli_helpers import Flowctl, caller
from tests.golden.make import EXAMPLES, HERE, RUNS

HISTORIES = sorted(HERE.glob("*/*.jsonl"))
WAITS = HERE / "0.1.0" / "order-waits.jsonl"


def document(name: str) -> tuple[Path, str]:
    file = EXAMPLES / RUNS[name][0]
    return file, file.read_text(encoding="utf-8")


def misfit(history: History, text: str) -> tuple[str, str] | None:
    workflow: Workflow = load(text, "edited.yaml").workflow
    found = history.misfit(workflow)
    return None if found is None else (found.path, found.reason)


def test_there_are_histories_of_the_first_release() -> None:
    assert {file.stem for file in HISTORIES} == set(RUNS)


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_history_still_fits_its_document(file: Path) -> None:
    history = read_history(file)
    assert history.run.entries == len(history.entries) > 0
    assert misfit(history, document(file.stem)[1]) is None


EDITS = {
    "a step that is gone": (
        "  - id: charge\n    activity: charge\n",
        "  - id: pay\n    activity: charge\n",
        "charge",
    ),
    "other arguments": ("amount: ${{ input.amount }}", "amount: ${{ input.amount + 1 }}", "charge"),
    "another activity": ("activity: reserve\n    with", "activity: shop.ship\n    with", "reserve"),
    "a step in what is past": (
        "  - id: cooling_off\n",
        "  - id: check\n    activity: mail.send\n    with: {to: a, subject: b}\n  - id: cooling_off\n",
        "check",
    ),
}


@pytest.mark.parametrize(("old", "new", "path"), EDITS.values(), ids=EDITS)
def test_the_first_step_that_does_not_fit_is_named(old: str, new: str, path: str) -> None:
    _, text = document("order-waits")
    assert old in text
    found = misfit(
        read_history(WAITS), re.sub("output:.*\\Z", "", text.replace(old, new, 1), flags=re.DOTALL)
    )
    assert found is not None
    assert found[0] == path


def test_what_the_run_has_not_done_may_change() -> None:
    _, text = document("order-waits")
    edited = text.replace('subject: "Order', 'subject: "Your order', 1).replace(
        "timeout: 48h", "timeout: 72h", 1
    )
    assert edited != text
    assert misfit(read_history(WAITS), edited) is None


# --- files that are none


def test_a_file_that_is_no_history_is_refused(tmp_path: Path) -> None:
    for name, text in {
        "a": "",
        "b": "nonsense\n",
        "c": '{"flowctl": "plan"}\n',
        "d": '{"flowctl": "run", "format": 9}\n',
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=f"{name} is no exported run"):
            read_history(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        read_history(tmp_path / "gone")


def test_a_history_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    lines = WAITS.read_bytes().splitlines()
    (tmp_path / "cut").write_bytes(b"\n".join([*lines[:-1], lines[-1][:40]]))
    with pytest.raises(UsageError, match="is no exported run"):
        read_history(tmp_path / "cut")


def test_data_that_was_left_out_is_named_where_it_may_be_why(tmp_path: Path) -> None:
    header, *lines = [json.loads(line) for line in WAITS.read_text().splitlines()]
    for line in lines:
        if line["path"] == "reserve":
            line["data"].pop("output")
            line["redacted"] = True
    (tmp_path / "r").write_text("\n".join(map(json.dumps, [header, *lines])))
    found = misfit(read_history(tmp_path / "r"), document("order-waits")[1])
    assert found is not None
    assert "secret data of reserve is not in the export" in found[1]


# --- the command, and test files


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


def test_the_command_holds_histories_against_documents(flowctl: Flowctl, tmp_path: Path) -> None:
    file, text = document("order-waits")
    said = flowctl("test", "--replay", str(WAITS), "--to", str(file))
    assert (said.code, said.err) == (0, "")
    assert "✓" in said.out
    (tmp_path / "order.yaml").write_text(text.replace("input.amount }}", "input.amount + 1 }}", 1))
    said = flowctl("test", "--replay", str(WAITS), "--to", "order.yaml", "--json")
    assert said.code == 1
    [verdict] = said.json
    assert not verdict["fits"]
    assert "charge" in verdict["reason"]
    said = flowctl("test", "--replay", str(WAITS), "--to", str(EXAMPLES / "trip" / "trip.yaml"))
    assert (said.code, "it is a run of order" in said.out) == (1, True)


def _tested(folder: Path, histories: list[str], text: str) -> None:
    (folder / "order.yaml").write_text(text)
    (folder / "past").mkdir()
    (folder / "past" / "waits.jsonl").write_bytes(WAITS.read_bytes())
    case: dict[str, Any] = {"case": "it begins", "until": "0s", "expect": {"status": "blocked"}}
    case["input"] = {"order_id": "1", "amount": 1, "items": ["a"], "email": "a"}
    file = {"workflow": "./order.yaml", "histories": histories, "cases": [case]}
    (folder / "order.test.yaml").write_text(json.dumps(file))


def test_a_test_file_may_keep_histories(flowctl: Flowctl, tmp_path: Path) -> None:
    _tested(tmp_path, ["past/*.jsonl", "gone/*.jsonl"], document("order-waits")[1])
    said = flowctl("test", "-k", "past")
    assert (said.code, "✓ past/waits.jsonl fits" in said.out) == (0, True)
    said = flowctl("test", "-k", "gone")
    assert (said.code, "there is no file gone/*.jsonl" in said.out) == (1, True)


def test_without_documents_those_of_the_tests_are_meant(flowctl: Flowctl, tmp_path: Path) -> None:
    _tested(tmp_path, [], document("order-waits")[1])
    assert flowctl("test", "--replay", "past/waits.jsonl").code == 0
