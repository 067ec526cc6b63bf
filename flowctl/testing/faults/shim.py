"""Building the shim and having it in a process.

It is C, because it has to stand between SQLite and the C library; it is built where it is used, because no
wheel fits every machine, and kept in the user's cache folder under the digest of its source.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from flowctl.testing.faults.plan import NO_PLAN, Plan

SOURCE = Path(__file__).with_name("shim.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-shared", "-fPIC", "-O2", "-o")
LIBRARIES = ("-ldl", "-lpthread")
PATIENCE = 60
"""Seconds that a compiler may take."""

_ARM, _MARK = "flowctl_faults_arm", "flowctl_faults_mark"


class Unavailable(Exception):
    """The shim cannot be had here; the message says why."""


def build(folder: Path | None = None) -> Path:
    """The shim as a shared library in ``folder``, built if it is not there. ``Unavailable``."""
    if sys.platform != "linux":
        raise Unavailable("faults at system calls need Linux")
    name = hashlib.sha256(SOURCE.read_bytes() + platform.machine().encode()).hexdigest()[:16]
    folder = folder or _cache()
    library = folder / f"faults-{name}.so"
    if not library.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _compile(library)
    return library


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowctl"


def _compile(library: Path) -> None:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise Unavailable(f"faults at system calls need a C compiler ({', '.join(COMPILERS)})")
    with tempfile.TemporaryDirectory(dir=library.parent) as unfinished:
        built = Path(unfinished, library.name)
        command = [compiler, *FLAGS, str(built), str(SOURCE), *LIBRARIES]
        # all of it is ours but the compiler, which is the one of this machine
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
        if done.returncode != 0:
            raise Unavailable(f"the fault shim does not compile here: {done.stderr.strip()[-500:]}")
        os.replace(built, library)


def preloading(library: Path) -> dict[str, str]:
    """The environment variables that have a new process load the shim; it does nothing without a plan."""
    before = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{library}:{before}" if before else str(library)}


def is_loaded() -> bool:
    """Whether this process has the shim."""
    return hasattr(ctypes.CDLL(None), _ARM)


def restart_with(library: Path) -> NoReturn:
    """Begin this process again, with the same arguments and the shim."""
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **preloading(library)})  # noqa: S606  # ourselves


def arm(plan: Plan = NO_PLAN) -> None:
    """Follow this plan from now on, in this process and those that it forks."""
    os.environ |= plan.environment()
    getattr(ctypes.CDLL(None), _ARM)()


def mark(text: str) -> None:
    """Put a mark into the trace, at the place where it is now."""
    getattr(ctypes.CDLL(None), _MARK)(text.encode())
