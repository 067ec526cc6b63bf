"""Points: what is done to a process and when, as it is written, and as it is chosen.

A point is a row of **blows**, ``late+12s@3,kill-after@17,EIO@40``. A blow is hard if the process that gets
it does not go on, so that another one begins: what follows it is for that one. Here the commit or answer with
the number 3 comes 12 s late in the first life, which is killed at its 17th call; the second life has a disk
that fails at the 40th.

=====================  ====================================================================================
kill-…, EIO, ENOSPC    ``@`` a system call by which the process changes its database
kill                   ``@`` so many milliseconds, where there is no shim
stop                   ``@`` a moment, at the next commit: the process stands still for longer than its lease
late+DURATION          ``@`` a moment, which takes so long: a commit, or the way of an answer
clock±DURATION         ``@`` a moment, or 0 for before the first: the wall clock is set
=====================  ====================================================================================

A **moment** is a commit, or the answer of an activity, in the order in which they come (``timing``).
"""

from __future__ import annotations

import dataclasses
import errno
import random
import re
from collections.abc import Iterator, Sequence

from flowctl.clock import format_duration, parse_duration
from flowctl.errors import UsageError
from flowctl.testing import faults

KILLS = {name: (name, 0) for name in (faults.KILL_BEFORE, faults.KILL_HALFWAY, faults.KILL_AFTER)}
ERRORS = {"EIO": (faults.FAIL, errno.EIO), "ENOSPC": (faults.FAIL, errno.ENOSPC)}
AT_CALLS = KILLS | ERRORS
AT_A_TIME, STOP, LATE, CLOCK = "kill", "stop", "late", "clock"
SOFT = (LATE, CLOCK)
"""The process goes on."""

KNOWN = (*AT_CALLS, AT_A_TIME, STOP, "late+DURATION", "clock+DURATION", "clock-DURATION")
MORE = {True: 1 / 2, False: 1 / 3}
"""How often another blow follows one that is soft, and one that is hard."""

AFTER_BEGINNING = 0.8
"""How often the clock is set while a process lives, and not between two lives."""

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
JUMPS = {
    1: (SECOND, 60 * SECOND, HOUR, DAY, 365 * DAY, 3650 * DAY),
    -1: (SECOND, 60 * SECOND, HOUR, DAY),
}
"""By how much a clock is set, forward and back. Nothing happens for as long as it is set back."""

_BLOW = re.compile(r"([A-Za-z-]+?)(?:([+-])(\d\w*))?@(\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True, slots=True)
class Blow:
    """One fault. ``by``: for how many milliseconds, of those that take or set time."""

    fault: str
    at: float
    by: int | None = None

    @property
    def soft(self) -> bool:
        """Whether the process goes on."""
        return self.fault in SOFT

    def __str__(self) -> str:
        by = "" if self.by is None else f"{'-' if self.by < 0 else '+'}{format_duration(abs(self.by))}"
        return f"{self.fault}{by}@{self.at:g}"


Point = tuple[Blow, ...]


def parse_point(text: str) -> Point:
    """The inverse of writing its blows with commas. ``UsageError``."""
    blows = [_parse(part) for part in text.split(",")]
    if None in blows:
        raise UsageError(
            f"{text!r} is no point", hint=f"write FAULT@NUMBER[,FAULT@NUMBER], of {', '.join(KNOWN)}"
        )
    return tuple(blow for blow in blows if blow is not None)


def _parse(text: str) -> Blow | None:
    found = _BLOW.fullmatch(text)
    if found is None:
        return None
    fault, sign, amount, at = found.groups()
    if fault not in (*AT_CALLS, AT_A_TIME, STOP, *SOFT) or (amount is None) == (fault in SOFT):
        return None
    if amount is None:
        return Blow(fault, float(at))
    if fault == LATE and sign == "-":
        return None
    try:
        return Blow(fault, float(at), parse_duration(amount) * (-1 if sign == "-" else 1))
    except ValueError:
        return None


def needs_shim(point: Point) -> bool:
    """Whether a point names system calls."""
    return any(blow.fault in AT_CALLS for blow in point)


def lives_of(point: Point) -> list[Point]:
    """The blows of each life. The last life ends by itself."""
    lives: list[Point] = [()]
    for blow in point:
        lives[-1] += (blow,)
        if not blow.soft:
            lives.append(())
    return lives


@dataclasses.dataclass(frozen=True)
class Extent:
    """What there is to be struck in an undisturbed run: its system calls, 0 without a shim; how many
    milliseconds it took; and for each of its moments how long a call could still have taken, None for
    commits.
    """

    calls: int
    milliseconds: float
    moments: Sequence[int | None]

    @property
    def kinds(self) -> list[str]:
        """All faults that can be tried."""
        return [*(AT_CALLS if self.calls else [AT_A_TIME]), STOP, *SOFT]


def points(chance: random.Random, count: int, extent: Extent) -> Iterator[Point]:
    """So many, spread over the whole run, with all kinds of faults in turn."""
    kinds: list[str] = []
    for number in range(count):
        kinds = kinds or chance.sample(extent.kinds, len(extent.kinds))
        first = _blow(kinds.pop(), (number + chance.random()) / count, chance, extent)
        more = chance.random() < MORE[first.soft]
        then = (_blow(chance.choice(extent.kinds), chance.random(), chance, extent),) if more else ()
        yield (first, *then)


def _blow(fault: str, share: float, chance: random.Random, extent: Extent) -> Blow:
    """At this share of the run."""
    if fault in AT_CALLS:
        return Blow(fault, 1 + int(share * extent.calls))
    if fault == AT_A_TIME:
        return Blow(fault, round(share * extent.milliseconds, 1))
    at = 1 + int(share * len(extent.moments))
    if fault == STOP:
        return Blow(fault, at)
    limits = [left for left in extent.moments if left is not None] or [SECOND]
    if fault == LATE:
        left = extent.moments[at - 1] if extent.moments else None
        limit = left if left is not None else chance.choice(limits)
        return Blow(fault, at, max(1, limit + chance.choice([-1, 1])))
    sign = chance.choice([-1, 1])
    by = chance.choice([*JUMPS[sign], chance.choice(limits) + chance.choice([-1, 1])])
    return Blow(fault, at if chance.random() < AFTER_BEGINNING else 0, sign * max(1, by))
