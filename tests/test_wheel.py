"""What is published: a wheel, built and installed as anybody would, away from the sources it was made of."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests import console

ROOT = console.ROOT
STATIC = ROOT / "flowctl" / "server" / "static"
PIP = [sys.executable, "-m", "pip"]
OFFLINE = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]


class Installed(NamedTuple):
    """The wheel, a Python that has it, and where it was installed."""

    wheel: Path
    python: Path
    site: Path

    def flowctl(self, *words: str, cwd: Path) -> subprocess.Popen[str]:
        command = [str(self.python), "-m", "flowctl", *words]
        return subprocess.Popen(
            command, cwd=cwd, env=console.reader(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """In a virtual environment of its own, which has what flowctl needs from ours, and flowctl itself not."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    place = folder / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    [site] = place.glob("lib/python*/site-packages")
    subprocess.run([*PIP, "install", *OFFLINE, "--target", str(site), str(wheel)], check=True)
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, place / "bin" / "python", site)


@contextlib.contextmanager
def serving(installed: Installed, folder: Path) -> Iterator[str]:
    """The address that ``flowctl serve`` prints."""
    with installed.flowctl("serve", "--port", "0", "--json", cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            lines: list[str] = []
            while not lines or lines[-1].rstrip() != "}":
                lines.append(process.stdout.readline())
                assert lines[-1], process.stderr.read()
            yield json.loads("".join(lines))["url"]
        finally:
            process.send_signal(signal.SIGTERM)


def test_everything_that_is_read_while_it_runs_is_in_the_wheel(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        packed = {name: wheel.read(name) for name in wheel.namelist()}
    wanted = {
        f"flowctl/{path.relative_to(ROOT / 'flowctl')}": path
        for path in (ROOT / "flowctl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {f"flowctl/schemas/{path.name}": path for path in (ROOT / "schemas").glob("*.json")}
    assert sum(name.startswith("flowctl/server/static/assets/") for name in wanted) >= 3
    assert sum(name.startswith("flowctl/schemas/") for name in wanted) >= 3
    assert [name for name, path in wanted.items() if packed.get(name) != path.read_bytes()] == []


def test_nothing_but_the_package_is_in_the_wheel(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        rooms = {name.partition("/")[0] for name in wheel.namelist()}
    assert {room for room in rooms if not room.endswith(".dist-info")} == {"flowctl"}


def test_an_installed_wheel_serves_the_dashboard_without_the_sources(
    installed: Installed, tmp_path: Path
) -> None:
    where = [str(installed.python), "-c", "import flowctl; print(flowctl.__file__)"]
    found = subprocess.run(
        where, cwd=tmp_path, env=console.reader(), check=True, capture_output=True, text=True
    )
    assert found.stdout.startswith(str(installed.site))

    with serving(installed, tmp_path) as printed, httpx.Client() as browser:
        url, _, code = printed.partition("#code=")
        page = browser.get(url)
        names = re.findall(r'(?:src|href)="\./([^"]*)"', page.text)
        assert len(names) == 3
        for name in names:
            answer = browser.get(url + name)
            assert answer.content == (STATIC / name).read_bytes()
            assert not answer.headers["content-type"].startswith("text/html")
        assert browser.post(f"{url}api/v1/session", json={"code": code}).status_code == 201
        assert browser.get(f"{url}api/v1/runs").json()["runs"] == []


def test_an_installed_wheel_knows_its_schemas(installed: Installed, tmp_path: Path) -> None:
    with installed.flowctl("schema", cwd=tmp_path) as process:
        printed, said = process.communicate()
    assert said == ""
    schema: Any = json.loads((ROOT / "schemas" / "workflow.schema.json").read_text())
    assert json.loads(printed) == schema
