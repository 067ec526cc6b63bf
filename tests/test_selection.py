"""Which runs a command takes: filters, ``--all``, and one command on many runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowctl.errors import RunClosed, StorageError, UnknownActivity
from flowctl.state import ENDED, RunStatus
from tests.cli_helpers import Flowctl, NoteTaker, caller


class Bulk(NoteTaker):
    """Several runs. ``refusals`` are raised by ``cancel``, ``ends`` is how runs end that are driven."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: dict[str, Exception] = {}
        self.ends: dict[str, str] = {}
        self.live_runs: set[str] = set()

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        if run_id in self.refusals:
            raise self.refusals[run_id]
        return super().cancel(run_id, reason, principal=principal)

    def status(self, run_id: str, **how: Any) -> dict[str, Any]:
        return self.document_of_run | {"id": run_id, "status": self.ends.get(run_id, "completed")}

    def drive(self, run_id: str, **how: Any) -> dict[str, Any]:
        super().drive(run_id, **how)
        return self.status(run_id)

    def is_taken(self, run_id: str) -> bool:
        return run_id in self.live_runs


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bulk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWCTL_DB", raising=False)
    backend = Bulk()
    backend.selected = {"b": "running", "a": "waiting"}
    backend.ends = {"a": "cancelled", "b": "compensated"}
    monkeypatch.setattr("flowctl.backends.open_backend", backend.open)
    return backend


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str]) -> Flowctl:
    return caller(capsys)


# --- filters


def test_list_hands_its_filters_on(flowctl: Flowctl, backend: Bulk) -> None:
    flowctl("list", "--status", "failed", "--status", "waiting", "--workflow", "order", "--limit", "3")
    flowctl("list", "--where", "region=eu")
    one, other = backend.asked("list")
    assert one == (("failed", "waiting"), "order", (), 3)
    assert other == ((), None, (("region", ["eu", "eu"]),), 50)


WHERE: Mapping[str, tuple[str, list[Any]]] = {
    "a text": ("c=c-1", ["c-1", "c-1"]),
    "a number, which may be a text": ("c=0042", ["0042", 42]),
    "a boolean": ("c=true", ["true", True]),
    "a null": ("c=null", ["null", None]),
    "nothing": ("c=", ["", None]),
    "more than a number can hold": (f"c={10**30}", [str(10**30)]),
    "an equals sign": ("c=a=b", ["a=b", "a=b"]),
}


@pytest.mark.parametrize(("text", "allowed"), WHERE.values(), ids=WHERE)
def test_where_means_the_text_and_what_it_says(
    flowctl: Flowctl, backend: Bulk, text: str, allowed: list[Any]
) -> None:
    assert flowctl("list", "--where", text).code == 0
    [(_, _, where, _)] = backend.asked("list")
    assert where == (("c", allowed),)


def test_values_of_one_attribute_are_alternatives(flowctl: Flowctl, backend: Bulk) -> None:
    flowctl("list", "--where", "c=x", "--where", "d=y", "--where", "c=z")
    [(_, _, where, _)] = backend.asked("list")
    assert where == (("c", ["x", "x", "z", "z"]), ("d", ["y", "y"]))


@pytest.mark.parametrize("text", ["customer", "=c-1", ""])
def test_where_must_be_a_key_and_a_value(flowctl: Flowctl, backend: Bulk, text: str) -> None:
    said = flowctl("list", "--where", text)
    assert said.code == 2
    assert "KEY=VALUE" in said.err


# --- RUN, or --all


@pytest.mark.parametrize(
    "line", ["cancel", "cancel order-1 --all", "cancel order-1 --status failed", "cancel --workflow order"]
)
def test_it_is_one_run_or_all_that_fit(flowctl: Flowctl, backend: Bulk, line: str) -> None:
    said = flowctl(*line.split())
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert backend.calls == []


def test_without_a_state_those_are_taken_in_whose_state_there_is_something_to_do(
    flowctl: Flowctl, backend: Bulk
) -> None:
    flowctl("cancel", "--all", "--detach", "--workflow", "order")
    flowctl("cancel", "--all", "--detach", "--status", "failed", "--limit", "2")
    (acted_on, workflow, _, limit), explicit = backend.asked("select")
    assert set(acted_on) == set(RunStatus) - ENDED - {RunStatus.COMPENSATING}
    assert (workflow, limit) == ("order", None)
    assert explicit == (("failed",), None, (), 2)


def test_all_are_asked_before_the_first_is_driven_the_oldest_first(flowctl: Flowctl, backend: Bulk) -> None:
    said = flowctl("cancel", "--all", "--reason", "over", "--principal", "ada", "--json")
    asked = [(call[0], call[1]) for call in backend.calls if call[0] in ("cancel", "drive")]
    assert asked == [("cancel", "a"), ("cancel", "b"), ("drive", "a"), ("drive", "b")]
    assert backend.asked("cancel")[0] == ("a", "over", "ada")
    assert said.code == 0
    assert said.json == [
        {"id": "a", "status": "cancelled", "error": None},
        {"id": "b", "status": "compensated", "error": None},
    ]


def test_what_somebody_else_drives_is_left_to_them(flowctl: Flowctl, backend: Bulk) -> None:
    backend.live_runs = {"a"}
    assert flowctl("cancel", "--all").code == 0
    assert [call[0] for call in backend.asked("drive")] == ["b"]


def test_detached_it_is_only_recorded(flowctl: Flowctl, backend: Bulk) -> None:
    said = flowctl("cancel", "--all", "--detach")
    assert backend.asked("drive") == []
    assert said.out.splitlines() == [
        "a: cancellation accepted",
        "b: cancellation accepted",
        "nobody is driving 2 of them; `flowctl resume RUN` goes on with one",
    ]


def test_a_run_that_refuses_does_not_stop_the_others(flowctl: Flowctl, backend: Bulk) -> None:
    backend.refusals = {"a": UnknownActivity("no plugin registers shop.release")}
    said = flowctl("cancel", "--all")
    assert (said.code, said.out) == (1, "b: compensated\n")
    assert said.err == "error[UnknownActivity]: no plugin registers shop.release\n"
    said = flowctl("cancel", "--all", "--json")
    assert said.json[0]["error"]["code"] == "UnknownActivity"


def test_a_run_that_ended_meanwhile_needs_nothing_any_more(flowctl: Flowctl, backend: Bulk) -> None:
    backend.refusals, backend.ends["a"] = {"a": RunClosed("run a is completed")}, "completed"
    said = flowctl("cancel", "--all", "--json", "--detach")
    assert (said.code, said.json[0]) == (0, {"id": "a", "status": "completed", "error": None})


def test_a_run_that_was_chosen_though_it_had_ended_refuses(flowctl: Flowctl, backend: Bulk) -> None:
    backend.refusals, backend.selected = {"a": RunClosed("run a is completed")}, {"a": "completed"}
    said = flowctl("cancel", "--all", "--status", "completed", "--json")
    assert (said.code, said.json[0]["error"]["code"]) == (1, "RunClosed")


def test_a_run_that_is_left_half_undone_shows_in_the_exit_code(flowctl: Flowctl, backend: Bulk) -> None:
    backend.ends["b"] = "compensation_failed"
    said = flowctl("cancel", "--all")
    assert (said.code, said.out) == (1, "a: cancelled\nb: compensation failed\n")


def test_a_storage_error_stops_everything(flowctl: Flowctl, backend: Bulk) -> None:
    backend.refusals = {"a": StorageError("the disk is gone")}
    assert flowctl("cancel", "--all").code == 74
    assert backend.asked("cancel") == []


def test_an_interruption_says_that_everything_was_accepted(flowctl: Flowctl, backend: Bulk) -> None:
    backend.fails = KeyboardInterrupt()
    said = flowctl("cancel", "--all")
    assert said.code == 130
    assert "accepted for every run" in said.err


def test_nothing_to_do_is_done(flowctl: Flowctl, backend: Bulk) -> None:
    backend.selected = {}
    assert flowctl("cancel", "--all").code == 0
    assert flowctl("cancel", "--all", "--json").json == []
