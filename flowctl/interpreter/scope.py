"""What expressions see: the names of language.md, section 3, resolved only when they are asked for.

A scope belongs to one branch of a run, so nothing in it is shared. ``vars`` is replaced and never changed
in place, so whoever captured it keeps what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowctl.clock import format_timestamp
from flowctl.path import Path
from flowctl.runtime import Runtime

PENDING: Mapping[str, Any] = {"status": "pending", "output": None, "error": None}
"""A step that did not run (yet)."""

RECORDED_WHEN_READ = ("elapsed", "history_length", "history_size")
"""Attributes of ``run`` that change as it goes; a step that reads them records what it read."""

_NOT_EXTRA = frozenset({"input", "steps", "vars", "now", "run"})
"""Captured names that a scope has a place of its own for, or that are about the moment of undoing."""

_ROOTS = ("input", "steps", "vars", "now", "run", "step")


class Scope:
    """The names that the expressions of one branch see.

    ``now`` is the time of the latest answer this branch got. ``extra`` holds what only some places see:
    ``result``, ``args``, ``error``, a loop's variables.
    """

    __slots__ = ("_rt", "args", "extra", "input", "key", "now", "path", "reads", "step_id", "steps", "vars")

    def __init__(self, rt: Runtime, input: Mapping[str, Any], ids: Iterable[str], now: int) -> None:
        self._rt = rt
        self.input = input
        self.steps: dict[str, Mapping[str, Any]] = dict.fromkeys(ids, PENDING)
        self.vars: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.args: Any = None
        self.key: str | None = None
        self.now = now
        self.path = Path("")
        self.step_id: str | None = None
        self.reads: Mapping[str, Any] = {}

    def resolve(self, name: str) -> Any:
        """The value of a root name; ``KeyError`` if there is none of that name here."""
        if name == "input":
            return self.input
        if name == "steps":
            return self.steps
        if name in self.extra:
            return self.extra[name]
        compute = _COMPUTED.get(name)
        if compute is None:
            raise KeyError(name)
        return compute(self)

    def known(self) -> Iterable[str]:
        """The names there are, for hints."""
        return [*_ROOTS, *self.extra]

    def heard(self, at: int) -> None:
        """An answer recorded at ``at`` arrived in this branch."""
        if at > self.now:
            self.now = at

    def at_step(self, path: Path, step_id: str | None) -> None:
        """From here on, ``step`` is this one. ``key`` is set by a step that brings its own."""
        self.path = path
        self.step_id = step_id
        self.key = None

    def undoing(self, path: Path, step_id: str | None, key: str | None) -> None:
        """This is the scope of a compensation: ``step`` stays the step undone, whatever runs meanwhile."""
        self.at_step(path, step_id)
        self.key = key
        self.extra["step"] = self._step()

    def capture(self, references: frozenset[tuple[str, ...]]) -> dict[str, Any]:
        """The part of the scope that these references name, as it is now: plain data, which outlives the
        scope.
        """
        captured: dict[str, Any] = {}
        for reference in references:
            root = reference[0]
            if root == "steps":
                steps = captured.setdefault("steps", {})
                names = reference[1:2] or tuple(self.steps)
                steps.update({name: self.steps[name] for name in names if name in self.steps})
            elif root not in captured and root not in ("secrets", "input"):
                try:
                    captured[root] = self.resolve(root)
                except KeyError:
                    continue  # the expression's own evaluation names it, with a hint
        return captured

    def inner(self, ids: Iterable[str], names: Mapping[str, Any]) -> Scope:
        """The scope of a branch or an iteration: it sees what is here now, ``names``, and its own steps."""
        scope = Scope(self._rt, self.input, (), self.now)
        scope.steps = {**self.steps, **dict.fromkeys(ids, PENDING)}
        scope.vars = self.vars
        scope.extra = {**self.extra, **names}
        return scope

    def restored(self, captured: Mapping[str, Any], ids: Iterable[str] = ()) -> Scope:
        """A scope made from captured data, for a compensation. ``now`` is this one's: the undo happens
        now.
        """
        scope = Scope(self._rt, captured.get("input", self.input), ids, self.now)
        scope.steps.update(captured.get("steps", {}))
        scope.vars = captured.get("vars", {})
        scope.extra = {name: value for name, value in captured.items() if name not in _NOT_EXTRA}
        return scope

    def _step(self) -> dict[str, Any]:
        key = self.key or self.path.idempotency_key(self._rt.info.id)
        return {"id": self.step_id, "path": str(self.path), "idempotency_key": key}

    def _run(self) -> dict[str, Any]:
        info = self._rt.info
        return {
            "id": info.id,
            "workflow": info.workflow,
            "version": info.version,
            "workflow_id": info.workflow_id,
            "parent_id": info.parent_id,
            "attempt": info.attempt,
            "started_at": format_timestamp(info.started_at),
            "task_queue": info.task_queue,
            "namespace": info.namespace,
            "trace_id": info.trace_id,
            "principal": info.principal,
            **self.reads,
        }


_COMPUTED = {
    "vars": lambda scope: scope.vars,
    "now": lambda scope: format_timestamp(scope.now),
    "run": Scope._run,
    "step": Scope._step,
}
