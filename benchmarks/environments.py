"""Where peers are installed: in environments of their own, beside the project, made when first asked for.

What is installed is locked with hashes (``requirements/``, ``peers/package-lock.json``). An environment is
named after its lock, so a new lock makes a new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"


class Missing(Exception):
    """A peer cannot be installed here; says why."""


def python_with(name: str) -> Path:
    """The Python of an environment that has what ``requirements/NAME.lock`` says."""
    lock = ROOT / "requirements" / f"{name}.lock"

    def install(folder: Path) -> None:
        _call([sys.executable, "-m", "venv", str(folder)])
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _call([*pip, "--require-hashes", "-r", str(lock)])

    return _made(name, lock, install) / "bin" / "python"


def node_modules() -> Path:
    """The folder that has what ``peers/package-lock.json`` says, as ``node_modules``."""

    def install(folder: Path) -> None:
        folder.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / file, folder)
        _call(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)])

    return _made("node", PEERS / "package-lock.json", install) / "node_modules"


def _made(name: str, lock: Path, install: Callable[[Path], None]) -> Path:
    """An environment, made if it is not there whole."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowctl-benchmarks"
    folder = cache / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    done = folder / ".complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        install(folder)
        done.touch()
    return folder


def _call(arguments: list[str]) -> None:
    try:
        subprocess.run(arguments, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Missing(f"{arguments[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no reason given"]
        raise Missing(f"{arguments[0]} failed: {last[0]}") from error
