"""A scenario on stage: a folder to play in, its servers, and flowctl, run there as anybody would.

The folder is a copy of the scenario's, so that nothing is written beside the sources. Servers take ports that
are free; whatever in the copy names one of the usual ports is told the real one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLAYED = ROOT / "build"
DATABASE = "SCENARIO_DB"
"""The variable that names another database than ``flowctl.db``: ``temporal://localhost:7233``."""
LEFT_OUT = shutil.ignore_patterns("README.md", "play_*.py", "test_*.py", "__pycache__")


class Server:
    """A server that is running."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Have it end, and wait for that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Stage:
    """``folder`` is where it is played; ``aloud``: whether what happens is shown."""

    def __init__(self, folder: Path, ends: ExitStack, *, aloud: bool) -> None:
        self.folder = folder
        self.aloud = aloud
        self._ends = ends

    def serve(self, name: str, *options: str, usually: int | None = None) -> Server:
        """Start ``examples.services.NAME``, or another module. ``usually``: its port in ``flowctl.toml``."""
        folder = self.folder / name.rpartition(".")[2]
        module = name if "." in name else f"examples.services.{name}"
        command = [sys.executable, "-m", module, "--folder", str(folder)]
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for flowctl; the end of their input is for them
        )
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline()), folder)
        self._ends.callback(server.stop)
        if usually is not None:
            settings = self.folder / "flowctl.toml"
            text = settings.read_text(encoding="utf-8")
            settings.write_text(text.replace(str(usually), str(server.port)), encoding="utf-8")
        return server

    def database(self, name: str, script: str) -> None:
        """Make a database from a file of SQL."""
        with closing(sqlite3.connect(self.folder / name)) as made:
            made.executescript((self.folder / script).read_text(encoding="utf-8"))

    def rows(self, database: str | Path, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What stands in a database."""
        with closing(sqlite3.connect(self.folder / database)) as opened:
            return opened.execute(query, parameters).fetchall()

    def command(self, *arguments: str) -> list[str]:
        """How flowctl is called here."""
        return [sys.executable, "-m", "flowctl", *arguments]

    def flowctl(self, *arguments: str, exits: int = 0) -> str:
        """Call flowctl, and show what it says or, if nothing is to be shown, return it."""
        if self.aloud:
            print(f"\n$ flowctl {' '.join(_quoted(argument) for argument in arguments)}", flush=True)
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=environment(),
            stdout=None if self.aloud else subprocess.PIPE,
            stderr=None if self.aloud else subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != exits:
            raise SystemExit(
                f"flowctl exited with {done.returncode}, not {exits}\n{done.stdout or ''}{done.stderr or ''}"
            )
        return done.stdout or ""

    def run(self, workflow: str, data: Mapping[str, Any], *options: str, exits: int = 0) -> str:
        """``flowctl run``."""
        return self.flowctl("run", workflow, "--input", json.dumps(data), *options, exits=exits)

    def say(self, text: str) -> None:
        """A heading."""
        if self.aloud:
            bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
            print(f"\n{bold}── {text}{plain}", flush=True)

    def tell(self, what: str, found: Sequence[object]) -> None:
        """What came of it, a line each."""
        if self.aloud:
            print(f"\n  {what}")
            for each in found or ["–"]:
                print(f"    {'  '.join(map(str, each)) if isinstance(each, tuple) else each}", flush=True)

    def table(self, what: str, database: str | Path, query: str) -> None:
        """What stands in a database, shown."""
        found = self.rows(database, query)
        widths = [max(len(str(cell)) for cell in column) for column in zip(*found, strict=True)]
        self.tell(
            what,
            ["  ".join(f"{cell!s:<{wide}}" for cell, wide in zip(row, widths, strict=True)) for row in found],
        )

    def files(self, folder: Path) -> list[str]:
        """The files below a folder, as paths from where it is played."""
        return sorted(
            f"{file.relative_to(self.folder)}  {file.stat().st_size:,} bytes"
            for file in folder.rglob("*")
            if file.is_file()
        )


def environment() -> dict[str, str]:
    """That of whoever plays it, without settings of flowctl that are about something else."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWCTL_")}
    return inherited | {"PYTHONUTF8": "1"}


def mails(folder: Path) -> list[EmailMessage]:
    """The messages in a mailbox, the oldest first."""
    files = sorted(folder.glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    read = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    return [message for message in read if isinstance(message, EmailMessage)]


def told(messages: Sequence[EmailMessage]) -> list[str]:
    """Messages in a line each."""
    return [f"to {message['To']}: {message['Subject']}" for message in messages]


@contextmanager
def stage(scenario: Path, folder: Path | None = None, *, aloud: bool = True) -> Iterator[Stage]:
    """Set a scenario up in ``folder`` (``build/NAME``, made anew); its servers end with the block."""
    if importlib.util.find_spec("flowctl_http") is None:
        raise SystemExit(
            f"the packages that it is built on are not there; say: make scenario-{scenario.name}"
        )
    if folder is None:
        folder = PLAYED / scenario.name
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scenario, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
    if os.environ.get(DATABASE):
        _keep_runs_at(os.environ[DATABASE], folder)
    with ExitStack() as ends:
        played = Stage(folder, ends, aloud=aloud)
        yield played
        if aloud and folder.is_relative_to(ROOT):
            _say_goodbye(folder.relative_to(ROOT))


def _keep_runs_at(database: str, folder: Path) -> None:
    """Have the project name a database; on Temporal with a queue that no other project shares."""
    settings = folder / "flowctl.toml"
    if database.startswith("temporal://") and "?" not in database:
        database += f"?task_queue={folder.name}-{hashlib.sha256(bytes(folder)).hexdigest()[:8]}"
    settings.write_text(f'db = "{database}"\n{settings.read_text(encoding="utf-8")}', encoding="utf-8")


def _say_goodbye(folder: Path) -> None:
    print(f"\nEverything is in {folder}. To look around:")
    print('  export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD/.venv/plugins:$PWD/.venv/scenarios"')
    print(f"  cd {folder} && flowctl list && flowctl history @last")


def _quoted(argument: str) -> str:
    plain = argument and all(each.isalnum() or each in "-_./=@:" for each in argument)
    return argument if plain else f"'{argument}'"
