"""What the expressions of test files can see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ACT = ("args", "attempt", "call", "input", "key", "step")
"""In the answers of mocks: the call's arguments and attempt, the number of the step among those that call
the activity, the run's input, the idempotency key, and the step's path.
"""

EFFECT = ("args", "result", "key", "step")
"""In what effects are known by: the call, and what it returned."""

RUN = (
    *("input", "status", "output", "error", "saga", "steps", "calls", "elapsed"),
    *("done", "undone", "left", "effects"),
)
"""In invariants and under ``that``: what came of the run, and of its effects, by name."""


class Roots:
    """Names from a mapping, as expressions ask for them."""

    __slots__ = ("_roots",)

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._roots = roots

    def resolve(self, name: str) -> Any:
        """See ``expressions.Names``."""
        return self._roots[name]

    def known(self) -> Iterable[str]:
        """See ``expressions.Names``."""
        return self._roots
