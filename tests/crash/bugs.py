"""Bugs, to be seeded into the processes of a harness: does it find them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowctl.journal import files


def synchronous(level: int) -> Callable[[], None]:
    """SQLite syncs less than we ask for."""

    def seed() -> None:
        files.WRITER_PRAGMAS["synchronous"] = level

    return seed


BUGS: Mapping[str, Callable[[], None]] = {
    "synchronous-normal": synchronous(1),
    "synchronous-off": synchronous(0),
}
