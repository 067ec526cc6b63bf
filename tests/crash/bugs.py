"""Bugs, to be seeded into the processes of a harness: does it find them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowctl.journal import files
from flowctl.runtimes import embedded


def synchronous(level: int) -> Callable[[], None]:
    """SQLite syncs less than we ask for."""

    def seed() -> None:
        files.WRITER_PRAGMAS["synchronous"] = level

    return seed


def early_timers() -> None:
    """A timer trusts the loop's clock, and does not look whether it is time."""
    embedded._Timer._ring = lambda timer: timer._callback()  # type: ignore[method-assign]


BUGS: Mapping[str, Callable[[], None]] = {
    "synchronous-normal": synchronous(1),
    "synchronous-off": synchronous(0),
    "timers-trust-the-loop": early_timers,
}
