"""What a run asks of others, inside of a workflow: children are child workflows, messages are signals.

The same errands as ``runtimes.errands`` runs on one journal; there the engine looks up what became of a run,
here Temporal tells. What a child left when it ended is put into the run's own journal, so that it can be
undone later, by whatever has become of the workflow since.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from temporalio import exceptions, workflow

from flowctl import values
from flowctl.activities import Attempt, Outcome
from flowctl.errors import ExpressionError, FlowctlError, failure_of
from flowctl.journal import Change, Entry, Fact, Journal, Run
from flowctl.machine import Handle
from flowctl.path import ROOT
from flowctl.runtimes.errands import child_outcome, undoing_outcome
from flowctl.runtimes.kin import Kin
from flowctl.runtimes.temporal.card import Showing
from flowctl.runtimes.temporal.wire import outcome_from_json

Done = Callable[[Outcome], None]

CANCEL = "_cancel"
"""The signal that asks a run to cancel itself, with a reason."""

SEND_WITHIN = timedelta(seconds=30)
"""How long one try to send a signal may take. Temporal tries until it is done: it is done only once."""

SEND = "_send_signal"
"""The activity that checks a signal against the document of the run it is for, and delivers it."""


class Kindred(Protocol):
    """The host, as errands see it."""

    @property
    def journal(self) -> Journal:
        """Of the run itself, and of the children that have ended."""

    @property
    def kin(self) -> Kin:
        """On that journal."""

    @property
    def showing(self) -> Showing:
        """What the index says of it."""

    @property
    def run_id(self) -> str:
        """The run."""

    def fail(self, error: Exception) -> None:
        """It cannot go on, by a mistake of ours."""

    def begin_child(self, child: Run) -> list[bytes]:
        """The arguments of the workflow that runs it."""


def remember(journal: Journal, ended: Mapping[str, Any]) -> Run:
    """Keep a run that has ended in a journal, with how it did: ``{"run", "ended"}``."""
    run: Run = msgspec.convert(ended["run"], Run)
    journal.create(run)
    claimed = journal.claim(run.id)
    assert claimed is not None
    fact = Fact(str(ROOT), "ended", run.completed_at or 0, data=ended["ended"])
    row = msgspec.structs.replace(
        run, key=claimed.key, session=claimed.session, entries=0, size=0, head=claimed.head
    )
    journal.commit([Change(row, [Entry(fact, [])], state_changed=True, release=True)])
    return journal.run(run.id) or run


def described(journal: Journal, run: Run) -> dict[str, Any]:
    """The inverse, of a run that has ended."""
    ended = next(
        fact.data
        for entry in reversed(journal.entries(run.id))
        for fact in entry.facts()
        if not fact.path and fact.kind == "ended"
    )
    return {"run": msgspec.to_builtins(run), "ended": ended}


class Errands:
    """The errands of one run. ``children`` are in flight."""

    def __init__(self, host: Kindred) -> None:
        self.host = host
        self.children = 0
        self._running: dict[str, asyncio.Task[Run]] = {}

    def perform(self, attempt: Attempt, done: Done) -> Handle:
        """As ``Host.perform``."""
        return _Errand(self, attempt, done)

    # --- one function per kind

    async def child(self, attempt: Attempt, errand: _Errand) -> Outcome:
        """Run a child to its end."""
        child = self.host.kin.child(self._parent(), attempt)
        ended = child if child.key else await self._run(child, errand)
        return child_outcome(ended, secret=self._is_secret(ended), told=errand.told)

    async def detached(self, attempt: Attempt, errand: _Errand) -> Outcome:
        """Start a child that goes its own way."""
        child = self.host.kin.child(self._parent(), attempt)
        errand.child = child.id
        with contextlib.suppress(exceptions.WorkflowAlreadyStartedError):  # the name says that it is this one
            await workflow.start_child_workflow(
                child.workflow,
                args=self.host.begin_child(child),
                id=child.id,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                **self.host.showing.of_another(child),
            )
        return Outcome(value=values.encode({"run": child.id}))

    async def undo(self, attempt: Attempt, errand: _Errand) -> Outcome:
        """Undo a child that completed."""
        child = self.host.kin.latest(attempt.args["run"])
        assert child is not None
        run, pivoted = self.host.kin.undoing(child, attempt.args["why"], attempt.run_id)
        if run is not None:
            run = run if run.key else await self._run(run, errand)
        return undoing_outcome(run, pivoted=pivoted)

    async def send(self, attempt: Attempt, errand: _Errand) -> Outcome:
        """Send a signal to another run, which a worker checks."""
        result = await workflow.execute_activity(
            SEND,
            {
                **attempt.args,
                "dedup_id": f"{attempt.run_id}/{attempt.path}",
                "principal": attempt.principal,
            },
            start_to_close_timeout=SEND_WITHIN,
            result_type=dict,
        )
        return outcome_from_json(result)

    async def close(self, attempt: Attempt, errand: _Errand) -> Outcome:
        """Have a detached child end with the run."""
        await self.ask_to_cancel(attempt.args["run"], f"its parent {attempt.run_id} has ended")
        return Outcome(value=b"null")

    async def ask_to_cancel(self, run_id: str, reason: str) -> bool:
        """Leave a run the message; one that is gone needs none."""
        try:
            await workflow.get_external_workflow_handle(run_id).signal(
                CANCEL, {"data": {"reason": reason}, "dedup_id": f"{self.host.run_id}/cancel"}
            )
        except exceptions.FailureError:
            return False
        return True

    # --- children

    def _parent(self) -> Run:
        parent = self.host.journal.run(self.host.run_id)
        assert parent is not None
        return parent

    async def _run(self, child: Run, errand: _Errand) -> Run:
        """Run it as a child workflow, and remember how it ended. A retry of the run may ask again
        meanwhile.
        """
        running = self._running.get(child.id)
        if running is None:
            running = self._running[child.id] = asyncio.create_task(self._run_anew(child, errand))
        errand.child = child.id
        return await asyncio.shield(running)

    async def _run_anew(self, child: Run, errand: _Errand) -> Run:
        self.children += 1
        try:
            handle = await workflow.start_child_workflow(
                child.workflow,
                args=self.host.begin_child(child),
                id=child.id,
                result_type=dict,
                **self.host.showing.of_another(child),
            )
            errand.begun = True
            if errand.told:
                errand.tell()
            result = await handle
        except exceptions.ChildWorkflowError as error:
            result = _left_behind(error, child)
        finally:
            self.children -= 1
            del self._running[child.id]
        for relative in result.get("kin", ()):
            remember(self.host.journal, relative)
        return remember(self.host.journal, result)

    def _is_secret(self, ended: Run) -> bool:
        return self.host.kin.has_secret_output(ended)


Kind = Callable[[Errands, Attempt, "_Errand"], Coroutine[Any, Any, Outcome]]

_KINDS: dict[str, Kind] = {
    "workflow": Errands.child,
    "detached": Errands.detached,
    "undo_child": Errands.undo,
    "send_signal": Errands.send,
    "close_child": Errands.close,
}


class _Errand:
    """One errand under way."""

    def __init__(self, errands: Errands, attempt: Attempt, done: Done) -> None:
        self._errands = errands
        self._attempt = attempt
        self._done = done
        self._telling: asyncio.Task[bool] | None = None
        self.told = False
        self.begun = False
        self.child: str | None = None
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            outcome = await _KINDS[self._attempt.kind](self._errands, self._attempt, self)
        except Exception as error:
            if not isinstance(error, FlowctlError) or isinstance(error, ExpressionError):
                self._errands.host.fail(error)
                return
            outcome = Outcome(failure=failure_of(error))
        self._done(outcome)

    @property
    def kind(self) -> str:
        """As of a ``Call``."""
        return self._attempt.kind

    def cancel(self) -> None:
        """A child is told, and undoes what it did; all else is over in a moment anyway."""
        if not self.told:
            self.told = True
            if self.child is not None and self.begun:
                self.tell()

    def tell(self) -> None:
        """Pass it on to the child."""
        assert self.child is not None
        reason = f"its parent {self._attempt.run_id} called it off"
        self._telling = asyncio.create_task(self._errands.ask_to_cancel(self.child, reason))


def _left_behind(error: exceptions.ChildWorkflowError, child: Run) -> dict[str, Any]:
    """How a child ended that did not complete: it says so itself, unless somebody terminated it."""
    cause = error.cause
    if isinstance(cause, exceptions.ApplicationError) and cause.details:
        found: dict[str, Any] = cause.details[0]
        return found
    status = "terminated"
    row = msgspec.structs.replace(child, status=status, completed_at=child.created_at)
    return {
        "run": msgspec.to_builtins(row),
        "ended": {"status": status, "output": None, "error": None, "saga": None},
    }
