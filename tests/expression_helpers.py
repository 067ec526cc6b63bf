"""What tests of the expression language see: one scope with a bit of everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from flowctl.errors import ExpressionError
from flowctl.expressions import parse

ROOTS: dict[str, Any] = {
    "input": {
        "amount": 1500,
        "express": False,
        "email": "ann@example.org",
        "items": [{"sku": "a", "price": 2.5, "class": "x"}, {"sku": "b", "price": 10, "class": "y"}],
        "customer": None,
        "order-id": "0012",
        "größe": "L",
        "empty": [],
    },
    "steps": {
        "ship": {"output": {"tracking": "T1"}, "status": "completed", "error": None},
        "if": {"output": 7},
    },
    "run": {"id": "order-1", "elapsed": 12.5},
    "now": "2026-11-21T07:08:25.123Z",
    "word": "state",
}


class Scope:
    """Names over plain data, which remembers what it was asked for."""

    def __init__(self, roots: dict[str, Any] | None = None) -> None:
        self.roots = ROOTS if roots is None else roots
        self.asked: list[str] = []

    def resolve(self, name: str) -> Any:
        self.asked.append(name)
        return self.roots[name]

    def known(self) -> Iterable[str]:
        return self.roots


def evaluate(text: str, /, **roots: Any) -> Any:
    """The value of an expression among ``ROOTS``, or among the given roots alone."""
    return parse(text).evaluate(Scope(roots or None))


def refused(text: str, /, **roots: Any) -> ExpressionError:
    """The error of an expression that does not parse, or not evaluate; its place is always in its source."""
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, **roots)
    error = caught.value
    assert error.source == text.strip()
    assert error.offset is not None
    assert 0 <= error.offset <= len(error.source)
    return error
