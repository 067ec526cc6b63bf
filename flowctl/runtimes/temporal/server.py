"""Temporal's development server: where its program is, and how it is called."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "FLOWCTL_TEMPORAL"
"""The environment variable that names the program."""


def program(environment: Mapping[str, str] = os.environ) -> str | None:
    """The path of Temporal's command line: what ``FLOWCTL_TEMPORAL`` names, else ``temporal`` on ``PATH``, or
    beside this Python. None if there is none.
    """
    named = environment.get(VARIABLE)
    if named:
        return shutil.which(named)
    return shutil.which("temporal", path=environment.get("PATH")) or shutil.which(
        "temporal", path=str(Path(sys.executable).parent)
    )


def words(
    program: str, *, port: int, database: str | None = None, ui: bool = False, namespaces: Sequence[str] = ()
) -> list[str]:
    """The command that serves at ``port`` of this machine until it is interrupted. Without ``database``, a
    file, all is forgotten then.
    """
    kept = ["--db-filename", database] if database is not None else []
    named = [word for namespace in namespaces for word in ("--namespace", namespace)]
    shown = [] if ui else ["--headless"]
    return [
        program,
        "server",
        "start-dev",
        "--port",
        str(port),
        *shown,
        *kept,
        *named,
        "--log-level",
        "error",
    ]
