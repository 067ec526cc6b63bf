"""Documents on the command line: checked, deployed, run by name, deprecated; and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli_helpers import ORDER, SHOP, Flowctl, caller


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(SHOP)
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"')
    return tmp_path


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], folder: Path) -> Flowctl:
    return caller(capsys)


# --- checking


def test_a_valid_document_is_valid(flowctl: Flowctl) -> None:
    said = flowctl("validate", "order.yaml", "--strict", "--json")
    assert (said.code, said.json) == (0, [])
    assert flowctl("validate", "order.yaml").out == "order.yaml: valid\n"


def test_mistakes_are_all_shown_with_their_lines(flowctl: Flowctl, folder: Path) -> None:
    (folder / "order.yaml").write_text(ORDER.replace("retry:", "rety:").replace("input.ask", "input.sak"))
    said = flowctl("validate", "order.yaml")
    assert (said.code, said.out) == (2, "")
    assert "order.yaml:19:15" in said.err
    assert "order.yaml:24:5" in said.err
    found = flowctl("validate", "order.yaml", "--json").json
    assert len(found) == 2
    assert {"code", "severity", "message", "file", "line", "column", "hint"} == set(found[0])


@pytest.mark.parametrize("command", ["run", "deploy"])
def test_mistakes_stop_what_needs_a_valid_document(flowctl: Flowctl, folder: Path, command: str) -> None:
    (folder / "order.yaml").write_text(ORDER.replace("retry:", "rety:").replace("input.ask", "input.sak"))
    said = flowctl(command, "order.yaml", "--json")
    error = said.json["error"]
    assert (said.code, error["code"], len(error["details"]["errors"])) == (2, "InvalidDocument", 2)
    assert "rety" in flowctl(command, "order.yaml").err


def test_a_warning_is_a_mistake_only_if_asked_for(flowctl: Flowctl, folder: Path) -> None:
    (folder / "order.yaml").write_text(ORDER.replace("wait_for_signal: approve", "sleep: 1s"))
    said = flowctl("validate", "order.yaml", "--json")
    assert (said.code, [found["severity"] for found in said.json]) == (0, ["warning"])
    assert flowctl("validate", "order.yaml", "--strict").code == 2


def test_one_file_that_is_missing_does_not_hide_the_others(flowctl: Flowctl) -> None:
    said = flowctl("validate", "missing.yaml", "order.yaml", "--json")
    [found] = said.json
    assert (said.code, found["file"], found["line"]) == (2, "missing.yaml", None)
    said = flowctl("validate", "missing.yaml", "order.yaml")
    assert "missing.yaml" in said.err
    assert said.out == "order.yaml: valid\n"


def test_the_schema_is_printed_as_json(flowctl: Flowctl) -> None:
    for arguments in (["schema"], ["schema", "--json"]):
        assert "steps" in flowctl(*arguments).json["properties"]


BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "binary": bytes(range(256)) * 40,
    "huge": b"a: " + b"x" * 5_000_000,
    "a list": b"[1, 2]",
    "an alias bomb": b"a: &a [x]\nb: [*a, *a]\n",
    "a nest": b"[" * 100_000,
    "a lone surrogate": rb'name: "\ud800"',
    "utf-16": "dsl: 1".encode("utf-16"),
}


@pytest.mark.parametrize("kind", [*BAD_FILES, "missing", "folder", "pipe", "unreadable"])
@pytest.mark.parametrize("command", ["run", "validate", "deploy"])
def test_a_file_that_is_no_document_is_exit_2_and_a_few_lines(
    flowctl: Flowctl, folder: Path, command: str, kind: str
) -> None:
    file = folder / "bad.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "unreadable":
        file.touch(mode=0)
        if os.access(file, os.R_OK):
            pytest.skip("nothing is unreadable to this user")
    elif kind != "missing":
        file.write_bytes(BAD_FILES[kind])
    said = flowctl(command, "bad.yaml")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error[")
    assert len(said.err) < 2_000


# --- the registry


def test_a_deployed_workflow_is_run_by_name_until_it_is_deprecated(flowctl: Flowctl) -> None:
    deployed = flowctl("deploy", "order.yaml", "--json").json
    [entry] = deployed["deployed"]
    assert (entry["name"], entry["version"], entry["created"]) == ("order", 1, True)
    assert deployed["open_runs"] == []
    assert flowctl("deploy", "order.yaml", "--json").json["deployed"][0]["created"] is False
    assert flowctl("run", "order@1", "-i", "item=lamp", "--json").json["digest"] == entry["digest"]

    assert flowctl("deprecate", "order@1", "--message", "use 2").code == 0
    assert [found["deprecated"] for found in flowctl("workflows", "--json").json] == ["use 2"]
    said = flowctl("run", "order", "-i", "item=lamp")
    assert said.code == 0
    assert "warning: order@1 is deprecated: use 2" in said.err


def test_a_version_that_is_not_deployed_is_exit_4(flowctl: Flowctl) -> None:
    flowctl("deploy", "order.yaml")
    for line in ("run order@2", "run mail", "deprecate order@2"):
        assert flowctl(*line.split()).code == 4


def test_other_content_under_the_same_version_is_refused(flowctl: Flowctl, folder: Path) -> None:
    flowctl("deploy", "order.yaml")
    (folder / "order.yaml").write_text(ORDER.replace("retry: false", "retry: {attempts: 2}"))
    said = flowctl("deploy", "order.yaml")
    assert said.code == 5
    assert said.err.startswith("error[VersionTaken]")


def test_nothing_is_deployed_if_one_file_has_mistakes(flowctl: Flowctl, folder: Path) -> None:
    (folder / "bad.yaml").write_text("dsl: 1")
    assert flowctl("deploy", "order.yaml", "bad.yaml").code == 2
    assert not (folder / ".flowctl").exists()


# --- before a run


def test_activities_that_nobody_registers_are_all_named_with_the_nearest(
    flowctl: Flowctl, folder: Path
) -> None:
    (folder / "order.yaml").write_text(ORDER.replace("shop.ship", "shop.shipp").replace("shop.rel", "shop.l"))
    said = flowctl("run", "order.yaml", "-i", "item=lamp")
    assert said.code == 2
    assert said.err.startswith("error[UnknownActivity]: no plugin registers shop.lease")
    assert "shop.shipp (did you mean shop.ship?)" in said.err
    assert str(folder / "plugins") in said.err


def test_input_that_does_not_fit_starts_nothing(flowctl: Flowctl) -> None:
    for arguments in (
        ["-i", "itme=lamp"],
        [],
        ["--input", '{"item": 1}'],
        ["-i", "item=x", "-i", "fail=maybe"],
    ):
        said = flowctl("run", "order.yaml", *arguments)
        assert said.code == 2
        assert said.err.startswith("error[InvalidInput]")
    assert flowctl("list", "--json").json == []


def test_a_slip_of_the_pen_makes_no_database(flowctl: Flowctl, folder: Path) -> None:
    for line in ("run missing.yaml", "resume order-1", "signal order-1 approve", "cancel order-1", "list"):
        assert flowctl(*line.split()).code in (2, 4)
    assert not (folder / ".flowctl").exists()
