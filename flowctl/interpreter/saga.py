"""The saga: what completed steps registered, and how it is undone (language.md, section 4).

Five rules. What is registered is *data*: a path, the compensation, and the part of the scope it needs,
captured when the step started; so a branch that is over can be kept as one entry (``to_data``). It is undone
in reverse order of completion, one at a time, shielded from every cancellation. A compensation that fails
is recorded and does not stop the rest, unless it says so. A branch has a saga of its own, which its parent
absorbs when it ends. And what became of each step has the order of the fact that says so, so that a list is
in the order of undoing, whichever branches undid at once, and the same in a run that was recovered.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from flowctl.errors import Blocked, Failure
from flowctl.model import Compensation, Workflow
from flowctl.path import Path
from flowctl.state import RunStatus

_INSTANCE = re.compile(r"^_run[0-9]+\.|\[[0-9]+\]")
"""What a path has beyond the place of the step in the document."""

_LISTS = ("undone", "failed", "in_doubt", "not_undone", "skipped")
"""What may become of a step, as ``status`` lists it."""


class Fate(NamedTuple):
    """What became of a step: ``what`` is one of ``_LISTS``, ``order`` that of the fact that says so."""

    order: int
    what: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """A step that can be undone, or that is known to have no undo (``compensation`` None, ``irreversible``).

    ``key`` is its own idempotency key, if it brought one; ``result`` its raw result, None if it is
    unknown; ``order`` that of its completion; ``child`` the run that it started, if it did.
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
    child: str | None = None

    def to_data(self) -> dict[str, Any]:
        """What a journal keeps of it. Its compensation stands in the document, under its path."""
        data: dict[str, Any] = {
            field: value
            for field in ("step_id", "args", "result", "key", "child")
            if (value := getattr(self, field)) is not None
        }
        data |= {"path": str(self.path), "order": self.order, "captured": dict(self.captured)}
        if self.secret:
            data["secret"] = True
        return data if self.compensation is not None else data | {"irreversible": True}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], workflow: Workflow) -> Registered:
        """The inverse. ``Blocked`` if the document has no such compensation."""
        fields = {"step_id": None, **data}
        path = Path(fields.pop("path"))
        compensation = None
        if not fields.pop("irreversible", False):
            compensation = workflow.undo.get(_INSTANCE.sub("", path))
            if compensation is None:
                reason = f"step {path} was recorded with a compensation, which the document does not have now"
                raise Blocked("NonDeterministic", reason, path)
        return cls(path=path, compensation=compensation, **fields)


class Saga(msgspec.Struct, eq=False):
    """What one branch registered so far, and what became of it.

    ``registered`` is by a number that grows, so that a ``mark`` stays good whatever is removed.
    ``passed`` tells at which order each step was done with; ``pivoted`` that there is no way back past some
    point. ``fates`` is what became of steps, ``closing`` detached children that are to end with the run.
    """

    _parent: Saga | None = None
    _next: int = 0
    registered: dict[int, Registered] = {}
    passed: dict[str, int] = {}
    pivoted: bool = False
    fates: list[Fate] = []
    closing: list[str] = []

    # --- registering

    def register(self, item: Registered) -> None:
        """Remember a step as one to undo."""
        self.registered[self._next] = item
        self._next += 1

    def mark(self) -> int:
        """The present state, for ``taken_since``."""
        return self._next

    def taken_since(self, mark: int) -> list[Registered]:
        """What was registered since, which is registered no longer."""
        numbers = []
        for number in reversed(self.registered):
            if number < mark:
                break
            numbers.append(number)
        return [self.registered.pop(number) for number in reversed(numbers)]

    def taken_after(self, order: int) -> list[Registered]:
        """What completed after ``order``, which is registered no longer."""
        numbers = [number for number, item in self.registered.items() if item.order > order]
        return [self.registered.pop(number) for number in numbers]

    def pivot(self) -> None:
        """The point of no return: nothing that was registered in this run is undone any more."""
        saga: Saga | None = self
        while saga is not None:
            saga.registered.clear()
            saga.pivoted = True
            saga = saga._parent

    def absorb(self, inner: Saga) -> None:
        """A branch is over: what it registered, and what became of it, is its parent's."""
        for item in inner.registered.values():
            self.register(item)
        self.fates += inner.fates
        self.closing += inner.closing

    # --- undoing

    async def undo(
        self, items: Iterable[Registered], undo: Callable[[Registered, int | None], Awaitable[Fate]]
    ) -> list[str]:
        """Undo ``items``, latest completion first. ``undo`` is asked for the fate of each; from some point on
        nothing is to be done any more but to say so: then it is told the order of the failure that stopped
        it. Returns the paths of those that could not be undone.
        """
        failed, stopped = [], None
        for item in sorted(items, key=lambda item: item.order, reverse=True):
            fate = await undo(item, stopped)
            self.fates.append(fate)
            if fate.what == "failed":
                failed.append(fate.path)
                if item.compensation is not None and item.compensation.on_failure == "stop":
                    stopped = fate.order
        return failed

    def skip_doubts(self, skipped: frozenset[str]) -> None:
        """Of these steps a person has found out what became of them."""
        self.fates = [
            fate._replace(what="skipped") if fate.what == "in_doubt" and fate.path in skipped else fate
            for fate in self.fates
        ]

    def status_after(self, error: Failure) -> RunStatus:
        """The state of a run that ended with ``error`` once everything that could be undone was."""
        found = {fate.what for fate in self.fates}
        if found & {"failed", "in_doubt"}:
            return RunStatus.COMPENSATION_FAILED
        if found & {"undone", "skipped"}:
            return RunStatus.COMPENSATED
        return RunStatus.CANCELLED if error.type == "Cancelled" else RunStatus.FAILED

    # --- as data

    def to_json(self) -> dict[str, list[str]]:
        """As in ``status``: paths, in the order of undoing."""
        came: dict[str, list[str]] = {name: [] for name in _LISTS}
        for fate in sorted(self.fates, key=lambda fate: fate.order):
            came[fate.what].append(fate.path)
        return came

    def to_data(self) -> dict[str, Any]:
        """What must be kept of a branch that is over; empty if it left nothing behind."""
        data: dict[str, Any] = {}
        if self.fates:
            data["fates"] = [list(fate) for fate in self.fates]
        if self.closing:
            data["closing"] = list(self.closing)
        if self.registered:
            data["registered"] = [item.to_data() for item in self.registered.values()]
        return data | {"pivoted": True} if self.pivoted else data

    def absorb_data(self, data: Mapping[str, Any], workflow: Workflow) -> None:
        """``absorb`` of a branch of which this was kept."""
        if data.get("pivoted"):
            self.pivot()
        for item in data.get("registered", ()):
            self.register(Registered.from_data(item, workflow))
        self.fates += [Fate(*fate) for fate in data.get("fates", ())]
        self.closing += data.get("closing", ())

    def bequest(
        self, run_id: str, prefix: str = "", input: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What is left to undo of a run that has ended, for another run that may undo it: keys are those of
        the run, orders come before all of the other's own, and ``prefix`` keeps paths apart; ``input`` is the
        run's, if the other has one of its own.
        """
        items = sorted(self.registered.values(), key=lambda item: item.order)
        registered = [
            item.to_data()
            | {
                "key": item.key or item.path.idempotency_key(run_id),
                "order": number - len(items),
                "path": str(item.path) if item.path.startswith("_run") else f"{prefix}{item.path}",
                "captured": item.captured if input is None else _with_input(item, input),
            }
            for number, item in enumerate(items)
        ]
        data: dict[str, Any] = {"registered": registered} if registered else {}
        if self.closing:
            data["closing"] = list(self.closing)
        return data | {"pivoted": True} if self.pivoted else data


def _with_input(item: Registered, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the scope that a compensation needs, in a run that has another input."""
    asks = item.compensation is not None and ("input",) in {name[:1] for name in item.compensation.captures}
    return {"input": input, **item.captured} if asks else item.captured
