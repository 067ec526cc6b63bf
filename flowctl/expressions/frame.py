"""One evaluation: the names it sees, the fuel it has left, and the errors that end it.

Every evaluation ends within milliseconds, because everything that takes time or memory is paid for from one
budget of **fuel** before it is done. What an expression costs depends on its text and its data alone, never
on the machine or on what ran before, so that a replay comes to the same verdict. Text is at most 4,096
characters, so only what repeats has to pay: a comprehension for each round, an operator or function for the
elements and characters that it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from flowctl.errors import ExpressionError
from flowctl.values import MAX_BYTES

FUEL = 100_000
"""Units for one evaluation; a unit is about one operator, one element touched or 64 characters moved."""

ABSENT = 10
"""Units for a lookup that ends in nothing and is absorbed."""

ROUND = 2
"""Units for a round of a loop, besides what it evaluates."""

CHARACTERS = 6
"""Binary digits of the characters that one unit moves."""


class Names(Protocol):
    """What an expression can see. Roots are plain JSON, and asked for only if the expression names them."""

    def resolve(self, name: str) -> Any:
        """The value of a root such as ``input``; KeyError if there is none of that name here."""

    def known(self) -> Iterable[str]:
        """The names of all roots, for the hint that goes with an unknown one."""


class SecretRef(msgspec.Struct, frozen=True):
    """Stands where a secret will be when the activity runs. It never holds the value."""

    name: str


class Problem(Exception):
    """What an operator or a function has to say, before it has a place: becomes an ``ExpressionError``."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Absent(Exception):
    """A missing key, or null where a mapping was expected: what ``default`` and ``has`` absorb.

    Explaining one takes longer than finding it, so ``explain`` runs only if nobody absorbs it.
    """

    def __init__(self, explain: Callable[[], ExpressionError]) -> None:
        super().__init__()
        self.explain = explain


class Frame(msgspec.Struct, eq=False):
    """The state of one evaluation. A struct, because there is one in every step."""

    names: Names
    slots: list[Any] = []
    fuel: int = FUEL
    patterns: set[str] | None = None

    def spend(self, units: int) -> None:
        """Pay for work; Problem when the fuel is gone."""
        self.fuel -= units
        if self.fuel < 0:
            raise Problem("the expression takes too many steps", "leave work on large data to an activity")

    def spend_text(self, characters: int) -> None:
        """Pay for text about to be made, and refuse what is over the limit of all data."""
        if characters > MAX_BYTES:
            raise Problem(f"the text would be over the limit of {MAX_BYTES:,} characters")
        self.spend(characters >> CHARACTERS)

    def spend_walk(self, *values: Any, times: int = 1) -> None:
        """Pay for going through everything inside ``values``, ``times`` over."""
        for value in values:
            self.spend(work(value, self.fuel) * times)


Code = Callable[[Frame], Any]
"""A compiled part of an expression."""


def work(value: Any, limit: int) -> int:
    """Elements plus characters of a value, in units of fuel; stops soon after ``limit``."""
    units, left = 1, [value]
    while left and units <= limit:
        item = left.pop()
        kind = type(item)
        if kind is str:
            units += len(item) >> CHARACTERS
        elif kind is list or kind is dict:
            units += 1 + len(item)
            if units <= limit:
                left.extend(item.values() if kind is dict else item)
    return units
