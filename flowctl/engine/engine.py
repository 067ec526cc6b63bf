"""What people and programs ask of the engine: accept a run, drive it, pass a message to it.

Everything here is either durable when it returns (``start``, ``signal``, ``cancel``) or can be repeated
after a crash (``drive``). It knows neither plugins nor the terminal: it is handed activities, a way to
ask for secrets, and observers.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowctl import values
from flowctl.activities import Activity
from flowctl.activities.performer import Around, Performer
from flowctl.document import build
from flowctl.document.closure import Closure
from flowctl.engine.session import Session
from flowctl.errors import (
    InvalidInput,
    NotServed,
    RunClosed,
    RunIdConflict,
    RunNotFound,
    UnknownActivity,
    UsageError,
)
from flowctl.journal import Change, Document, Journal, Message, Run, secrecy
from flowctl.machine import Interpret, Machine
from flowctl.machine.repeating import Repetition
from flowctl.model import NO_POLICY, Policy, Workflow
from flowctl.path import RUN_ID
from flowctl.runtimes.embedded import POLL
from flowctl.runtimes.kin import Kin, check_cancel, check_sender
from flowctl.runtimes.operations import Operations
from flowctl.runtimes.versions import Versions
from flowctl.state import ENDED, RunStatus
from flowctl.wall_clock import wall_clock

if TYPE_CHECKING:
    from flowctl.engine.events import Listener, Telling


class Traces(Protocol):
    """What calls of activities are a part of (``telemetry``)."""

    @property
    def around(self) -> Around:
        """Entered around each call in this process."""

    @property
    def around_in_child(self) -> Around:
        """The same in a child process; a function of a module."""


CommitObserver = Callable[[Change], None]

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OF_CHANCE = (_DIGITS * 8).encode()
"""A digit for every byte, each as often as any other."""

_NAME_KEPT = 60

READY = 256
"""Documents that are kept as they are executed."""


def nobody_has(secret: str) -> str:
    """Why a secret cannot be had, where no more is known."""
    return f"nobody here has the secret {secret}"


class Engine:
    """Runs on one journal. ``secret`` returns a secret's value or None, and ``sought`` says why there is
    none; ``listener`` hears what happens (``events``), None if nobody does; ``telemetry`` is entered around
    each call of an activity.
    """

    def __init__(
        self,
        journal: Journal,
        activities: Mapping[str, Activity],
        *,
        secret: Callable[[str], str | None],
        sought: Callable[[str], str] = nobody_has,
        settings: Policy = NO_POLICY,
        clock: Callable[[], int] = wall_clock,
        build_workflow: Callable[[Mapping[str, Any], str], Workflow] = build,
        listener: Listener | None = None,
        telemetry: Traces | None = None,
    ) -> None:
        self.journal = journal
        self._activities = activities
        self._secret = secret
        self._sought = sought
        self._settings = settings
        self.clock = clock
        self._workflows: dict[str, Workflow] = {}
        self.kin = Kin(journal, self._workflow, clock)
        self._telemetry = telemetry
        self._telling = _telling(listener, journal) if listener is not None else None
        told = self.observed(None)
        self.operations = Operations(journal, clock, told)
        self.versions = Versions(journal, clock, told)
        self._build = build_workflow

    # --- accepting: durable on return

    def start(
        self,
        workflow: Workflow,
        source: str,
        input: Mapping[str, Any],
        *,
        id: str | None = None,
        principal: str | None = None,
        children: Closure | None = None,
        claim: bool = False,
    ) -> tuple[Run, bool]:
        """Accept a run; returns it, and whether it is new. An id that exists returns its run if document
        and input are the same. ``children`` are the documents that it can need besides its own. With
        ``claim`` a new one is ours to drive at once, and no worker's.

        Raises ``InvalidInput``, ``PayloadTooLarge``, ``UnknownActivity``, ``RunIdConflict``.
        """
        run = self.prepare(workflow, input, id=id, principal=principal)
        existing = self.journal.run(run.workflow_id) if id is not None else None
        if existing is None:
            self.pin(workflow, source)
            run.pins = self._pin_children(children) if children is not None else None
            run, created = self.journal.create(run, claim=claim)
            if created:
                return run, True
            existing = run
        if existing.digest != workflow.digest or not values.equal(existing.input, run.input):
            raise RunIdConflict(
                f"the id {run.workflow_id} belongs to a run of another document or input",
                hint="choose another --id, or start it with the same file and input",
            )
        return self.journal.latest_of(run.workflow_id) or existing, False

    def prepare(
        self,
        workflow: Workflow,
        input: Mapping[str, Any],
        *,
        id: str | None = None,
        principal: str | None = None,
    ) -> Run:
        """The row of a run that could be started now: input checked and its defaults filled in, nothing
        written.
        """
        self._check_activities(workflow)
        if id is not None and not RUN_ID.match(id):
            raise InvalidInput(
                f"{id!r} cannot be a run's id",
                hint="use letters, digits and . _ : - , at most 100, beginning with a letter or digit",
            )
        values.check_text(principal, "the principal")
        filled = workflow.prepare_input(dict(input))
        now = self.clock()
        workflow_id = id or new_id(workflow.name, now)
        return Run(
            id=workflow_id,
            workflow_id=workflow_id,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            input=filled,
            created_at=now,
            deadline=now + workflow.timeout,
            principal=principal,
            trace_id=os.urandom(16).hex(),
        )

    def _pin_children(self, children: Closure) -> dict[str, dict[str, str]] | None:
        """Keep all documents of a closure; which reference stands for which of them, as ``Run.pins``."""
        pins: dict[str, dict[str, str]] = {}
        for (parent, reference), digest in children.pins.items():
            pins.setdefault(parent, {})[reference] = digest
        for child in children.documents.values():
            self.pin(child, values.encode(child.body).decode())
        return pins or None

    def _check_activities(self, workflow: Workflow) -> None:
        missing = sorted(workflow.activities - self._activities.keys())
        if missing:
            raise UnknownActivity(
                f"no plugin registers {', '.join(missing)}",
                hint="name the plugin's folder with --plugins-dir, or install it; see `flowctl activities`",
                details={"activities": missing},
            )

    def pin(self, workflow: Workflow, source: str) -> None:
        """Keep the document, so that the run goes on with it whatever happens to the file."""
        self._have_ready(workflow)
        body = values.encode(workflow.body)
        self.journal.put_document(Document(workflow.digest, workflow.name, workflow.version, body, source))

    def deploy(self, workflow: Workflow) -> bool:
        """Register a pinned document as a version; False if it was there. ``VersionTaken``."""
        return self.journal.deploy(workflow.name, workflow.version, workflow.digest, self.clock())

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> Run:
        """Put a signal into a run's inbox. ``UnknownSignal``, ``InvalidInput``, ``RunNotFound``, and
        ``RunClosed`` unless it was there before the run ended.
        """
        check_sender(principal, dedup_id)
        run = self.run(run_id)
        given = self.kin.payload_of(run, name, payload)
        self.journal.deliver(
            Message(run_id, "signal", name, given, self.clock(), principal=principal, dedup_id=dedup_id)
        )
        return run

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> Run:
        """Ask a run to cancel itself and undo what it did; a no-op for one that is compensating.
        ``RunClosed``, ``InvalidInput``.
        """
        check_cancel(reason, principal)
        run = self.live(run_id)
        if run.status != RunStatus.COMPENSATING:
            self.journal.deliver(
                Message(run_id, "cancel", "cancel", {"reason": reason}, self.clock(), principal=principal)
            )
        return run

    def migrate(
        self, run_id: str, workflow: Workflow, source: str, *, children: Closure | None = None
    ) -> Run:
        """Move a live run, which nobody drives, onto another document. ``DoesNotFit``, ``RunBusy``,
        ``RunClosed``, ``UnknownActivity``.
        """
        run = self.live(run_id)
        self._check_activities(workflow)

        def pin() -> dict[str, dict[str, str]]:
            self.pin(workflow, source)
            return (self._pin_children(children) if children is not None else None) or {}

        return self.versions.migrate(run, workflow, pin)

    def replay(
        self,
        run_id: str,
        start: str,
        *,
        input: Mapping[str, Any] | None = None,
        principal: str | None = None,
    ) -> Run:
        """Accept a new run that repeats another from a step on; ``input``, if given, replaces the other's.

        Raises ``UsageError`` if there is no such step, ``NotServed`` if the run must be repeated from further
        up, and what ``start`` does about the input.
        """
        origin = self.run(run_id)
        last = max((entry.seq for entry in self.journal.entries(run_id)), default=0)
        about = {"run": origin.id, "digest": origin.digest, "from": start, "until": last}
        repetition = self.kin.repetition(about)
        _check_repetition(repetition, origin, start)
        asked = origin.input if input is None else input
        run = self.prepare(self.workflow_of(origin), asked, principal=principal)
        run.origin, run.pins, run.attributes = about, origin.pins, repetition.attributes()
        run.inherited = secrecy(origin)
        return self.journal.create(run)[0]

    # --- secrets

    def lacks(self, secret: str) -> str | None:
        """Why a secret cannot be had here; None if it can."""
        return self._sought(secret) if self._secret(secret) is None else None

    # --- reading

    def run(self, run_id: str) -> Run:
        """A run's row. ``RunNotFound``."""
        run = self.journal.run(run_id)
        if run is None:
            raise RunNotFound(
                f"there is no run {run_id}", hint="`flowctl list` shows the runs of this database"
            )
        return run

    def live(self, run_id: str) -> Run:
        """The same for a run that has not ended. ``RunClosed``."""
        run = self.run(run_id)
        if run.status in ENDED:
            raise RunClosed(
                f"run {run.id} is {run.status}",
                hint="`flowctl status` shows how; start a new one to do it again",
            )
        return run

    def workflow_of(self, run: Run) -> Workflow:
        """The document a run was started with."""
        return self._workflow(run.digest)

    def _workflow(self, digest: str) -> Workflow:
        """The document of a digest."""
        known = self._workflows.get(digest)
        return self._have_ready(self._load(digest)) if known is None else known

    def _have_ready(self, workflow: Workflow) -> Workflow:
        """To build a long document takes as long as to run it: those that came last are kept."""
        if workflow.digest not in self._workflows and len(self._workflows) >= READY:
            self._workflows.pop(next(iter(self._workflows)), None)
        return self._workflows.setdefault(workflow.digest, workflow)

    def _load(self, digest: str) -> Workflow:
        document = self.journal.document(digest)
        if document is None:
            raise RunNotFound(f"the journal does not have the document {digest}")
        return self._build(msgspec.json.decode(document.body), digest)

    # --- driving

    async def drive(self, run_id: str, *, wait: int, observe: CommitObserver | None = None) -> Run:
        """Drive one run until it ends or only waits for what is not due within ``wait`` milliseconds;
        returns its row.

        Signals that come meanwhile are acted on. A run that another live process has is watched for as
        long. Raises ``StorageError`` when what became of the last commit is unknown, ``RunBusy`` when
        this process was declared dead and the run taken over.
        """
        until = self.clock() + wait
        while (run := self.journal.claim(run_id)) is None:
            watched = await self._watch(run_id, until)
            if watched is not None:
                return watched
        if run.status in ENDED:
            self.release([run])
            return run
        session = Session(self, observe)
        try:
            machine = session.add(run)
            await session.rest(machine, until)
            while machine.run.status == RunStatus.CONTINUED:
                successor = self._successor(machine.run, session)
                if successor is None:
                    break
                machine = successor
                await session.rest(machine, until)
            return machine.run
        finally:
            await session.close()

    def _successor(self, run: Run, session: Session) -> Machine | None:
        """The next run of the chain, which the session drives already unless another process does."""
        latest = self.journal.latest_of(run.workflow_id)
        return session.runtime.machine(latest.id) if latest is not None else None

    async def _watch(self, run_id: str, until: int) -> Run | None:
        """Another live process has the run: look on until it has ended or the time is over. None if nobody
        has it any more.
        """
        while True:
            attended, run = self.journal.attended(run_id), self.run(run_id)
            if run.status in ENDED or self.clock() >= until:
                return run
            if not attended:
                return None
            await asyncio.sleep(POLL)

    def release(self, runs: Iterable[Run]) -> None:
        """Give claimed runs back, as they are now."""
        self.journal.commit([Change(run, [], state_changed=True, release=True) for run in runs])

    def interpret(self, run: Run) -> Interpret:
        """The interpreter for a run's document and input."""
        return self.kin.interpret(run)

    def performer(self, loop: asyncio.AbstractEventLoop) -> Performer:
        """What carries attempts out on ``loop``."""
        traces = self._telemetry
        return Performer(
            self._activities,
            resolve_secret=self._secret,
            loop=loop,
            around=traces.around if traces is not None else None,
            around_in_child=traces.around_in_child if traces is not None else None,
        )

    def observed(self, observe: CommitObserver | None) -> CommitObserver | None:
        """Who is told of a commit: ``observe``, and whoever listens to events."""
        telling = self._telling
        if telling is None:
            return observe
        if observe is None:
            return telling.tell

        def both(change: Change) -> None:
            observe(change)
            telling.tell(change)

        return both

    def close(self) -> None:
        """Let those who listen hear the last; the journal stays open."""
        if self._telling is not None:
            self._telling.close()


def _telling(listener: Listener, journal: Journal) -> Telling:
    """What is imported only by who has a listener."""
    from flowctl.engine.events import Telling

    return Telling(listener, journal)


def _check_repetition(repetition: Repetition, origin: Run, start: str) -> None:
    problem = repetition.misplaced()
    if problem is not None:
        raise UsageError(problem, hint=f"`flowctl status {origin.id}` lists the steps that it came to")
    earliest = repetition.earliest()
    if earliest != start:
        raise NotServed(
            f"run {origin.id} cannot be repeated from {start}: what {earliest} did failed or was undone",
            hint=f"repeat it from {earliest}, or from before that",
            details={"earliest": str(earliest)},
        )


def new_id(workflow: str, now: int) -> str:
    """A workflow id: the workflow's name and a ULID (48 bits of time, 80 of chance), so that ids sort by
    age.
    """
    return f"{workflow[:_NAME_KEPT]}-{_time_in_digits(now)}{os.urandom(16).translate(_OF_CHANCE).decode()}"


@functools.lru_cache(maxsize=1)
def _time_in_digits(now: int) -> str:
    """48 bits as 10 digits of 5 bits each. Runs that are accepted together share them."""
    return "".join(_DIGITS[(now >> shift) & 31] for shift in range(45, -1, -5))
