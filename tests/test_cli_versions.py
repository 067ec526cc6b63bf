"""Versions on the command line: what deploy says about open runs, migrate, replay."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from flowctl.backends import open_backend
from flowctl.document import load
from flowctl.journal.opening import connect
from tests.cli_helpers import ORDER, SHOP, Flowctl, caller
from tests.function_helpers import PLUGIN


def version(number: int, *changes: str) -> str:
    """The document as another version; ``changes`` are texts and what takes their place, in turn."""
    text = ORDER.replace("version: 1", f"version: {number}")
    for before, after in zip(changes[::2], changes[1::2], strict=True):
        assert before in text
        text = text.replace(before, after)
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(SHOP)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"')
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "fits.yaml").write_text(version(2, "    retry: false\n", ""))
    (tmp_path / "misfit.yaml").write_text(
        version(3, "id: reserve", "id: book", "steps.reserve", "steps.book")
    )
    return tmp_path


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], folder: Path) -> Flowctl:
    return caller(capsys)


@pytest.fixture
def waiting(flowctl: Flowctl) -> str:
    """A run that waits for its approval."""
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp", "-i", "ask=true", "--wait", "0s")
    return "order-1"


FITS = {"id": "order-1", "fits": True, "path": None, "reason": None}

# --- deploy


def test_deploy_says_of_every_open_run_whether_it_could_be_migrated(flowctl: Flowctl, waiting: str) -> None:
    assert flowctl("deploy", "order.yaml", "--json").json["open_runs"] == [FITS]
    assert flowctl("deploy", "fits.yaml", "--json").json["open_runs"] == [FITS]
    said = flowctl("deploy", "misfit.yaml", "--json")
    [verdict] = said.json["open_runs"]
    assert (said.code, verdict["id"], verdict["fits"], verdict["path"]) == (0, waiting, False, "reserve")
    assert "does not have" in verdict["reason"]
    assert said.json["deployed"][0]["created"]


def test_deploy_shows_the_open_runs_before_it_registers(flowctl: Flowctl, waiting: str) -> None:
    out = flowctl("deploy", "fits.yaml", "misfit.yaml").out
    assert out.index("does not fit") < out.index("order@2 deployed") < out.index("order@3 deployed")
    assert out.count(waiting) == 1, "the latest of several versions is what counts"
    assert waiting not in flowctl("deploy", "fits.yaml", "--json", "--db", "other.db").out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_somebody_may_think_better_of_it(
    flowctl: Flowctl, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    said = flowctl("deploy", "misfit.yaml")
    assert (said.code, "1 open runs could not be migrated" in said.err) == (5, True)
    assert flowctl("workflows", "--json").json == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert flowctl("deploy", "misfit.yaml").code == 0


@pytest.mark.parametrize("arguments", [["misfit.yaml", "--force"], ["misfit.yaml", "--json"], ["fits.yaml"]])
def test_where_there_is_nothing_to_ask_nobody_is_asked(
    arguments: list[str], flowctl: Flowctl, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert flowctl("deploy", *arguments).code == 0


CHILD = "dsl: 1\nname: child\nsteps: [{sleep: 1s}]\n"


def parent(number: int, child: str) -> str:
    """A document that waits, and then runs a child."""
    steps = f"steps:\n  - wait_for_signal: go\n  - {{id: c, workflow: {child}}}\n"
    return f"dsl: 1\nname: parent\nversion: {number}\nsignals: {{go: {{}}}}\n{steps}"


@pytest.fixture
def family(flowctl: Flowctl, folder: Path) -> str:
    """A run that waits before it runs a child in a file; ``file.yaml`` and ``name.yaml`` have it as well."""
    (folder / "child.yaml").write_text(CHILD)
    (folder / "parent.yaml").write_text(parent(1, "./child.yaml"))
    (folder / "file.yaml").write_text(parent(2, "./child.yaml"))
    (folder / "name.yaml").write_text(parent(3, "child"))
    flowctl("run", "parent.yaml", "--id", "parent-1", "--wait", "0s")
    return "parent-1"


def test_a_document_with_a_child_in_a_file_is_not_deployed(flowctl: Flowctl, family: str) -> None:
    said = flowctl("deploy", "order.yaml", "file.yaml")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "error[UnknownWorkflow]: the child './child.yaml' is a file, and a deployed workflow has no folder"
        " (file.yaml:7:23), deploy the child too, and refer to it by its name\n"
    )
    assert flowctl("deploy", "parent.yaml").code == 2, "also if a run has made its text known"
    assert flowctl("workflows", "--json").json == []
    assert flowctl("deploy", "name.yaml", "child.yaml").code == 0
    assert flowctl("run", "parent", "--wait", "0s").code == 3


# --- migrate


def test_a_run_goes_on_with_another_document(flowctl: Flowctl, waiting: str, folder: Path) -> None:
    (folder / "new.yaml").write_text(version(4, "output: {item:", "output: {was: new, item:"))
    said = flowctl("migrate", waiting, "--to", "new.yaml", "--json")
    assert (said.code, said.json) == (0, {"id": waiting, "status": "waiting"})
    assert flowctl("status", waiting, "--json").json["version"] == 4
    flowctl("signal", waiting, "approve", "--payload", '{"by": "me"}')
    assert flowctl("resume", waiting, "--json").json["output"] == {"was": "new", "item": "lamp"}
    [created, *_] = lines = [
        json.loads(line) for line in flowctl("history", waiting, "--jsonl").out.splitlines()
    ]
    assert (created["kind"], created["version"]) == ("created", 1)
    [migrated] = [line for line in lines if line["kind"] == "migrated"]
    assert (migrated["from"]["version"], migrated["to"]["version"]) == (1, 4)
    assert "goes on with order v4, after order v1" in flowctl("history", waiting).out


@pytest.mark.parametrize("target", ["2", "order@2"])
def test_a_run_goes_on_with_a_deployed_version(target: str, flowctl: Flowctl, waiting: str) -> None:
    flowctl("deploy", "fits.yaml")
    said = flowctl("migrate", waiting, "--to", target)
    assert (said.code, "goes on with order@2" in said.out, "flowctl resume" in said.out) == (0, True, True)
    assert flowctl("migrate", waiting, "--to", "9").code == 4


def test_a_document_that_does_not_fit_is_exit_5_with_the_path_and_the_reason(
    flowctl: Flowctl, waiting: str
) -> None:
    said = flowctl("migrate", waiting, "--to", "misfit.yaml", "--json")
    error = said.json["error"]
    assert (said.code, error["code"], error["details"]["path"]) == (5, "DoesNotFit", "reserve")
    assert error["details"]["reason"] in error["message"]
    assert flowctl("status", waiting, "--json").json["version"] == 1


def test_check_only_says_whether_it_fits(flowctl: Flowctl, waiting: str) -> None:
    said = flowctl("migrate", waiting, "--to", "fits.yaml", "--check", "--json")
    assert (said.code, said.json) == (0, FITS)
    said = flowctl("migrate", waiting, "--to", "misfit.yaml", "--check", "--json")
    assert (said.code, said.json["fits"], said.json["path"]) == (5, False, "reserve")
    assert "does not fit" in flowctl("migrate", waiting, "--to", "misfit.yaml", "--check").out
    assert flowctl("status", waiting, "--json").json["version"] == 1


def test_check_looks_for_children_as_migrate_does(flowctl: Flowctl, family: str) -> None:
    for check in (["--check"], []):
        said = flowctl("migrate", family, "--to", "name.yaml", "--json", *check)
        assert (said.code, said.json["error"]["code"]) == (4, "NotFound")
        assert "no workflow child is deployed" in said.json["error"]["message"]
    flowctl("deploy", "child.yaml")
    for target in ("name.yaml", "file.yaml"):
        assert flowctl("migrate", family, "--to", target, "--check").code == 0
        assert flowctl("migrate", family, "--to", target).code == 0


def test_check_refuses_a_version_that_was_deployed_with_a_child_in_a_file(
    flowctl: Flowctl, family: str, folder: Path
) -> None:
    """Registries of before have some."""
    loaded = load((folder / "file.yaml").read_text(), "file.yaml")
    with contextlib.closing(open_backend(str(folder / ".flowctl" / "flowctl.db"))) as backend:
        backend.deploy(loaded.workflow, loaded.source)
    for line in (
        ["migrate", family, "--to", "2", "--check"],
        ["migrate", family, "--to", "2"],
        ["run", "parent"],
    ):
        said = flowctl(*line)
        assert (said.code, said.out) == (2, "")
        assert "the deployed workflow parent refers to the file ./child.yaml" in said.err


def test_check_looks_for_activities_as_migrate_does(flowctl: Flowctl, waiting: str, folder: Path) -> None:
    (folder / "new.yaml").write_text(version(4, "activity: shop.ship", "activity: shop.send"))
    for check in (["--check"], []):
        said = flowctl("migrate", waiting, "--to", "new.yaml", "--json", *check)
        assert (said.code, said.json["error"]["code"]) == (2, "UnknownActivity")


def test_check_knows_the_functions_of_plugins(flowctl: Flowctl, waiting: str, folder: Path) -> None:
    (folder / "plugins" / "doubling.py").write_text(PLUGIN)
    (folder / "new.yaml").write_text(version(4, "steps.reserve.output.item }}", "double('lamp') }}"))
    flowctl("deploy", "new.yaml")
    assert flowctl("migrate", waiting, "--to", "4", "--check").code == 0
    assert flowctl("migrate", waiting, "--to", "4").code == 0


def test_check_is_not_in_the_way_of_whoever_drives_the_run(
    flowctl: Flowctl, waiting: str, folder: Path
) -> None:
    driver = connect(str(folder / ".flowctl" / "flowctl.db"))
    driver.claim(waiting)
    assert flowctl("migrate", waiting, "--to", "fits.yaml", "--check").code == 0
    assert flowctl("migrate", waiting, "--to", "fits.yaml").code == 3
    driver.close()
    assert flowctl("migrate", waiting, "--to", "fits.yaml").code == 0


def test_what_cannot_be_migrated(flowctl: Flowctl, folder: Path) -> None:
    flowctl("run", "order.yaml", "--id", "done", "-i", "item=lamp")
    assert flowctl("migrate", "done", "--to", "fits.yaml").code == 5
    assert flowctl("migrate", "nobody", "--to", "fits.yaml").code == 4
    assert flowctl("migrate", "done").code == 2
    assert flowctl("migrate", "done", "--to", "missing.yaml").code == 2


# --- replay


def test_a_run_is_repeated_from_a_step_on(flowctl: Flowctl) -> None:
    flowctl("run", "order.yaml", "--id", "order-1", "-i", "item=lamp")
    said = flowctl("replay", "order-1", "--from", "ship", "--json")
    assert (said.code, said.json["status"], said.json["output"]) == (0, "completed", {"item": "lamp"})
    assert said.json["id"] not in ("order-1", None)
    assert flowctl("status", "@last", "--json").json["id"] == said.json["id"]
    out = flowctl("history", "@last").out
    assert ("reserve" in out, "served" in out) == (True, True)
    lines = [json.loads(line) for line in flowctl("history", "@last", "--jsonl").out.splitlines()]
    assert lines[0]["origin"]["run"] == "order-1"


def test_a_replay_exits_like_a_run(flowctl: Flowctl, waiting: str) -> None:
    assert flowctl("replay", waiting, "--from", "ship", "--wait", "0s").code == 3
    other = ["--input", '{"item": "lamp", "fail": true, "ask": true}']
    assert flowctl("replay", waiting, "--from", "reserve", *other, "--wait", "0s").code == 3
    flowctl("signal", "@last", "approve", "--payload", '{"by": "me"}')
    assert flowctl("resume", "@last").code == 1


def test_detach_only_accepts_the_replay(flowctl: Flowctl, waiting: str) -> None:
    said = flowctl("replay", waiting, "--from", "approval", "--detach", "--json")
    assert (said.code, said.json["status"]) == (0, "created")
    assert flowctl("status", said.json["id"], "--json").json["steps"] == []
    assert f"repeats {waiting} from ship" in flowctl("replay", waiting, "--from", "ship", "--detach").out


def test_what_cannot_be_repeated(flowctl: Flowctl) -> None:
    flowctl("run", "order.yaml", "--id", "bad", "-i", "item=lamp", "-i", "fail=true")
    said = flowctl("replay", "bad", "--from", "ship", "--json")
    assert (said.code, said.json["error"]["code"]) == (5, "NotServed")
    assert said.json["error"]["details"] == {"earliest": "reserve"}
    assert flowctl("replay", "bad", "--from", "nothing").code == 2
    assert flowctl("replay", "bad", "--from", "reserve", "--input", "[]").code == 2
    assert flowctl("replay", "nobody", "--from", "reserve").code == 4
