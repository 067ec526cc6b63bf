"""Requests: what people ask of a run. Each is a message in its inbox, and takes effect as a fact.

None of them needs the interpreter to take effect. So whoever has the run acts on them, in order: the machine
that drives it, or, if nobody does, whoever asks (``apply``), and the run's row says at once what has become
of it. What then happens by itself, such as undoing, is for whoever drives the run on.

1. A request that finds nothing to do leaves no trace. One that came before another that did is over too.
2. ``cancel`` lifts a pause, and so does ``retry``: who asks for these wants something to happen.
3. ``terminate`` ends the run, whatever it is doing. What it had begun to undo stays as it is.
4. ``retry`` is for a run that is held. It counts for the generation in which it was asked for, so that one
   which comes twice is a retry once.
5. ``resume`` is ``unpause``, and lets calls that are blocked look again whether they can be made.
6. That a ``child`` has ended is news, not a request: it only wakes whoever waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowctl.journal import Change, Entry, Message, Run
from flowctl.machine.record import Record
from flowctl.path import ROOT
from flowctl.state import REOPENED, RunStatus

Row = Callable[..., None]
"""Sets columns of the run's row."""


class Requests:
    """What is asked of one run. ``record`` is what it remembers; ``held`` says whether something holds it."""

    __slots__ = ("_held", "_record", "_row", "_run")

    def __init__(self, run: Run, record: Record, row: Row, *, held: Callable[[], bool]) -> None:
        self._run = run
        self._record = record
        self._row = row
        self._held = held

    def unread(self, messages: Iterable[Message]) -> list[Message]:
        """The messages that were not acted on yet."""
        received, handled = self._record.received, self._record.standing.handled
        return [
            message
            for message in messages
            if (message.seq not in received if message.kind == "signal" else message.seq > handled)
        ]

    def hear(self, message: Message) -> None:
        """Act on a request, unless the run has ended."""
        if not self._record.standing.ended:
            _HEARD[message.kind](self, message)

    def reopen(self, about: dict[str, Any]) -> None:
        """Begin a generation, with time of its own. The run has ended, or is held."""
        run, standing = self._run, self._record.standing
        begun = run.created_at if standing.since is None else standing.since
        at = self._record.reopen(about).at
        ended = RunStatus(run.status)
        undoing = ended == RunStatus.COMPENSATION_FAILED and standing.compensating
        status = RunStatus.COMPENSATING if undoing else RunStatus.RUNNING
        assert status in REOPENED.get(ended, {status}), f"{status} after {ended}"
        self._row(
            status=status.value,
            generation=standing.generation,
            deadline=at + run.deadline - begun,
            **_CLEARED,
        )

    def _pause(self, message: Message) -> None:
        standing = self._record.standing
        if not standing.paused:
            self._record.primary(ROOT, "paused", _about(message), standing.pauses + 1)
            self._row(status=RunStatus.PAUSED.value)

    def _unpause(self, message: Message) -> None:
        standing = self._record.standing
        if standing.paused:
            self._record.primary(ROOT, "unpaused", _about(message), standing.pauses)
            self._row(status=self._unpaused().value)

    def _cancel(self, message: Message) -> None:
        standing = self._record.standing
        if not (standing.compensating or standing.cancelled):
            paused = standing.paused
            data = {"reason": message.data["reason"]} | _about(message)
            self._record.primary(ROOT, "cancel_requested", data)
            if paused:
                self._row(status=self._unpaused().value)

    def _terminate(self, message: Message) -> None:
        data = {"status": RunStatus.TERMINATED.value, "output": None, "error": None}
        at = self._record.primary(ROOT, "ended", data | _about(message)).at
        self._row(**_CLEARED | {"status": RunStatus.TERMINATED.value, "completed_at": at})

    def _retry(self, message: Message) -> None:
        if message.data["generation"] == self._run.generation and self._held():
            self.reopen(_about(message))

    def _child(self, message: Message) -> None:
        """Nothing to do: who waits for the child asks for it again."""

    def _unpaused(self) -> RunStatus:
        """How a run stands that was paused, as far as its row tells."""
        run = self._run
        if run.error is not None:  # held besides
            return RunStatus.PAUSED
        if self._record.standing.compensating:
            return RunStatus.COMPENSATING
        if run.blocked is not None:
            return RunStatus.BLOCKED
        return RunStatus.WAITING if run.waiting_for else RunStatus.RUNNING


def _about(message: Message) -> dict[str, Any]:
    return {"principal": message.principal, "message": message.seq}


_CLEARED = dict.fromkeys(
    ("completed_at", "output", "error", "saga", "waiting_for", "blocked", "wake_at"), None
)
"""What a row says of how a run ended, or waits."""

_HEARD: dict[str, Callable[[Requests, Message], None]] = {
    "pause": Requests._pause,
    "unpause": Requests._unpause,
    "resume": Requests._unpause,
    "cancel": Requests._cancel,
    "terminate": Requests._terminate,
    "retry": Requests._retry,
    "child": Requests._child,
}


def apply(run: Run, entries: Iterable[Entry], messages: Iterable[Message], now: Callable[[], int]) -> Change:
    """What is asked of a run that nobody drives, as a change of whoever claimed it, who gives it back.

    Signals stay in the inbox for whoever drives the run, which is due at once unless it is paused.
    """
    requests, change = _unattended(run, entries, now)
    messages = list(messages)
    for message in requests.unread(messages):
        if message.kind != "signal":
            requests.hear(message)
    run.due_at = run.wake_at if run.status == RunStatus.PAUSED else now()
    return change(max((message.seq for message in messages), default=0))


def reopen(
    run: Run,
    entries: Iterable[Entry],
    messages: Iterable[Message],
    now: Callable[[], int],
    about: dict[str, Any],
) -> Change:
    """The retry of a run that has ended. What was asked of it before is over."""
    requests, change = _unattended(run, entries, now)
    seen = max((message.seq for message in messages), default=0)
    requests.reopen(about | {"seen": seen})
    run.due_at = now()
    return change(seen)


def _unattended(
    run: Run, entries: Iterable[Entry], now: Callable[[], int]
) -> tuple[Requests, Callable[[int], Change]]:
    def row(**columns: Any) -> None:
        for name, value in columns.items():
            setattr(run, name, value)

    record = Record(entries, now, lambda: None)
    requests = Requests(run, record, row, held=record.is_held)

    def change(seen: int) -> Change:
        return Change(run, record.take_pending(), state_changed=True, release=True, seen=seen)

    return requests, change
