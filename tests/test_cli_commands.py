"""Commands: how they are parsed, what they ask of a backend that only takes notes, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowctl.errors import InvalidInput, RunClosed, RunOpen, StorageError
from flowctl.state import EXIT_CODES, RunStatus
from tests.cli_helpers import RUN, Flowctl, NoteTaker, caller


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NoteTaker:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWCTL_DB", raising=False)
    monkeypatch.delenv("FLOWCTL_PLUGINS_DIR", raising=False)
    backend = NoteTaker()
    monkeypatch.setattr("flowctl.backends.open_backend", backend.open)
    return backend


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str]) -> Flowctl:
    return caller(capsys)


# --- the shared options


@pytest.mark.parametrize(
    "line",
    [
        "--db x.db status order-1",
        "status --db x.db order-1",
        "status order-1 --db x.db",
        "status order-1 --db=x.db",
    ],
)
def test_a_shared_option_may_stand_anywhere(
    flowctl: Flowctl, backend: NoteTaker, tmp_path: Path, line: str
) -> None:
    assert flowctl(*line.split()).code == 0
    assert backend.opened["url"] == str(tmp_path / "x.db")


def test_the_option_after_the_command_wins(flowctl: Flowctl, backend: NoteTaker, tmp_path: Path) -> None:
    flowctl("--db", "one.db", "status", "order-1", "--db", "two.db")
    assert backend.opened["url"] == str(tmp_path / "two.db")


def test_json_before_the_command_counts_too(flowctl: Flowctl, backend: NoteTaker) -> None:
    assert flowctl("--json", "status", "order-1").json == RUN


@pytest.mark.parametrize("line", ["status order-1", "list", "history order-1", "workflows"])
def test_what_only_reads_opens_the_database_for_reading(
    flowctl: Flowctl, backend: NoteTaker, line: str
) -> None:
    assert flowctl(*line.split()).code == 0
    assert backend.opened["read_only"] is True
    assert backend.asked("close")


# --- runs


@pytest.mark.parametrize("status", RunStatus)
def test_resume_exits_as_the_run_stands(flowctl: Flowctl, backend: NoteTaker, status: RunStatus) -> None:
    backend.document_of_run["status"] = str(status)
    said = flowctl("resume", "order-1", "--json")
    assert said.code == EXIT_CODES[status]
    assert said.json["status"] == status


@pytest.mark.parametrize("status", RunStatus)
def test_status_and_list_exit_0_whatever_the_state(
    flowctl: Flowctl, backend: NoteTaker, status: RunStatus
) -> None:
    backend.document_of_run["status"] = str(status)
    assert flowctl("status", "order-1").code == 0
    assert flowctl("list", "--status", str(status)).code == 0


def test_resume_waits_for_a_minute_unless_told_otherwise(flowctl: Flowctl, backend: NoteTaker) -> None:
    for arguments in ([], ["--wait", "0s"], ["--wait", "PT1H"]):
        flowctl("resume", "@last", "--json", *arguments)
    assert backend.asked("drive") == [("order-1", 60_000), ("order-1", 0), ("order-1", 3_600_000)]


def test_an_interrupted_run_says_how_to_go_on(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.fails = KeyboardInterrupt()
    said = flowctl("resume", "order-1", "--db", "x.db")
    assert said.code == 130
    assert "flowctl resume order-1 --db x.db" in said.err
    assert flowctl("resume", "order-1", "--json").json["error"]["code"] == "Interrupted"


def test_an_unknown_outcome_of_the_storage_is_exit_74(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.fails = StorageError("the disk is gone")
    assert flowctl("resume", "order-1").code == 74


def test_detached_resume_drives_nothing(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.document_of_run["status"] = "waiting"
    said = flowctl("resume", "order-1", "--detach", "--json")
    assert (said.code, said.json) == (0, {"id": "order-1", "status": "waiting"})
    assert backend.asked("drive") == []


def test_cancel_records_first_and_then_drives(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.document_of_run["status"] = "cancelled"
    said = flowctl("cancel", "order-1", "--reason", "too late", "--principal", "ada", "--json")
    assert said.code == 1
    assert [call[0] for call in backend.calls if call[0] != "close"] == ["cancel", "drive"]
    assert backend.asked("cancel") == [("order-1", "too late", "ada")]


def test_detached_cancel_only_records(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("cancel", "order-1", "--detach", "--json")
    assert (said.code, said.json) == (0, {"id": "order-1", "status": "waiting"})
    assert backend.asked("drive") == []
    assert backend.opened["plugins"] is None


@pytest.mark.parametrize(
    ("command", "status"), [("pause", "paused"), ("unpause", "waiting"), ("terminate", "terminated")]
)
def test_what_only_accepts_drives_nothing_and_exits_0(
    flowctl: Flowctl, backend: NoteTaker, command: str, status: str
) -> None:
    said = flowctl(command, "order-1", "--json")
    assert (said.code, said.json) == (0, {"id": "order-1", "status": status})
    assert backend.asked(command) == [("order-1",)]
    assert backend.asked("drive") == []
    assert backend.opened["plugins"] is None


@pytest.mark.parametrize(("command", "goes_on"), [("pause", True), ("unpause", True), ("terminate", False)])
def test_what_only_accepts_says_how_to_go_on_if_nobody_is_there(
    flowctl: Flowctl, backend: NoteTaker, command: str, goes_on: bool
) -> None:
    assert ("flowctl resume order-1" in flowctl(command, "order-1").out) is goes_on
    backend.live = True
    assert "flowctl resume" not in flowctl(command, "order-1").out


@pytest.mark.parametrize("command", ["pause", "unpause"])
def test_what_a_failed_step_holds_is_let_go_by_no_resume(
    flowctl: Flowctl, backend: NoteTaker, command: str
) -> None:
    error = {"type": "Boom", "message": "no", "step": "b", "cause": None}
    backend.document_of_run = RUN | {"status": "paused", "error": error, "steps": []}
    out = flowctl(command, "order-1").out
    assert "flowctl resume" not in out
    assert "a failed step holds it; `flowctl retry order-1`" in out


def test_resume_lifts_a_pause_first(flowctl: Flowctl, backend: NoteTaker) -> None:
    flowctl("resume", "order-1", "--json")
    assert [call[0] for call in backend.calls if call[0] != "close"] == ["resume", "drive"]


def test_retry_records_first_and_then_drives(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("retry", "order-1", "--skip", "charge", "--skip", "ship", "--wait", "5s", "--json")
    assert said.code == 0
    assert backend.asked("retry") == [("order-1", ("charge", "ship"))]
    assert backend.asked("drive") == [("order-1", 5_000)]
    assert said.json == RUN


def test_detached_retry_only_records(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("retry", "order-1", "--detach", "--json")
    assert (said.code, said.json) == (0, {"id": "order-1", "status": "running"})
    assert backend.asked("drive") == []


def test_of_all_paused_runs_those_that_are_not_held_need_no_retry(
    flowctl: Flowctl, backend: NoteTaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run_id: str, *, skip: object = ()) -> None:
        raise RunOpen("nothing of it has failed")

    backend.selected = {"a": "paused"}
    monkeypatch.setattr(backend, "retry", refuse)
    said = flowctl("retry", "--all", "--detach", "--json")
    assert (said.code, said.json[0]["error"]) == (0, None)


def test_skipping_is_about_one_run(flowctl: Flowctl, backend: NoteTaker) -> None:
    assert flowctl("retry", "--all", "--skip", "charge").code == 2
    assert backend.asked("retry") == []


@pytest.mark.parametrize("command", ["pause", "unpause", "terminate", "retry"])
def test_operations_take_the_filters_of_list(flowctl: Flowctl, backend: NoteTaker, command: str) -> None:
    backend.selected = {"b": "paused", "a": "paused"}
    said = flowctl(command, "--all", "--status", "paused", "--workflow", "order", "--json")
    assert said.code == 0
    assert [answer["id"] for answer in said.json] == ["a", "b"]
    assert backend.asked("select") == [(("paused",), "order", (), None)]
    assert [call[0] for call in backend.asked(command)] == ["a", "b"]


def test_a_signal_is_delivered_with_all_it_carries(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl(
        *(
            "signal",
            "order-1",
            "approve",
            "--payload",
            '{"by": "ada"}',
            "--dedup-id",
            "7",
            "--principal",
            "ada",
        ),
        "--json",
    )
    assert (said.code, said.json) == (0, {"id": "order-1", "status": "waiting"})
    assert backend.asked("signal") == [("order-1", "approve", {"by": "ada"}, "7", "ada")]


def test_a_signal_without_payload_carries_null(flowctl: Flowctl, backend: NoteTaker) -> None:
    flowctl("signal", "order-1", "approve")
    assert backend.asked("signal") == [("order-1", "approve", None, None, None)]


def test_a_signal_says_how_to_go_on_only_where_nobody_is_there_to_act(
    flowctl: Flowctl, backend: NoteTaker
) -> None:
    assert "flowctl resume order-1" in flowctl("signal", "order-1", "approve").out
    backend.live = True
    assert "flowctl resume" not in flowctl("signal", "order-1", "approve").out


def test_steps_are_asked_for_by_number(flowctl: Flowctl, backend: NoteTaker) -> None:
    flowctl("status", "order-1", "--steps", "101:50")
    flowctl("status", "order-1")
    assert backend.asked("status") == [("order-1", 101, 50, None), ("order-1", None, 200, None)]


@pytest.mark.parametrize("text", ["5", "0:5", "5:0", "-1:5", "a:b", "1:99999999999", "1:2:3", ""])
def test_steps_must_be_two_numbers(flowctl: Flowctl, backend: NoteTaker, text: str) -> None:
    assert flowctl("status", "order-1", f"--steps={text}").code == 2


def test_history_is_a_list_or_a_line_for_each_entry(flowctl: Flowctl, backend: NoteTaker) -> None:
    entries = flowctl("history", "order-1", "--json").json
    lines = flowctl("history", "order-1", "--jsonl").out.splitlines()
    assert [entry["kind"] for entry in entries] == ["started", "completed"]
    assert [json.loads(line) for line in lines] == entries


# --- errors


def test_an_error_is_one_line_and_its_exit_code(flowctl: Flowctl, backend: NoteTaker) -> None:
    said = flowctl("status", "order-9")
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("error[RunNotFound]: there is no run order-9")
    assert said.err.count("\n") == 1


def test_with_json_an_error_is_the_one_document_on_standard_output(
    flowctl: Flowctl, backend: NoteTaker
) -> None:
    said = flowctl("status", "order-9", "--json")
    assert (said.code, said.err) == (4, "")
    assert said.json == {
        "error": {"code": "RunNotFound", "message": "there is no run order-9", "details": {}}
    }


@pytest.mark.parametrize("error", [RunClosed("it has ended"), InvalidInput("no"), StorageError("?")])
def test_flowctls_errors_know_their_exit_codes(
    flowctl: Flowctl, backend: NoteTaker, error: StorageError
) -> None:
    backend.fails = error
    assert flowctl("resume", "order-1").code == error.exit_code


def test_a_mistake_of_flowctls_own_is_one_line_with_what_to_report(
    flowctl: Flowctl, backend: NoteTaker
) -> None:
    backend.fails = ZeroDivisionError("division\nby zero")
    said = flowctl("resume", "order-1")
    assert said.code == 70
    assert said.err.startswith("error[InternalError]: ZeroDivisionError: division by zero;")
    assert "--debug" in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback(flowctl: Flowctl, backend: NoteTaker) -> None:
    backend.fails = ZeroDivisionError("division by zero")
    said = flowctl("resume", "order-1", "--debug")
    assert "Traceback" in said.err
    assert said.err.rstrip().splitlines()[-1].startswith("error[InternalError]")


def test_control_characters_in_an_error_do_not_reach_the_terminal(
    flowctl: Flowctl, backend: NoteTaker
) -> None:
    assert "\x1b" not in flowctl("status", "\x1b[31mred").err


USAGE = {
    "a command that is not there": (["rnu"], "did you mean 'run'?"),
    "an option that is not there": (["status", "@last", "--stesp", "1:2"], "--steps"),
    "an option of nobody": (["--jsno"], "--json"),
    "an argument too few": (["status"], "RUN"),
    "an argument too many": (["status", "a", "b"], "b"),
    "a value that is missing": (["status", "@last", "--db"], "--db"),
    "a duration without unit": (["resume", "@last", "--wait", "60"], "60s"),
    "a state that is none": (["list", "--status", "done"], "done"),
    "a number that is none": (["list", "--limit", "x"], "--limit"),
    "a limit of nothing": (["list", "--limit", "0"], "--limit"),
    "bytes that are not UTF-8": (["status", "\udcff"], "argument 2 is not UTF-8"),
}


@pytest.mark.parametrize(("arguments", "said"), USAGE.values(), ids=USAGE)
def test_wrong_usage_is_exit_2_and_says_what_would_be_right(
    flowctl: Flowctl, backend: NoteTaker, arguments: list[str], said: str
) -> None:
    answer = flowctl(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error[UsageError]: ")
    assert said in answer.err
    assert answer.err.count("\n") <= 3
    assert flowctl("--json", *arguments).json["error"]["code"] == "UsageError"


# --- the registry


def test_deprecate_needs_a_version(flowctl: Flowctl, backend: NoteTaker) -> None:
    assert flowctl("deprecate", "order").code == 2
    said = flowctl("deprecate", "order@2", "--message", "use 3", "--json")
    assert (said.code, said.json) == (0, {"name": "order", "version": 2, "deprecated": "use 3"})
    assert backend.asked("deprecate") == [("order", 2, "use 3")]


@pytest.mark.parametrize("name", ["order@0", "order@x", "Order@1", "order@1@2", "@1", "order@", "-"])
def test_what_is_neither_a_file_nor_a_name_is_refused(
    flowctl: Flowctl, backend: NoteTaker, name: str
) -> None:
    assert flowctl("run", "--", name).code == 2
    assert backend.asked("start") == []


# --- help


def test_help_lists_every_command_and_imports_none(flowctl: Flowctl) -> None:
    from flowctl.cli.commands import COMMANDS

    said = flowctl("--help")
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in COMMANDS)


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    import click

    from flowctl.cli.commands import COMMAND_LINE, COMMANDS

    context = click.Context(COMMAND_LINE)
    for name, (_, text) in COMMANDS.items():
        command = COMMAND_LINE.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert (command.help or "").splitlines()[0] == text


def test_without_a_command_the_help_is_shown_and_it_is_wrong_usage(flowctl: Flowctl) -> None:
    said = flowctl()
    assert said.code == 2
    assert said.out.startswith("Usage: flowctl")


# --- workers


@pytest.fixture
def order(tmp_path: Path) -> str:
    """A document that needs no plugin."""
    file = tmp_path / "order.yaml"
    file.write_text("dsl: 1\nname: order\nsteps: [{id: a, activity: core.log, with: {message: hello}}]\n")
    return str(file)


def test_start_accepts_a_run_and_prints_its_id(flowctl: Flowctl, backend: NoteTaker, order: str) -> None:
    backend.live = True
    said = flowctl("start", order, "-i", "item=lamp", "--id", "o", "--principal", "ada")
    assert (said.code, said.out, said.err) == (0, "order-1\n", "")
    [(request, claim)] = backend.asked("start")
    assert (request.input, request.id, request.principal, claim) == ({"item": "lamp"}, "o", "ada", False)
    assert backend.asked("drive") == []


def test_start_says_so_if_there_is_no_worker(flowctl: Flowctl, backend: NoteTaker, order: str) -> None:
    said = flowctl("start", order, "-i", "item=lamp")
    assert said.err == "no worker is running; `flowctl worker` executes what was started\n"
    said = flowctl("start", order, "-i", "item=lamp", "--json")
    assert said.json == {"id": "order-1", "workflow_id": "order-1", "created": True}
    assert said.err == ""


def test_a_worker_counts_the_runs_that_ended(flowctl: Flowctl, backend: NoteTaker) -> None:
    ended = {key: value for key, value in RUN.items() if key not in ("input", "output", "steps")}
    blocked = ended | {"status": "blocked", "blocked": {"code": "C", "reason": "no t.a here", "path": "a"}}
    backend.ending = [ended, ended, blocked]
    said = flowctl("worker", "--concurrency", "3", "--drain", "--json")
    assert said.json == {"completed": 2}
    assert backend.asked("work") == [(3, True)]
    lines = flowctl("worker").out.splitlines()
    assert lines[0].endswith(", Ctrl-C stops it")
    assert [line[10:] for line in lines[1:3]] == ["✓  order-1  completed in 1 s"] * 2
    assert lines[-1] == "the worker has stopped; runs that ended: 2 completed"


def test_a_worker_drives_one_run_at_least(flowctl: Flowctl) -> None:
    said = flowctl("worker", "--concurrency", "0")
    assert said.code == 2
    assert "0 is not in the range" in said.err
