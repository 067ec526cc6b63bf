"""Errands: what runs ask of the engine itself, such as to run a child, or to send a signal.

They are calls like those of activities, with attempts and retries, but for two things. The engine does
nothing twice however often it is asked, because what it does is on record under a name: so after a crash it
is simply asked again. And all of it happens on the host's thread, when nobody else uses the journal.

A child is driven where its parent is, unless another live process has it: then it is watched. If its document
calls a function of a plugin that is not here, both are blocked: that is no failure of theirs.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.errors import Blocked, ExpressionError, Failure, FlowctlError, failure_of
from flowctl.journal import Journal, Message, Run
from flowctl.machine import Handle, Interpret, Machine
from flowctl.path import ROOT
from flowctl.runtimes.kin import Kin
from flowctl.state import ENDED, RunStatus

LEAVES_SOMETHING = frozenset({RunStatus.COMPENSATION_FAILED, RunStatus.TERMINATED})
"""Ends of a child after which nobody knows what is left of it."""

Done = Callable[[Outcome], None]


class Drives(Protocol):
    """The runtime, as errands see it."""

    @property
    def journal(self) -> Journal:
        """Where runs are kept."""

    def add(self, run: Run, interpret: Interpret, *, new: bool = False) -> Machine:
        """Drive a run that the journal's session has claimed, or that it creates."""

    def machine(self, run_id: str) -> Machine | None:
        """The run, if it is driven here."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back when nobody else uses the journal, and what was to be committed before is durable."""

    def wake(self, machine: Machine) -> None:
        """Something has changed for a run, if only that it may rest now."""


class Errands:
    """The errands of the runs that one runtime drives. ``pending`` are those that were not run yet."""

    def __init__(self, runtime: Drives, kin: Kin) -> None:
        self.runtime = runtime
        self.kin = kin
        self.pending = 0
        self._awaited: dict[str, list[_Errand]] = {}
        self._run_for: dict[str, list[_Errand]] = {}

    def perform(self, attempt: Attempt, done: Done) -> Handle:
        """As ``Host.perform``."""
        errand = _ERRANDS[attempt.kind](self, attempt, done)
        self._run_for.setdefault(attempt.run_id, []).append(errand)
        self.soon(errand.begin)
        return errand

    def busy_for(self, run_id: str) -> bool:
        """Whether something is done here for a run: an errand that was not run yet, or a child."""
        return any(
            not errand.begun or self.runtime.machine(errand.awaits or "") is not None
            for errand in self._run_for.get(run_id, ())
        )

    def forget(self, run_id: str) -> None:
        """Nobody listens any more how the errands of a run end: whoever drives it next asks again."""
        for errand in self._run_for.pop(run_id, ()):
            _strike(errand, self._awaited, errand.awaits)

    def over(self, errand: _Errand) -> None:
        """An errand has ended."""
        _strike(errand, self._run_for, errand.attempt.run_id)
        _strike(errand, self._awaited, errand.awaits)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back soon; what fails is the author's mistake, or ours, and never ends the loop."""

        def run() -> None:
            self.pending -= 1
            callback()

        self.pending += 1
        self.runtime.soon(run)

    def settled(self, run: Run) -> None:
        """A run has ended: tell who waits for it."""
        waiting = self._awaited.pop(run.id, ())
        if run.status == RunStatus.CONTINUED:
            self.soon(lambda: self._follow(run, list(waiting)))
            return
        for errand in waiting:
            errand.carry_out(partial(errand.ended, run))

    def look(self) -> None:
        """See what has become of children that others drive."""
        for run_id in list(self._awaited):
            if self.runtime.machine(run_id) is None:
                self.drive(run_id)

    def expect(self, run_id: str, errand: _Errand) -> None:
        """``errand`` waits for the end of a run."""
        errand.awaits = run_id
        self._awaited.setdefault(run_id, []).append(errand)

    def drive(self, run_id: str) -> None:
        """Drive a run here, unless it is driven already, here or elsewhere, or has ended."""
        if self.runtime.machine(run_id) is not None:
            return
        run = self.runtime.journal.run(run_id)
        if run is None:
            return
        if run.status in ENDED:
            self.settled(run)
        elif not self.runtime.journal.attended(run_id):
            claimed = self.runtime.journal.claim(run_id)
            if claimed is not None:
                self._take_up(claimed)

    def _take_up(self, child: Run) -> None:
        try:
            walk = self.kin.interpret(child)
        except ExpressionError as error:
            self.kin.park(child, Blocked(**_lack(error), path=ROOT))
            for errand in list(self._awaited.get(child.id, ())):
                errand.over(Outcome(blocked=_lack(error)))
        else:
            self.runtime.add(child, walk)

    def tell(self, message: Message | None) -> None:
        """A message was put into an inbox: if the run is driven here, it hears of it at once."""
        machine = self.runtime.machine(message.run_id) if message is not None else None
        if machine is not None:  # of others' messages too, which may have come before
            machine.receive(self.runtime.journal.inbox(machine.run.id, machine.seen))

    def _follow(self, run: Run, waiting: list[_Errand]) -> None:
        successor = self.runtime.journal.latest_of(run.workflow_id)
        if successor is not None and successor.id != run.id:
            for errand in waiting:
                self.expect(successor.id, errand)
            self.drive(successor.id)


def _strike(errand: _Errand, book: dict[str, list[_Errand]], run_id: str | None) -> None:
    if run_id is not None and errand in book.get(run_id, ()):
        book[run_id].remove(errand)
        if not book[run_id]:
            del book[run_id]


def _lack(error: ExpressionError) -> dict[str, str]:
    return {"code": error.code, "reason": str(error)}


def child_outcome(child: Run, *, secret: bool, told: bool) -> Outcome:
    """What a child that has ended answers. ``told``: it was asked to cancel itself."""
    if child.status == RunStatus.COMPLETED:
        return Outcome(value=values.encode(child.output), secret=secret)
    cause = Failure.from_json(child.error) if child.error is not None else None
    because = f", because of {cause.type}: {cause.message}" if cause is not None else ""
    failure = Failure(
        "ChildFailed",
        f"the child {child.id} ended {child.status}{because}",
        details={"run": child.id, "status": child.status},
        cause=cause,
    )
    uncertain = child.status in LEAVES_SOMETHING
    return Outcome(failure=failure, uncertain=uncertain, cancelled=told)


def undoing_outcome(run: Run | None, *, pivoted: bool) -> Outcome:
    """What comes of undoing a child by ``run``, which has ended, or None if nothing was left to undo."""
    saga: Mapping[str, Any] = (run.saga if run is not None else None) or {}
    left = [*saga.get("failed", ()), *saga.get("in_doubt", ())]
    if run is not None and (left or run.status == RunStatus.TERMINATED):
        message = f"{run.id} ended {run.status}"
        return Outcome(failure=Failure("CompensationFailed", message, details={"run": run.id, "steps": left}))
    whole = not (pivoted or saga.get("not_undone"))
    return Outcome(value=values.encode(None if whole else "some of it cannot be undone"))


class _Errand(abc.ABC):
    """One errand."""

    def __init__(self, errands: Errands, attempt: Attempt, done: Done) -> None:
        self.errands = errands
        self.attempt = attempt
        self.told = False
        self.begun = False
        self.awaits: str | None = None
        self._done: Done | None = done

    def begin(self) -> None:
        """Run it, unless nobody wants it any more."""
        machine = self.errands.runtime.machine(self.attempt.run_id)
        if machine is None:
            return
        self.begun = True
        self.carry_out(self.run)
        self.errands.runtime.wake(machine)

    def carry_out(self, part: Callable[[], None]) -> None:
        """Do a part of it; a mistake is how it ends. Expressions were evaluated before: if one is wrong, it
        is in a document that cannot be built here.
        """
        try:
            part()
        except ExpressionError as error:
            self.over(Outcome(blocked=_lack(error)))
        except FlowctlError as error:
            self.over(Outcome(failure=failure_of(error)))

    @abc.abstractmethod
    def run(self) -> None:
        """What it does."""

    def ended(self, run: Run) -> None:
        """The run that it waits for has ended; most wait for none."""
        raise NotImplementedError

    def cancel(self) -> None:
        """The run does not want it any more. Most are over in a moment anyway."""
        self.told = True

    def over(self, outcome: Outcome) -> None:
        """It is done."""
        done, self._done = self._done, None
        self.errands.over(self)
        if done is not None:
            done(outcome)


class _Child(_Errand):
    """``workflow``: run a child, and wait for its end. One that is cancelled first undoes what it did."""

    child: str | None = None

    def run(self) -> None:
        errands, attempt = self.errands, self.attempt
        parent = errands.runtime.journal.run(attempt.run_id)
        assert parent is not None
        child = errands.kin.child(parent, attempt)
        self.child = child.id
        errands.expect(child.id, self)
        if child.key:
            errands.drive(child.id)
        else:
            errands.runtime.add(child, errands.kin.interpret(child), new=True)

    def cancel(self) -> None:
        if not self.told:
            self.told = True
            self.errands.soon(self._tell_child)

    def _tell_child(self) -> None:
        errands = self.errands
        child = errands.kin.latest(self.child) if self.child is not None else None
        if child is not None:
            reason = f"its parent {self.attempt.run_id} called it off"
            errands.tell(errands.kin.cancel(child, reason, dedup_id=f"{self.attempt.run_id}/cancel"))

    def ended(self, run: Run) -> None:
        secret = self.errands.kin.has_secret_output(run)
        self.over(child_outcome(run, secret=secret, told=self.told))


class _Detached(_Errand):
    """A ``workflow`` that is only started."""

    def run(self) -> None:
        errands, attempt = self.errands, self.attempt
        parent = errands.runtime.journal.run(attempt.run_id)
        assert parent is not None
        child = errands.kin.child(parent, attempt)
        if not child.key:
            errands.runtime.journal.create(child)
        self.over(Outcome(value=values.encode({"run": child.id})))
        errands.soon(lambda: errands.drive(child.id))


class _Undoing(_Errand):
    """Undo a child that completed, by a run of its own: ``CHILD~undo``."""

    pivoted = False

    def run(self) -> None:
        errands, args = self.errands, self.attempt.args
        child = errands.kin.latest(args["run"])
        assert child is not None
        run, self.pivoted = errands.kin.undoing(child, args["why"], self.attempt.run_id)
        if run is None:
            self.over(undoing_outcome(None, pivoted=self.pivoted))
            return
        errands.expect(run.id, self)
        if run.key:
            errands.drive(run.id)
        else:
            errands.runtime.add(run, errands.kin.interpret(run), new=True)

    def ended(self, run: Run) -> None:
        self.over(undoing_outcome(run, pivoted=self.pivoted))


class _Signal(_Errand):
    """``send_signal``."""

    def run(self) -> None:
        attempt = self.attempt
        args = attempt.args
        message = self.errands.kin.send(
            args["run"],
            args["signal"],
            args.get("payload"),
            dedup_id=f"{attempt.run_id}/{attempt.path}",
            principal=attempt.principal,
        )
        self.over(Outcome(value=values.encode({"run": message.run_id})))
        self.errands.soon(lambda: self.errands.tell(message))


class _Close(_Errand):
    """A run ends, and a detached child of it is to end with it."""

    def run(self) -> None:
        errands, run_id = self.errands, self.attempt.args["run"]
        child = errands.kin.latest(run_id)
        if child is not None:
            reason = f"its parent {self.attempt.run_id} has ended"
            message = errands.kin.cancel(child, reason, dedup_id=f"{self.attempt.run_id}/close")
            errands.soon(lambda: errands.tell(message))
        self.over(Outcome(value=b"null"))


_ERRANDS: dict[str, type[_Errand]] = {
    "workflow": _Child,
    "detached": _Detached,
    "undo_child": _Undoing,
    "send_signal": _Signal,
    "close_child": _Close,
}
