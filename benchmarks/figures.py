"""Figures: what was measured of whom, how they are kept, and the machine that they are of."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec

KEPT = Path(__file__).resolve().parent.parent / "docs" / "comparison.json"
"""The figures behind the chart and the table of docs/performance.md."""


class Figure(msgspec.Struct, frozen=True):
    """One measurement: ``ratio`` is how many times better flowctl is, in pairs that were measured in turn;
    ``target`` what the ratio, or, where there is none, the value is to be, in words.
    """

    who: str
    value: float
    ratio: float | None = None
    target: str = ""


Unit = Literal["steps/s", "s", "ms", "MB", "%"]


class Target(msgspec.Struct, frozen=True):
    """A row of the table of targets: what was measured, and what it is to be, at least or at most."""

    what: str
    measured: float
    wanted: float
    unit: str = ""
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is met."""
        return self.measured >= self.wanted if self.least else self.measured <= self.wanted


_WANTED = re.compile(r"(at least|under) ([0-9.]+)")


class Row(msgspec.Struct, frozen=True):
    """A piece of work and what everybody needed for it. flowctl stands first."""

    what: str
    unit: Unit
    figures: list[Figure]


class Comparison(msgspec.Struct):
    """All that was measured, on one machine. ``machine`` and ``versions`` are for people to read."""

    machine: dict[str, str]
    versions: dict[str, str]
    rows: list[Row]


def target(row: Row, figure: Figure) -> Target | None:
    """What a figure is to be, if that is a number: its ratio ``at least``, or it itself ``under``."""
    wanted = _WANTED.match(figure.target)
    if wanted is None:
        return None
    kind, number = wanted.groups()
    if kind == "under":
        return Target(row.what, figure.value, float(number), row.unit)
    assert figure.ratio is not None
    return Target(f"{row.what}: × {figure.who}", figure.ratio, float(number), least=True)


def targets(comparison: Comparison) -> list[Target]:
    """All of a comparison."""
    pairs = ((row, figure) for row in comparison.rows for figure in row.figures)
    return [found for row, figure in pairs if (found := target(row, figure)) is not None]


def machine(folder: str | None = None) -> dict[str, str]:
    """What the figures are of."""
    return {
        "processors": f"{os.cpu_count()} × {platform.machine()}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": f"{os.getloadavg()[0]:.0f} when it was begun",
        "fsync": f"{fsync_cost(folder) * 1e6:.0f} µs for 4 KiB",
    }


def fsync_cost(folder: str | None = None, times: int = 300) -> float:
    """Seconds, median, until 4 KiB that are written over are on the disk."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        taken = []
        for number in range(times):
            os.pwrite(file.fileno(), bytes(4096), number % 256 * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def compared(
    what: str,
    unit: Unit,
    rounds: list[dict[str, float]],
    targets: dict[str, str],
) -> Row:
    """A row of what was measured in rounds. The first of each round is flowctl. ``targets`` are by who is
    measured.
    """
    ours, *others = rounds[0]
    figures = [Figure(ours, statistics.median(each[ours] for each in rounds), target=targets.get(ours, ""))]
    for who in others:
        pairs = [(each[ours], each[who]) for each in rounds if who in each]
        ratios = [mine / theirs if unit == "steps/s" else theirs / mine for mine, theirs in pairs]
        value = statistics.median(theirs for _, theirs in pairs)
        figures.append(Figure(who, value, statistics.median(ratios), targets.get(who, "")))
    return Row(what, unit, figures)


def kept() -> Comparison | None:
    """The figures that are kept, if there are any."""
    return msgspec.json.decode(KEPT.read_bytes(), type=Comparison) if KEPT.exists() else None


def keep(comparison: Comparison, *, last: bool = False) -> None:
    """Keep figures. Rows of other names that are kept stay, after these unless these go ``last``."""
    before = kept()
    if before is not None:
        mine = {row.what for row in comparison.rows}
        others = [row for row in before.rows if row.what not in mine]
        comparison.rows = others + comparison.rows if last else comparison.rows + others
        comparison.versions = before.versions | comparison.versions
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n")
