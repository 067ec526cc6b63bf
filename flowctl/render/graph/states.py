"""The states of a run's steps, as a picture of its workflow needs them.

A picture has one place for a step that ran a thousand times in a loop. So paths are folded: ``each[2].pack``
and ``each[7].pack`` are both ``each[].pack``, whose state is the one of them that most wants to be looked at,
with counts beside it: ``998 completed, 2 failed``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from flowctl.render.graph.structure import State
from flowctl.state import RunStatus, StepStatus

LOOP = "[]"
"""What stands in a path for whatever iteration."""

_S = StepStatus
Json = Mapping[str, Any]

URGENCY = (
    RunStatus.BLOCKED,
    _S.COMPENSATION_FAILED,
    _S.FAILED,
    _S.COMPENSATING,
    _S.RETRYING,
    _S.RUNNING,
    _S.WAITING,
    _S.CANCELLED,
    _S.COMPENSATED,
    _S.COMPLETED,
    _S.SKIPPED,
    _S.PENDING,
)
"""States in the order in which one wants to know of them: the first of several is the state of all."""

_REMARKS = {"in_doubt": "in doubt", "not_undone": "not undone", "skipped": "undo skipped"}
"""What the saga says of a step that its state does not."""

_PENDING = State(_S.PENDING)
_ITERATION = re.compile(r"\[[0-9]+\]")


class States:
    """The states of the steps of one run, from its status document."""

    def __init__(self, run: Json) -> None:
        self._steps: dict[str, Counter[str]] = {}
        self._undone: dict[str, Counter[str]] = {}
        self._remarks: dict[str, Counter[str]] = {}
        self._attempts: dict[str, int] = {}
        for step in run["steps"]:
            self._add(step)
        for path, remark in _remarks(run):
            self._remarks.setdefault(folded(path), Counter())[remark] += 1
        blocked = (run["blocked"] or {}).get("path")
        if blocked:
            self._steps[folded(blocked)] = Counter([str(RunStatus.BLOCKED)])

    def _add(self, step: Json) -> None:
        path = folded(step["path"])
        self._steps.setdefault(path, Counter())[step["status"]] += 1
        self._attempts[path] = step["attempt"]
        if step["compensation"] is not None:
            self._undone.setdefault(path, Counter())[step["compensation"]["status"]] += 1

    def of(self, path: str) -> State:
        """The state of a step, by its path with ``[]`` for iterations; pending if it was not reached."""
        found = self._steps.get(path)
        if found is None:
            return _PENDING
        status = min(found, key=_urgency)
        if LOOP in path:
            return State(status, _counts(found))
        attempts = self._attempts.get(path, 0)
        return State(status, f"{attempts} attempts" if attempts > 1 else "")

    def remarks(self, path: str) -> tuple[str, ...]:
        """What the saga says of the step with that path."""
        found = self._remarks.get(path, Counter())
        return tuple(f"{count:,} {remark}" if LOOP in path else remark for remark, count in found.items())

    def of_undoing(self, path: str) -> State:
        """The state of the compensation of the step with that path."""
        found = self._undone.get(path)
        if found is None:
            return _PENDING
        return State(min(found, key=_urgency), _counts(found) if LOOP in path else "")


def folded(path: str) -> str:
    """A path without the numbers of iterations: ``each[].pack``."""
    return _ITERATION.sub(LOOP, path)


def _remarks(run: Json) -> Iterator[tuple[str, str]]:
    for listed, remark in _REMARKS.items():
        for path in run["saga"][listed]:
            yield path, remark


def _urgency(status: str) -> int:
    return URGENCY.index(status)


def _counts(counter: Counter[str]) -> str:
    """``3 completed, 1 running``."""
    return ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in counter.most_common())
