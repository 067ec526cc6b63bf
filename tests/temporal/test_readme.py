"""What the README says of Temporal is what happens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.console import ROOT, reader
from tests.temporal.server import Server

ADDRESS = "localhost:7233"
EXITS = {"run": 3, "signal": 0, "worker": 0, "status": 0}


def test_the_commands_of_the_readme_bring_an_order_through(server: Server, tmp_path: Path) -> None:
    """But for the server, which is there, at an address of its own."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## When one machine is not enough\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    [block] = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    start, export, *commands = block.splitlines()
    assert start == "flowctl temporal dev &"
    assert [command.split()[:2] for command in commands] == [["flowctl", name] for name in EXITS]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = reader() | {
        "FLOWCTL_PLUGINS_DIR": "examples/order",
        "FLOWCTL_SECRET_MAIL_TOKEN": "demo",
        "SHOP_DB": str(tmp_path / "shop.db"),
    }
    export = export.replace(ADDRESS, server.target)
    said = ""
    for command, code in zip(commands, EXITS.values(), strict=True):
        done = subprocess.run(
            ["bash", "-c", f"{export}\n{command}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        said = done.stdout
    assert "completed" in said
    assert "confirm" in said
