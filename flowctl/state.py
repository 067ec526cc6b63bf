"""The states of runs and steps, and which may follow which.

Everything that decides about states reads the tables of this file; the diagram and the table in the
documentation are drawn from them. Three rules: a run changes state only as ``RUN_TRANSITIONS`` allows; an
ended run changes only by ``retry`` (``reopened``), which is its own command; and what a command may do to a
run in a state, ``COMMANDS`` says, whoever asks.
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

REOPENED: dict[RunStatus, frozenset[RunStatus]] = {
    _R.FAILED: frozenset({_R.RUNNING}),
    _R.COMPENSATION_FAILED: frozenset({_R.COMPENSATING, _R.RUNNING}),
}
"""What ``retry`` makes of a run that has ended. One of which only a rollback failed is ``running`` again,
though it does not go forward.
"""

EXIT_CODES: dict[RunStatus, int] = {
    **dict.fromkeys(LIVE, 3),
    **dict.fromkeys(ENDED, 1),
    _R.COMPLETED: 0,
    _R.CONTINUED: 0,
    _R.COMPENSATION_FAILED: 6,
}
"""The exit code of ``run`` and ``resume`` for a run that is in this state when they leave."""


DO, NO_OP = "do", "no-op"
"""What a command may come to, other than being refused: it acts, or there is nothing to do, which is fine."""

CLOSED, OPEN = "RunClosed", "RunOpen"
"""The codes of the errors that refuse a command: the run has ended, or has not yet."""

_WHILE_LIVE = {**dict.fromkeys(LIVE, DO), **dict.fromkeys(ENDED, CLOSED)}

COMMANDS: dict[str, dict[RunStatus, str]] = {
    "run": {**dict.fromkeys(LIVE, DO), **dict.fromkeys(ENDED, NO_OP)},
    "start": dict.fromkeys(RunStatus, NO_OP),
    "resume": {**dict.fromkeys(LIVE, DO), **dict.fromkeys(ENDED, NO_OP)},
    "signal": _WHILE_LIVE,
    "pause": _WHILE_LIVE | {_R.PAUSED: NO_OP},
    "unpause": _WHILE_LIVE | dict.fromkeys(LIVE - {_R.PAUSED}, NO_OP),
    "cancel": _WHILE_LIVE | {_R.COMPENSATING: NO_OP},
    "terminate": _WHILE_LIVE,
    "retry": {
        **dict.fromkeys(LIVE, OPEN),
        **dict.fromkeys(ENDED, CLOSED),
        **dict.fromkeys((_R.PAUSED, _R.FAILED, _R.COMPENSATION_FAILED), DO),
    },
    "replay": dict.fromkeys(RunStatus, DO),
    "migrate": _WHILE_LIVE,
}
"""What each command does to a run in each state: ``do``, ``no-op``, or the code of the error that refuses it.

``run`` and ``start`` are about an id that exists, with the same document and input; ``replay`` makes a run of
its own and leaves this one as it is. A state is not everything: a signal must be declared, a document must
fit, and of ``paused`` runs only those that are held have something to retry.
"""


def acts_on(command: str) -> frozenset[RunStatus]:
    """The states in which a command has something to do."""
    return frozenset(status for status, reaction in COMMANDS[command].items() if reaction == DO)


def may_follow(before: str, after: RunStatus) -> bool:
    """Whether a run in state ``before`` may come into state ``after``."""
    return before == after or after in RUN_TRANSITIONS[before]  # type: ignore[index]  # as equal, and hashed
