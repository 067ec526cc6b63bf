"""Parts: branches of ``parallel``, and iterations of ``foreach`` and ``while``.

Each has a scope and a saga of its own, of which only the result and what is registered are seen outside. When
it has ended, one entry sums it up, so recovery does not walk inside it again, and a loop of any length is
recovered at the cost of one lookup per iteration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from flowctl.errors import Failure, StepFailed
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.steps import begin, result_of
from flowctl.path import Path
from flowctl.runtime import Answer

Body = Callable[[Branch], Awaitable[Any]]


class PartFailed(StepFailed):
    """A part failed, which was recorded at ``at``."""

    def __init__(self, failure: Failure, *, at: int, undo: bool) -> None:
        super().__init__(failure, undo=undo)
        self.at = at


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """``names`` are what its expressions see besides: the element, ``loop``. ``verb`` is ``branch`` or
    ``iteration``. ``secret``: its result may be that of a secret step. ``keeps_vars``: variables that it sets
    last.
    """

    verb: str
    path: Path
    ids: Iterable[str]
    names: dict[str, Any]
    body: Body
    secret: bool
    keeps_vars: bool = False

    async def run(self, outer: Branch) -> Answer:
        """Run it, unless it is on record how it ended; what it registered goes to the saga of ``outer``. The
        answer is its result. Raises ``PartFailed``, ``Cancelled``, and whatever leaves the run.
        """
        rt, path = outer.rt, self.path
        ended = rt.remembered(path, "completed") or rt.remembered(path, "failed")
        if ended is None:
            ended = await self._walk(outer)
        elif ended.value["left"]:
            outer.saga.absorb_data(ended.value["left"], outer.workflow)
        if "vars" in ended.value:
            outer.scope.vars = outer.scope.vars | ended.value["vars"]
        if "error" in ended.value:
            error = Failure.from_json(ended.value["error"])
            raise PartFailed(error, at=ended.at, undo=ended.value["undo"])
        return ended.of("output")

    async def _walk(self, outer: Branch) -> Answer:
        rt, path = outer.rt, self.path
        begin(outer, path, {"verb": self.verb})
        inner, before = outer.inner(path, self.ids, self.names), outer.scope.vars
        try:
            output = await self.body(inner)
        except StepFailed as failed:
            error, undo = failed.failure.to_json(), failed.undo
            return rt.decide(
                path, "failed", lambda: {"error": error, "undo": undo} | self._left(inner, before)
            )
        finally:  # also when it is cancelled: somebody cleans up after it
            outer.saga.absorb(inner.saga)
            if self.keeps_vars:
                outer.scope.vars = inner.scope.vars
        result = result_of(output, secret=self.secret)
        return rt.decide(path, "completed", lambda: result | self._left(inner, before))

    def _left(self, inner: Branch, before: Mapping[str, Any]) -> dict[str, Any]:
        """What outlives the part besides its result; ``before`` are the variables it found."""
        data: dict[str, Any] = {"verb": self.verb, "left": inner.saga.to_data()}
        if self.keeps_vars:
            data["vars"] = {
                name: value
                for name, value in inner.scope.vars.items()
                if name not in before or before[name] is not value
            }
        return data
