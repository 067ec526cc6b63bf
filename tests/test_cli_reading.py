"""Commands that look: what they ask of a backend, and what becomes of its answers."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_helpers import RUN, Flowctl, NoteTaker, caller

AT = "2030-01-01T00:00:02.000Z"
SHIPPED = {"seq": 3, "at": AT, "path": "ship", "kind": "completed", "attempt": 1, "output": "T-1"}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NoteTaker:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWCTL_DB", raising=False)
    backend = NoteTaker()
    monkeypatch.setattr("flowctl.backends.open_backend", backend.open)
    return backend


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str]) -> Flowctl:
    return caller(capsys)


# --- status --at and --watch


def test_a_moment_is_asked_for_by_the_path_of_a_step(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("status", "order-1", "--at", "ship")
    assert backend.asked("status") == [("order-1", None, 200, "ship")]
    assert "order-1  just before ship" in said.out
    assert flowctl("status", "order-1", "--at", "ship", "--json").json == RUN


def test_a_watched_run_is_shown_as_it_is_then_as_it_goes_on(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.document_of_run["status"], backend.coming = "running", [SHIPPED]
    said = flowctl("status", "order-1", "--watch")
    assert said.code == 0
    assert backend.asked("follow") == [("order-1", 2, True)]
    lines = said.out.splitlines()
    assert "order-1  running" in lines[0]
    assert any("ship" in line and '"T-1"' in line for line in lines)


def test_a_watched_run_that_rests_is_shown_once(flowctl: Flowctl, backend: NoteTaker) -> None:
    assert flowctl("status", "order-1", "--watch").out == flowctl("status", "order-1").out


def test_watch_with_json_is_one_document_when_it_is_over(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.coming = [SHIPPED]
    assert flowctl("status", "order-1", "--watch", "--json").json == RUN
    assert [call[0] for call in backend.calls if call[0] != "close"] == ["follow", "status"]


@pytest.mark.parametrize("option", [["--at", "ship"], ["--steps", "1:2"]])
def test_watching_has_no_past_and_no_pages(flowctl: Flowctl, backend: NoteTaker, option: list[str]) -> None:
    assert flowctl("status", "order-1", "--watch", *option).code == 2


# --- history --follow and --export


def test_a_followed_history_goes_on_with_what_comes(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.coming = [SHIPPED]
    lines = flowctl("history", "order-1", "--follow", "--jsonl").out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["charge", "charge", "ship"]
    assert "ship" in flowctl("history", "order-1", "--follow").out
    assert backend.asked("follow") == [("order-1", 0, False)] * 2


def test_a_stream_is_not_one_document(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("history", "order-1", "--follow", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "UsageError")


def test_an_export_is_a_file_of_its_own(flowctl: Flowctl, backend: NoteTaker, tmp_path: Path) -> None:
    said = flowctl("history", "order-1", "--export", "run.jsonl")
    assert (said.code, said.out) == (0, "order-1: 2 entries written to run.jsonl\n")
    file = tmp_path / "run.jsonl"
    header, *entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert (header["flowctl"], [entry["seq"] for entry in entries]) == ("run", [1, 2])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_export_as_json_says_what_it_wrote(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("history", "order-1", "--export", "run.jsonl", "--json")
    assert said.json == {"id": "order-1", "file": "run.jsonl", "entries": 2}


def test_an_export_overwrites_nothing(flowctl: Flowctl, backend: NoteTaker, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text("mine")
    said = flowctl("history", "order-1", "--export", "run.jsonl")
    assert (said.code, said.err.count("\n"), file.read_text()) == (5, 1, "mine")
    (tmp_path / "link").symlink_to(tmp_path / "not-there")
    assert flowctl("history", "order-1", "--export", "link").code == 5
    assert not (tmp_path / "not-there").exists()


def test_an_export_into_nowhere_is_a_slip_of_the_pen(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("history", "order-1", "--export", "nowhere/run.jsonl")
    assert (said.code, said.out) == (2, "")


def test_half_an_export_is_removed(
    flowctl: Flowctl, backend: NoteTaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(run_id: str) -> Iterator[dict[str, Any]]:
        yield {"flowctl": "run"}
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backend, "export", export)
    said = flowctl("history", "order-1", "--export", "run.jsonl")
    assert (said.code, list(tmp_path.iterdir())) == (74, [])
    assert "No space left on device" in said.err


@pytest.mark.parametrize("option", ["--follow", "--jsonl"])
def test_an_export_is_no_display(flowctl: Flowctl, backend: NoteTaker, option: str) -> None:
    assert flowctl("history", "order-1", "--export", "run.jsonl", option).code == 2


# --- diff


def test_diff_compares_two_runs_with_all_their_steps(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("diff", "order-1", "@last", "--json")
    assert said.code == 0
    assert list(said.json) == ["runs", "differences", "times"]
    assert said.json["differences"] == []
    assert all(count > 10**9 for _, _, count, _ in backend.asked("status"))
    assert "no differences" in flowctl("diff", "order-1", "@last").out


def test_diff_needs_two_runs(flowctl: Flowctl, backend: NoteTaker) -> None:
    assert flowctl("diff", "order-1").code == 2
    assert flowctl("diff", "order-1", "order-9").code == 4


@pytest.mark.parametrize("line", ["diff order-1 @last", "history order-1 --follow", "status order-1 --watch"])
def test_what_only_looks_opens_the_database_for_reading(
    flowctl: Flowctl, backend: NoteTaker, line: str
) -> None:
    assert flowctl(*line.split()).code == 0
    assert backend.opened["read_only"] is True
