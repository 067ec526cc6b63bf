"""How runs are related: which document a reference of a run stands for, and what a child's row says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from flowctl import values
from flowctl.activities import Attempt
from flowctl.document import signals_of
from flowctl.errors import Blocked, InternalError, InvalidInput, RunClosed, RunNotFound, UnknownSignal
from flowctl.interpreter import execute
from flowctl.journal import Change, Document, Journal, Message, Run, secrecy
from flowctl.machine import Interpret, Machine, block
from flowctl.machine.repeating import Repetition
from flowctl.model import Workflow
from flowctl.path import ROOT, Path
from flowctl.runtime import End


class Kin:
    """The relatives of runs, on one journal. ``workflow_of`` finds a pinned document by its digest."""

    def __init__(
        self, journal: Journal, workflow_of: Callable[[str], Workflow], clock: Callable[[], int]
    ) -> None:
        self._journal = journal
        self._workflow_of = workflow_of
        self._clock = clock

    def interpret(self, run: Run) -> Interpret:
        """The interpreter for a run's document and input; one that repeats another run is served of that."""
        walk: Interpret = partial(execute, self._workflow_of(run.digest), run.input)
        return walk if run.origin is None else partial(self._repeat, run.origin, walk)

    def park(self, run: Run, blocked: Blocked) -> Change:
        """Give back a claimed run that cannot be interpreted here for now; returns what was committed."""
        seen = max((message.seq for message in self._journal.inbox(run.id)), default=0)
        change = block(run, blocked, self._clock(), seen)
        self._journal.commit([change])
        return change

    def _repeat(self, origin: Mapping[str, Any], walk: Interpret, machine: Machine) -> Awaitable[End]:
        machine.serve(self.repetition(origin).served())
        return walk(machine)

    def repetition(self, origin: Mapping[str, Any]) -> Repetition:
        """What there is to repeat of a run (``Run.origin``). ``Blocked`` if it is gone."""
        run_id, until = origin["run"], origin["until"]
        if self._journal.run(run_id) is None:
            raise Blocked("RunNotFound", f"the run {run_id}, which this one repeats, is gone", ROOT)
        entries = [entry for entry in self._journal.entries(run_id) if entry.seq <= until]
        return Repetition(self._workflow_of(origin["digest"]), entries, Path(origin["from"]))

    def latest(self, run_id: str) -> Run | None:
        """The run that a run id, or the latest that a workflow id stands for."""
        exact = self._journal.run(run_id)
        if exact is not None and exact.id != exact.workflow_id:
            return exact
        return self._journal.latest_of(run_id)

    def child(self, parent: Run, call: Attempt) -> Run:
        """The row of a child, if it is not there already (``key`` 0). ``InvalidInput``."""
        run_id = Path(call.path).child_id(parent.id, call.attempt)
        existing = self._journal.latest_of(run_id)
        if existing is not None:
            return existing
        digest = ((parent.pins or {}).get(parent.digest) or {}).get(call.name)
        if digest is None:
            raise InternalError(f"the run {parent.id} did not pin the workflow {call.name}")
        workflow = self._workflow_of(digest)
        filled = workflow.prepare_input(dict(call.args))
        made = self._relative(parent, run_id, workflow, filled)
        if call.secret:
            made.inherited = {"secret": True}
        return made

    def undoing(self, child: Run, why: Mapping[str, Any], by: str) -> tuple[Run | None, bool]:
        """The row of the run that undoes a completed child, as part of the run ``by``, or None if nothing is
        left to undo; and whether the child went past a point of no return.
        """
        existing = self._journal.run(f"{child.id}~undo")
        left = self._left(child)
        if existing is None and left.get("registered"):
            existing = self._relative(child, f"{child.id}~undo", self._workflow_of(child.digest), child.input)
            taken = {**(existing.inherited or {}), "left": left, "why": dict(why)}
            existing.parent_id, existing.inherited = by, taken
        return existing, bool(left.get("pivoted"))

    def send(
        self, target: str, signal: str, payload: Any, *, dedup_id: str, principal: str | None
    ) -> Message:
        """Put a signal into a run's inbox, once. ``RunNotFound``, ``RunClosed``, ``UnknownSignal``,
        ``InvalidInput``.
        """
        run = self.latest(target)
        if run is None:
            raise RunNotFound(f"there is no run {target}")
        given = self.payload_of(run, signal, payload)
        message = Message(run.id, "signal", signal, given, self._clock(), principal, dedup_id)
        return self._journal.deliver(message)[0]

    def payload_of(self, run: Run, signal: str, payload: Any) -> Any:
        """The payload of a signal as the run gets it (``payload_of``)."""
        document = self._journal.document(run.digest)
        if document is None:
            raise RunNotFound(f"the journal does not have the document {run.digest}")
        return payload_of(document, signal, payload)

    def cancel(self, run: Run, reason: str, *, dedup_id: str) -> Message | None:
        """Ask a relative to cancel itself; None if it has ended."""
        data = {"reason": reason}
        message = Message(run.id, "cancel", "cancel", data, self._clock(), dedup_id=dedup_id)
        try:
            return self._journal.deliver(message)[0]
        except RunClosed:
            return None

    def has_secret_output(self, ended: Run) -> bool:
        """Whether the output of a run may be that of a secret step."""
        return self._workflow_of(ended.digest).secret_result and "secret_output" in self._end(ended)

    def _left(self, child: Run) -> Mapping[str, Any]:
        left: Mapping[str, Any] = self._end(child).get("left", {})
        return left

    def _end(self, run: Run) -> Mapping[str, Any]:
        """What was recorded when it ended."""
        for entry in reversed(self._journal.entries(run.id)):
            for fact in entry.facts():
                if fact.path == ROOT and fact.kind == "ended":
                    return fact.data
        return {}

    def _relative(self, of: Run, run_id: str, workflow: Workflow, input: Mapping[str, Any]) -> Run:
        now = self._clock()
        return Run(
            id=run_id,
            workflow_id=run_id,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            input=input,
            created_at=now,
            deadline=now + workflow.timeout,
            parent_id=of.id,
            principal=of.principal,
            trace_id=of.trace_id,
            pins=of.pins,
            inherited=secrecy(of),
        )


def check_sender(principal: Any, dedup_id: Any = None) -> None:
    """Who sends a message, and under which id it is sent once. ``InvalidInput``."""
    values.check_text(principal, "the principal")
    values.check_text(dedup_id, "the dedup_id")


def check_cancel(reason: Any, principal: Any) -> None:
    """Why, and who cancels a run. ``InvalidInput``."""
    if reason is None:
        raise InvalidInput("the reason must be a text, not null")
    values.check_text(reason, "the reason")
    check_sender(principal)


def payload_of(document: Document, name: str, payload: Any) -> Any:
    """The payload of a signal as a run of this document gets it: nothing is an empty object where the
    document wants one. ``UnknownSignal``, ``InvalidInput``, ``PayloadTooLarge``.
    """
    signals = signals_of(document.body)
    declared = signals.get(name)
    if declared is None:
        known = ", ".join(sorted(signals)) or "none"
        raise UnknownSignal(f"{document.name} declares no signal {name!r}", hint=f"it declares: {known}")
    values.sized(payload, "the payload")
    problem = declared.check(payload)
    if problem is None:
        return payload
    if payload is None and declared.check({}) is None:
        return {}
    raise InvalidInput(f"the payload does not fit the signal {name}: {problem}")
