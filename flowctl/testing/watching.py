"""Watching the files that tests depend on: by looking, because that works everywhere and needs nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

from flowctl.testing.suite import SKIPPED

LOOKS_EVERY = 0.3
"""Seconds between two looks."""

SUFFIXES = (".yaml", ".yml", ".json", ".jsonl", ".py", ".toml")
"""How the names of files end that tests can depend on."""


def seen(paths: Sequence[str]) -> dict[str, int]:
    """When the files in the folders of ``paths`` were last written."""
    found: dict[str, int] = {}
    for path in paths:
        for folder, folders, files in os.walk(path if os.path.isdir(path) else os.path.dirname(path) or "."):
            folders[:] = [each for each in folders if not each.startswith(".") and each not in SKIPPED]
            for file in files:
                if file.endswith(SUFFIXES):
                    name = os.path.join(folder, file)
                    try:
                        found[name] = os.stat(name).st_mtime_ns
                    except OSError:
                        continue  # it was there a moment ago
    return found


def changes(look: Callable[[], dict[str, int]], wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """At once, and then whenever what one sees has changed."""
    before: dict[str, int] | None = None
    while True:
        now = look()
        if now != before:
            before = now
            yield
        else:
            wait(LOOKS_EVERY)
