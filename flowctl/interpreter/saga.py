"""The saga: what completed steps registered, and how it is undone (language.md, section 4).

Three rules. What is registered is *data*: a path, the compensation, and the part of the scope it needs,
captured when the step started. It is undone in reverse order of completion, one at a time, shielded from
every cancellation. And a compensation that fails is recorded and does not stop the rest, unless it says
so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flowctl.errors import Failure, StepFailed
from flowctl.model import Compensation
from flowctl.path import Path
from flowctl.state import RunStatus


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """A step that can be undone, or that is known to have no undo (``compensation`` None, ``irreversible``).

    ``key`` is its own idempotency key, if it brought one; ``result`` its raw result, None if it is
    unknown; ``order`` that of its completion.
    """

    path: Path
    step_id: str | None
    order: int
    compensation: Compensation | None
    captured: Mapping[str, Any]
    args: Any = None
    result: Any = None
    key: str | None = None
    secret: bool = False


class Saga:
    """What one branch registered so far, and what became of it."""

    __slots__ = ("failed", "in_doubt", "not_undone", "registered", "undone")

    def __init__(self) -> None:
        self.registered: list[Registered] = []
        self.undone: list[str] = []
        self.failed: list[str] = []
        self.in_doubt: list[str] = []
        self.not_undone: list[str] = []

    def register(self, item: Registered) -> None:
        """Remember a step as one to undo."""
        self.registered.append(item)

    def mark(self) -> int:
        """The present state, for ``replace_since``."""
        return len(self.registered)

    def replace_since(self, mark: int, item: Registered) -> None:
        """A block completed that has a compensation of its own: it stands for all that its steps
        registered.
        """
        self.registered[mark:] = [item]

    async def undo_all(self, undo: Callable[[Registered], Awaitable[None]]) -> None:
        """Undo everything registered, latest completion first."""
        items = sorted(self.registered, key=lambda item: item.order, reverse=True)
        self.registered.clear()
        for position, item in enumerate(items):
            if item.compensation is None:
                self.not_undone.append(str(item.path))
                continue
            try:
                await undo(item)
            except StepFailed:
                self.failed.append(str(item.path))
                if item.compensation.on_failure == "stop":
                    self.failed.extend(
                        str(left.path) for left in items[position + 1 :] if left.compensation is not None
                    )
                    return
            else:
                self.undone.append(str(item.path))

    def status_after(self, error: Failure) -> RunStatus:
        """The state of a run that ended with ``error`` once everything that could be undone was."""
        if self.failed or self.in_doubt:
            return RunStatus.COMPENSATION_FAILED
        if self.undone:
            return RunStatus.COMPENSATED
        return RunStatus.CANCELLED if error.type == "Cancelled" else RunStatus.FAILED

    def to_json(self) -> dict[str, list[str]]:
        """As in ``status``."""
        return {
            "undone": list(self.undone),
            "failed": list(self.failed),
            "in_doubt": list(self.in_doubt),
            "not_undone": list(self.not_undone),
            "skipped": [],
        }
