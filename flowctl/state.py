"""The states of runs and steps, and which may follow which.

Everything that decides about states reads the tables of this file; the diagram and the table in the
documentation are drawn from them. Two rules: a run changes state only as ``RUN_TRANSITIONS`` allows, and
an ended run changes only by ``retry`` (``reopened``), which is its own command.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run is."""

    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    BLOCKED = "blocked"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    CONTINUED = "continued"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens in this run by itself."""
        return self in ENDED


class StepStatus(StrEnum):
    """Where a step instance is."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


_R = RunStatus

ENDED = frozenset(
    {
        _R.COMPLETED,
        _R.COMPENSATED,
        _R.COMPENSATION_FAILED,
        _R.FAILED,
        _R.CANCELLED,
        _R.TERMINATED,
        _R.CONTINUED,
    }
)
LIVE = frozenset(RunStatus) - ENDED

RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _R.CREATED: frozenset(LIVE - {_R.CREATED}) | ENDED,
    _R.RUNNING: frozenset({_R.WAITING, _R.PAUSED, _R.BLOCKED, _R.COMPENSATING}) | ENDED,
    _R.WAITING: frozenset({_R.RUNNING, _R.PAUSED, _R.BLOCKED, _R.COMPENSATING}) | ENDED,
    _R.PAUSED: frozenset({_R.RUNNING, _R.WAITING, _R.BLOCKED, _R.COMPENSATING}) | ENDED,
    _R.BLOCKED: frozenset({_R.RUNNING, _R.WAITING, _R.PAUSED, _R.COMPENSATING}) | ENDED,
    _R.COMPENSATING: frozenset(
        {
            _R.BLOCKED,
            _R.PAUSED,
            _R.COMPENSATED,
            _R.COMPENSATION_FAILED,
            _R.FAILED,
            _R.CANCELLED,
            _R.TERMINATED,
        }
    ),
    **{ended: frozenset() for ended in ENDED},
}
"""What may follow each state. An ended one is left only by ``retry``."""

EXIT_CODES: dict[RunStatus, int] = {
    **dict.fromkeys(LIVE, 3),
    **dict.fromkeys(ENDED, 1),
    _R.COMPLETED: 0,
    _R.CONTINUED: 0,
    _R.COMPENSATION_FAILED: 6,
}
"""The exit code of ``run`` and ``resume`` for a run that is in this state when they leave."""


def may_follow(before: RunStatus, after: RunStatus) -> bool:
    """Whether a run in state ``before`` may come into state ``after``."""
    return before == after or after in RUN_TRANSITIONS[before]
