"""``validate`` and ``schema`` at the command line, with a project's plugins and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_helpers import ORDER, SHOP, Flowctl, caller

PLUGIN = SHOP + (
    '\n\n@activity("shop.pack")\n'
    'def pack(weight: float, box: str = "small") -> dict[str, int]:\n    raise ValueError\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(PLUGIN)
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"')
    return tmp_path


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], folder: Path) -> Flowctl:
    return caller(capsys)


def written(folder: Path, steps: str) -> str:
    (folder / "t.yaml").write_text(f"dsl: 1\nname: t\nsteps:\n{steps}")
    return "t.yaml"


def test_arguments_are_held_against_the_activities_that_are_installed(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {id: a, activity: shop.pack, with: {wieght: 1}}\n")
    said = flowctl("validate", file)
    assert said.code == 2
    assert said.err.splitlines()[:3] == [
        "error[UnknownArgument]: shop.pack takes no argument 'wieght' (t.yaml:4:41), did you mean 'weight'?",
        "    4 |   - {id: a, activity: shop.pack, with: {wieght: 1}}",
        "                                                ^",
    ]


def test_without_plugins_the_names_of_activities_are_not_judged(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {id: a, activity: shop.pck, with: {whatever: 1}}\n")
    assert flowctl("validate", file).code == 2
    (folder / "flowctl.toml").unlink()
    assert flowctl("validate", file).code == 0
    near = written(folder, "  - {id: a, activity: core.eco}\n")
    assert "did you mean 'core.echo'?" in flowctl("validate", near).err


def test_children_are_looked_for_beside_the_document(flowctl: Flowctl, folder: Path) -> None:
    (folder / "flows").mkdir()
    (folder / "flows" / "parent.yaml").write_text(
        "dsl: 1\nname: parent\nsteps: [{id: c, workflow: ./child.yaml}]\n"
    )
    assert "there is no file './child.yaml'" in flowctl("validate", "flows/parent.yaml").err
    (folder / "flows" / "child.yaml").write_text("dsl: 1\nname: child\nsteps: [{sleep: 1s}]\n")
    assert flowctl("validate", "flows/parent.yaml").code == 0


def test_mistakes_do_not_hide_warnings(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {set: {x: 1}}\n  - {sleep: 1s, tiemout: 2s}\n")
    found = flowctl("validate", file, "--json").json
    assert [(one["code"], one["severity"]) for one in found] == [
        ("Unused", "warning"),
        ("UnknownKey", "error"),
    ]


def test_strict_makes_mistakes_of_warnings(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {set: {x: 1}}\n")
    assert flowctl("validate", file).code == 0
    said = flowctl("validate", file, "--strict", "--json")
    assert (said.code, [one["severity"] for one in said.json]) == (2, ["error"])
    assert flowctl("validate", file, "--strict").err.startswith("error[Unused]")


def test_fix_mends_the_file_and_tells_what_it_did(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - sleep: 1h   # wait\n    tiemout: 2h\n")
    said = flowctl("validate", file, "--fix")
    assert (said.code, said.out) == (0, "t.yaml:5:5: 'tiemout' is 'timeout' now\nt.yaml: valid\n")
    assert (folder / file).read_text().endswith("  - sleep: 1h   # wait\n    timeout: 2h\n")
    assert flowctl("validate", file, "--fix").out == "t.yaml: valid\n"


def test_fix_leaves_what_is_not_certain_and_says_so(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {id: a, activity: shop.pack, with: {weight: 1}, retry: {max_retries: 3}}\n")
    before = (folder / file).read_text()
    said = flowctl("validate", file, "--fix", "--json")
    assert (said.code, [one["code"] for one in said.json]) == (2, ["NotIdempotent", "UnknownKey"])
    assert (folder / file).read_text() == before


def test_fix_with_json_prints_one_document(flowctl: Flowctl, folder: Path) -> None:
    file = written(folder, "  - {sleep: 1h, tiemout: 2h}\n")
    said = flowctl("validate", file, "--fix", "--json")
    assert (said.code, said.json) == (0, [])
    assert said.err == "t.yaml:4:17: 'tiemout' is 'timeout' now\n"


def test_fix_of_a_file_that_is_not_there_is_a_mistake(flowctl: Flowctl) -> None:
    assert flowctl("validate", "nowhere.yaml", "--fix").code == 2


def test_the_schema_knows_the_activities_that_are_installed(flowctl: Flowctl) -> None:
    plain, more = flowctl("schema").json, flowctl("schema", "--with-activities").json
    assert "anyOf" not in plain["$defs"]["activity_name"]
    names = [each.get("const") for each in more["$defs"]["activity_name"]["anyOf"]]
    assert {"shop.pack", "core.echo"} < set(names)
    arguments = more["$defs"]["activity:shop.pack:arguments"]["anyOf"][0]
    assert arguments["required"] == ["weight"]
    assert list(arguments["properties"]) == ["weight", "box"]
