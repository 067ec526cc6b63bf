"""``flowctl init``: what it makes works, as its own README says, and it overwrites nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from flowctl.cli.scaffold import COMMANDS, make
from tests import console
from tests.cli_helpers import Flowctl, caller

PROJECT = [
    ".gitignore",
    "README.md",
    "flowctl.toml",
    "order.test.yaml",
    "order.yaml",
    "plugins/shop.py",
    "pytest.ini",
]
FILES = {
    "project": [*PROJECT, "tests/test_order.py"],
    "plugin": [
        *(
            ".gitignore",
            "README.md",
            "flowctl_acme.py",
            "greeting.test.yaml",
            "greeting.yaml",
            "pyproject.toml",
        ),
        "tests/test_flowctl_acme.py",
    ],
}


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def readme(folder: Path) -> list[str]:
    """The commands of the README, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [command for block in blocks for command in block.splitlines()]


def run(command: str, folder: Path, **environment: str) -> None:
    """Like a reader in a shell; ``# exits N`` says how the command exits, if not with 0."""
    said = re.search(r"# exits (\d+)$", command)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=console.reader() | {"PYTEST_ADDOPTS": "-p no:cacheprovider"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (int(said[1]) if said else 0), f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("template", FILES)
def test_everything_is_written_and_nothing_left_to_fill_in(
    flowctl: Flowctl, tmp_path: Path, template: str
) -> None:
    said = flowctl("init", "new/flowctl-acme", "--template", template, "--json")
    folder = tmp_path / "new" / "flowctl-acme"
    assert said.code == 0
    assert (said.json["folder"], said.json["template"]) == (str(folder), template)
    assert sorted(said.json["files"]) == files(folder) == FILES[template]
    assert said.json["commands"][0] == "cd new/flowctl-acme"
    assert not any(re.search("@[A-Z]+@", (folder / name).read_text()) for name in files(folder))


def test_what_is_printed_can_be_typed(flowctl: Flowctl) -> None:
    said = flowctl("init")
    assert (said.code, said.err) == (0, "")
    lines = [line.strip() for line in said.out.splitlines()]
    assert lines[-len(COMMANDS["project"]) :] == list(COMMANDS["project"])
    assert "./order.yaml" in lines
    assert not any(line.startswith("cd ") for line in lines), "we are there already"


@pytest.mark.parametrize("template", COMMANDS)
def test_the_readme_has_the_commands_that_are_printed(tmp_path: Path, template: str) -> None:
    made = make(str(tmp_path / "flowctl-acme"), template)
    said = " ".join((tmp_path / "flowctl-acme" / "README.md").read_text().split())
    assert all(command.removesuffix(" -e '.[dev]'") in said for command in made.commands)


def test_a_project_does_what_its_readme_says(tmp_path: Path) -> None:
    make(str(tmp_path), "project")
    commands = readme(tmp_path)
    assert "python -m pytest" in commands
    for command in commands:
        run(command, tmp_path)


def test_a_plugin_can_be_installed_and_does_what_its_readme_says(tmp_path: Path) -> None:
    folder, site = tmp_path / "flowctl-acme", tmp_path / "site"
    make(str(folder), "plugin")
    install, *commands = readme(folder)
    assert install == "python -m pip install -e ."
    offline = "--quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check"
    run(f"{sys.executable} -m pip install {offline} --target {site} .", folder)
    assert "flowctl activities acme.greet" in commands
    for command in commands:
        run(command, folder, PYTHONPATH=str(site), FLOWCTL_DB=str(tmp_path / "test.db"))


def test_a_wheel_that_is_installed_needs_no_configuration_and_one_that_is_broken_is_named(
    tmp_path: Path,
) -> None:
    """In a virtual environment of its own, which has flowctl and what it needs from ours."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    [site] = place.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n" + str(console.ROOT) + "\n")
    offline = "--quiet --no-index --no-deps --disable-pip-version-check"
    for name in ("acme", "broken"):
        folder = tmp_path / f"flowctl-{name}"
        make(str(folder), "plugin")
        if name == "broken":
            (folder / "flowctl_broken.py").write_text("import nothing_of_that_name\n")
        pip = f"{sys.executable} -m pip"
        run(f"{pip} wheel {offline} --no-build-isolation --wheel-dir {tmp_path / 'wheels'} .", folder)
    [*wheels] = (tmp_path / "wheels").glob("*.whl")
    assert len(wheels) == 2
    run(f"{sys.executable} -m pip install {offline} --target {site} {' '.join(map(str, wheels))}", tmp_path)

    done = subprocess.run(
        [place / "bin" / "python", "-m", "flowctl", "activities", "acme.greet"],
        cwd=tmp_path,
        env=console.reader(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "acme.greet" in done.stdout
    assert "flowctl_broken" in done.stderr
    assert "nothing_of_that_name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", FILES["project"])
def test_a_single_file_that_is_there_already_stops_everything(
    flowctl: Flowctl, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.symlink_to("nowhere")
    said = flowctl("init")
    assert (said.code, said.out, said.err.count("\n")) == (5, "", 1)
    assert name in said.err
    assert [file for file in tmp_path.rglob("*") if not file.is_dir()] == [mine]
    assert not mine.exists()


def test_other_files_are_left_alone(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert flowctl("init").code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    said = flowctl("init", "here")
    assert (said.code, said.err.count("\n")) == (2, 1)


NAMES = {"acme": "acme", "flowctl-acme": "acme", "Acme Tools": "acme_tools", "acme_tools.2": "acme_tools_2"}


@pytest.mark.parametrize(("folder", "prefix"), NAMES.items())
def test_a_plugin_is_called_as_its_folder_is(tmp_path: Path, folder: str, prefix: str) -> None:
    made = make(str(tmp_path / folder), "plugin")
    assert made.commands[1] == f"flowctl activities {prefix}.greet"


@pytest.mark.parametrize(
    "folder", ["flowctl", "json", "class", "9lives", "flowctl-9lives", "-", "café", "flowctl-"]
)
def test_a_name_that_no_package_can_have_is_refused(flowctl: Flowctl, tmp_path: Path, folder: str) -> None:
    said = flowctl("init", "--template", "plugin", "--", folder)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []
