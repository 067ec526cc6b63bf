"""``@last``: the run last started from this folder, noted in a file, by address.

Temporal knows which run was started last by anybody, and not by whom.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

NOTES = Path(".flowctl", "temporal.json")


def note(url: str, run_id: str) -> None:
    """Remember the run. A folder that cannot be written to has none."""
    with contextlib.suppress(OSError, ValueError):
        NOTES.parent.mkdir(mode=0o700, exist_ok=True)
        noted = json.loads(NOTES.read_text()) if NOTES.exists() else {}
        written = NOTES.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps({**noted, url: run_id}))
        written.replace(NOTES)


def noted(url: str) -> str | None:
    """The id of the run that was noted, None if there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads(NOTES.read_text())[url])
    return None
