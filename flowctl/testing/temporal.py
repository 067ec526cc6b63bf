"""Run a case on Temporal: a real server, a real worker, and a clock that is ours.

Everything but the clock is as in production: histories, activities, signals, child workflows. Temporal's own
clock cannot be moved, so here a run's timers wait for *ticks*: signals that say what time it is. Between two
ticks the driver waits until nothing moves any more, anywhere: no workflow task, no activity that was asked
for and has not begun, no answer or message under way. Then it looks who is due next, and tells everybody that
it is that late.

A lane is a namespace with a worker of its own: cases in different lanes do not see each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.service import RPCError
from temporalio.worker import Worker

from flowctl.activities import Attempt, Outcome
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.errors import Blocked, FlowctlError, RunClosed, RunOpen, failure_of
from flowctl.journal import MessageKind, Run
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.machine import Handle
from flowctl.path import Path
from flowctl.runtimes.temporal.asking import Asking
from flowctl.runtimes.temporal.attempts import failed, lost
from flowctl.runtimes.temporal.attended import AttendedRunner
from flowctl.runtimes.temporal.begin import Begin, to_chunks
from flowctl.runtimes.temporal.host import TemporalHost
from flowctl.runtimes.temporal.kindred import SEND, Errands
from flowctl.runtimes.temporal.remote import Seen, seen, send, workflow_id_of
from flowctl.runtimes.temporal.wire import attempt_from_json, outcome_to_json
from flowctl.runtimes.temporal.workflow import FlowctlRun, sandbox
from flowctl.runtimes.virtual import Performance
from flowctl.state import ENDED, RunStatus
from flowctl.status import status_document
from flowctl.testing.conformance import EVERY_STEP, RUN_ID, Case, Observed
from flowctl.testing.events import Event
from flowctl.testing.script import ScriptedActivities
from flowctl.testing.world import START

QUEUE = "default"
TICK = "_tick"
QUIET = 0.002
"""Seconds between looks whether everything is quiet."""

TOLD_WITHIN = 0.05
"""Seconds within which an attempt hears that it was called off."""

Asked = TypeVar("Asked", "Flight", "TickedErrand")

_worlds: dict[str, World] = {}
"""By namespace."""


class Flight:
    """An attempt that a run has asked for. ``number`` counts them; ``by`` is the Temporal run that asked."""

    def __init__(self, number: int, by: str) -> None:
        self.number = number
        self.by = by
        self.begun = self.told = self.heard = self.over = self.landed = False

    @property
    def moves(self) -> bool:
        """Whether something about it is under way between the run and its worker."""
        return not self.landed and (not self.begun or self.over or (self.told and not self.heard))


class World:
    """One case under way in one namespace. ``activation`` is held while one of its runs is activated: that is
    in another thread, and whoever looked at the run meanwhile would see it half done.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.activation = threading.Lock()
        self.script: ScriptedActivities = case.script()
        self.time = START
        self.hosts: dict[str, TickedHost] = {}
        self.expected: set[str] = set()
        self.flights: dict[tuple[str, str, int], list[Flight]] = {}
        self.errands: dict[tuple[str, str, int], list[TickedErrand]] = {}
        self.performances: dict[Flight, asyncio.Future[Outcome | None]] = {}
        self.details: dict[Flight, bytes] = {}
        self.asked: list[tuple[int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.letters = 0
        self.terminated_at: int | None = None
        self._due: list[tuple[int, int, _Due]] = []
        self._numbers = itertools.count()

    # --- the clock of the activities (``runtimes.virtual.Clock``)

    def now(self) -> int:
        """The time."""
        return self.time

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """Call back then, on the loop."""
        due = _Due(callback)
        heapq.heappush(self._due, (when, next(self._numbers), due))
        return due

    # --- who moves, who is due

    @property
    def moves(self) -> bool:
        """Whether something happens, or is under way, without the time going on."""
        if not self.activation.acquire(blocking=False):
            return True
        try:
            return (
                self.letters > 0
                or not self.expected <= self.hosts.keys()
                or any(host.moves for host in self.hosts.values())
                or any(flight.moves for flights in self.flights.values() for flight in flights)
                or any(errand.moves for errands in self.errands.values() for errand in errands)
            )
        finally:
            self.activation.release()

    def next_due(self) -> int | None:
        """When something happens by itself."""
        while self._due and self._due[0][2].cancelled:
            heapq.heappop(self._due)
        due = [self._due[0][0]] if self._due else []
        due += [
            when for host in self.hosts.values() if not host.over and (when := host.next_due()) is not None
        ]
        return min(due, default=None)

    def answer(self) -> bool:
        """Begin the attempts that were asked for, in that order, and let the first answer that is due, if any
        is.
        """
        asked, self.asked = sorted(self.asked, key=lambda each: each[0]), []
        for _, begin in asked:
            begin()
        while self._due and self._due[0][0] <= self.time:
            _, _, due = heapq.heappop(self._due)
            if not due.cancelled:
                due.callback()
                return True
        return False

    # --- activities

    def flight(self, run_id: str, path: str, attempt: int) -> Flight:
        """The one that was asked for and has not begun."""
        return next(each for each in self.flights[run_id, path, attempt] if not each.begun)

    async def make(self, attempt: Attempt) -> Outcome:
        """Play an attempt."""
        flight = self.flight(attempt.run_id, str(attempt.path), attempt.attempt)
        try:
            self.script.declared(attempt.name)
            self.script.check_secrets(sorted(_secrets(attempt)), Path(attempt.path))
        except Blocked as blocked:
            flight.begun = flight.over = True
            return Outcome(blocked={"code": blocked.code, "reason": blocked.reason})
        ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

        def over(outcome: Outcome) -> None:
            if not ended.done():
                flight.over = True
                ended.set_result(outcome)

        performance: Performance | None = None

        def came(details: bytes) -> None:
            self.details[flight] = details

        def begin() -> None:
            nonlocal performance
            performance = Performance(self, attempt, self.script.act(attempt), over, came)
            performance.begin()
            if flight.heard:
                performance.cancel()

        self.asked.append((flight.number, begin))
        self.performances[flight] = ended
        flight.begun = True
        while not ended.done():
            if flight.told and not flight.heard:
                activity.heartbeat()
            try:
                await asyncio.wait([ended], timeout=TOLD_WITHIN)
            except asyncio.CancelledError:
                if performance is not None:
                    performance.cancel()
                flight.heard = True
        self.performances.pop(flight, None)
        outcome = ended.result()
        if outcome is None:
            raise lost("the worker is lost", self.details.get(flight))
        return outcome

    def lose(self) -> dict[Flight, asyncio.Future[Outcome | None]]:
        """The worker dies: no attempt that is in flight answers any more."""
        lost = dict(self.performances)
        self._due.clear()
        self.asked.clear()
        self.performances.clear()
        return lost


def _secrets(attempt: Attempt) -> set[str]:
    return {part.name for parts in attempt.secrets.values() for part in parts if not isinstance(part, str)}


class _Due:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class TickedErrand:
    """A child that a run waits for, or starts. ``errand`` is that of the run as it was taken up last, ``by``
    the Temporal run that asked for it.
    """

    def __init__(self, world: World, by: str) -> None:
        self.errand: Any = None
        self._world = world
        self.by = by
        self.landed = False

    @property
    def moves(self) -> bool:
        """Whether it is under way between the run and its child."""
        if self.errand is None or self.errand.kind not in ("workflow", "undo_child"):
            return not self.landed
        child = self._world.hosts.get(self.errand.child or "")
        return not self.landed and (child is None or child.over)


class TickedErrands(Errands):
    """Errands whose messages are counted."""

    def __init__(self, host: TickedHost) -> None:
        super().__init__(host)
        self._ticked = host

    def perform(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Handle:
        """See ``Host.perform``."""
        world, key = self._ticked.world, (attempt.run_id, str(attempt.path), attempt.attempt)

        def landed(outcome: Outcome) -> None:
            ticked.landed = True
            done(outcome)

        asked = world.errands.setdefault(key, [])
        known = self._ticked.asked_before(key, asked)
        ticked = known or TickedErrand(world, workflow.info().run_id)
        if known is None:
            asked.append(ticked)
        ticked.errand = errand = super().perform(attempt, landed)
        return errand

    async def ask_to_cancel(self, run_id: str, reason: str) -> bool:
        """Count it: who is gone never hears it."""
        world = self._ticked.world
        if not workflow.unsafe.is_replaying():
            world.letters += 1
        heard = await super().ask_to_cancel(run_id, reason)
        if not heard and not workflow.unsafe.is_replaying():
            world.letters -= 1
        return heard


class TickedHost(TemporalHost):
    """A host whose time is told."""

    def __init__(self, begin: Begin) -> None:
        self.world = _worlds[workflow.info().namespace]
        self._ticking: list[tuple[int, int, _Due]] = []
        self._numbers = itertools.count()
        self._time = 0
        self.gone = False
        self.aside = False
        self._was_due: int | None = None
        self._asked: Counter[Any] = Counter()
        super().__init__(begin)
        self.errands = TickedErrands(self)
        run = self.run()
        facts = [fact.at for entry in self.journal.entries(run.id) for fact in entry.facts()]
        self._time = max([run.created_at, *facts])
        if not workflow.unsafe.is_replaying() or workflow_id_of(run.id) in self.world.hosts:
            self.world.hosts[workflow_id_of(run.id)] = self

    def put_aside(self) -> None:
        """See ``TemporalHost``. Nobody is told anything by that, and what was due is."""
        self._was_due, self.aside = self.next_due(), True
        super().put_aside()

    @property
    def moves(self) -> bool:
        """Whether it is being run, or is about to become another."""
        return self.over and not self.gone and self.run().status not in ENDED - {RunStatus.CONTINUED}

    def next_due(self) -> int | None:
        """When its first timer rings."""
        if self.aside:
            return self._was_due
        while self._ticking and self._ticking[0][2].cancelled:
            heapq.heappop(self._ticking)
        return self._ticking[0][0] if self._ticking else None

    def tick(self, now: int, *, rings: bool) -> None:
        """It is that late. Timers may be told later to ring."""
        self._time = now
        while rings and (due := self.next_due()) is not None and due <= now:
            _, _, timer = heapq.heappop(self._ticking)
            timer.callback()

    namespace = "default"

    def _ring_before(self, at: int) -> None:
        """See ``TemporalHost``."""
        while (due := self.next_due()) is not None and due < at:
            heapq.heappop(self._ticking)[2].callback()

    def now(self) -> int:
        """See ``Host``."""
        return self._time

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """See ``Host``."""
        if when <= self._time:
            return asyncio.get_running_loop().call_soon(callback)
        due = _Due(callback)
        heapq.heappush(self._ticking, (when, next(self._numbers), due))
        return due

    def hear(self, kind: MessageKind, name: str, about: Any) -> None:
        """See ``TemporalHost``."""
        if not workflow.unsafe.is_replaying():
            self.world.letters -= 1
        super().hear(kind, name, about)

    def asked_before(self, key: Any, asked: Sequence[Asked]) -> Asked | None:
        """Of all that was asked for under a key, what this Temporal run asks for now, if it did so before it
        was taken up anew.
        """
        number = self._asked[key]
        self._asked[key] += 1
        ours = [each for each in asked if each.by == workflow.info().run_id]
        return ours[number] if number < len(ours) else None

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """See ``Host``."""
        if attempt.kind != "activity":
            return super().perform(attempt, done, heard)
        key = (attempt.run_id, str(attempt.path), attempt.attempt)
        flights = self.world.flights.setdefault(key, [])
        flight = self.asked_before(key, flights)
        if flight is None:
            flight = Flight(next(self.world.numbers), workflow.info().run_id)
            flights.append(flight)

        def landed(outcome: Outcome) -> None:
            flight.landed = True
            done(outcome)

        return _Told(self, super().perform(attempt, landed, heard), flight)


class _Told:
    def __init__(self, host: TickedHost, handle: Handle, flight: Flight) -> None:
        self._host = host
        self._handle = handle
        self._flight = flight

    def cancel(self) -> None:
        self._flight.told = self._flight.told or not self._host.aside
        self._handle.cancel()


@workflow.defn(dynamic=True)
class TickedRun(FlowctlRun):
    """A chain of runs whose time is told."""

    hosted_by = TickedHost

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        super().__init__(args)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """See ``FlowctlRun``."""
        return await super().run(args)

    @workflow.signal(dynamic=True)
    def hear(self, name: str, args: Sequence[RawValue]) -> None:
        """Also ticks."""
        host = self.host
        assert isinstance(host, TickedHost)
        if name != TICK:
            super().hear(name, args)
            return
        if not workflow.unsafe.is_replaying():
            host.world.letters -= 1
        told = workflow.payload_converter().from_payload(args[0].payload, dict)
        host.tick(told["now"], rings=told["rings"])


@contextlib.contextmanager
def _under_way(info: workflow.Info, act: object) -> Iterator[None]:
    """A run is being activated: it moves."""
    world = _worlds.get(info.namespace)
    with world.activation if world is not None else contextlib.nullcontext():
        yield


class _Activities:
    """The activities of a lane."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(dynamic=True)
    async def attempt(self, args: Sequence[RawValue]) -> dict[str, Any]:
        """Make an attempt."""
        described = activity.payload_converter().from_payload(args[0].payload, dict)
        outcome = await _worlds[self._client.namespace].make(attempt_from_json(described))
        answer = outcome_to_json(outcome)
        if outcome.failure is None:
            return answer
        raise failed(outcome, answer)

    @activity.defn(name=SEND)
    async def send(self, about: dict[str, Any]) -> dict[str, Any]:
        """Send a signal to another run."""
        world = _worlds[self._client.namespace]
        world.letters += 1
        try:
            return outcome_to_json(await send(self._client, {**about, "at": world.time}))
        except FlowctlError as error:
            world.letters -= 1
            return outcome_to_json(Outcome(failure=failure_of(error)))


class Lane:
    """One namespace of a server, in which one case runs after the other."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @contextlib.asynccontextmanager
    async def working(self, *, cached: int = 1000) -> AsyncIterator[None]:
        """With a worker. ``cached`` runs are kept in its memory; with 0, each workflow task begins at the
        top.
        """
        activities = _Activities(self._client)
        beat = _seconds(TOLD_WITHIN)
        async with Worker(
            self._client,
            task_queue=QUEUE,
            workflows=[TickedRun],
            activities=[activities.attempt, activities.send],
            workflow_runner=AttendedRunner(sandbox(), _under_way),
            max_cached_workflows=cached,
            max_heartbeat_throttle_interval=beat,
            default_heartbeat_throttle_interval=beat,
        ):
            yield

    async def run(self, case: Case) -> Observed:
        """Run a case."""
        world = _worlds[self._client.namespace] = World(case)
        drive = _Drive(self._client, case, world)
        try:
            await drive.run()
            await drive.recorded()
            found = await seen(self._client, drive.latest(), by=TickedRun)
            status = status_document(found.run, found.journal.entries(found.run.id), count=EVERY_STEP)
            elapsed = (world.terminated_at or found.run.completed_at or world.time) - START
            return Observed(status, world.script.ledger, elapsed)
        finally:
            await drive.leave()


class _Alive(Seen):
    """A run that goes on, looked at."""

    def __init__(self, host: TickedHost) -> None:
        self.journal = MemoryJournal(host.journal.store)
        self._run_id = host.run_id


class _Drive:
    def __init__(self, client: Client, case: Case, world: World) -> None:
        self._client = client
        self._case = case
        self._world = world
        self._begin: Begin | None = None
        self._asks_at = START
        self._asking = Asking(client, self._look, self._restart, lambda: self._asks_at)

    def latest(self) -> str:
        """The last run of the chain."""
        return self._world.hosts[RUN_ID].run_id

    async def run(self) -> None:
        """Bring the case to its end."""
        case, world = self._case, self._world
        await self._start()
        events = list(case.events)
        while True:
            await self._until_quiet()
            if world.answer():
                continue
            event = events[0] if events else None
            happens = START + event.at if event is not None else None
            with world.activation:  # a worker may be about to forget a run
                due, ended = world.next_due(), self._ended()
            limit = START + case.until if case.until is not None else None
            when = min((each for each in (due, happens) if each is not None), default=None)
            if (ended and not events) or when is None or (limit is not None and when > limit):
                break
            if when > world.time:
                await self._tell_time(when)
            if happens is not None and happens <= when:
                await self._until_quiet()
                await self._happen(events.pop(0), events)
        if case.until is not None:
            world.time = max(world.time, START + case.until)

    async def recorded(self) -> None:
        """What has been decided here is known on the server too."""
        handle = self._client.get_workflow_handle(RUN_ID)
        if self._world.hosts[RUN_ID].over:
            with contextlib.suppress(Exception):
                await handle.result()
        while (await handle.describe()).raw_description.HasField("pending_workflow_task"):
            pass

    def _ended(self) -> bool:
        """Whether the run has, and its detached children have."""
        host = self._world.hosts[RUN_ID]
        return (host.gone or host.run().status in ENDED) and not any(
            not host.over and host.next_due() is not None and host.run().status == RunStatus.RUNNING
            for host in self._world.hosts.values()
        )

    async def leave(self) -> None:
        """Leave nothing behind."""
        world = self._world
        for ended in world.lose().values():
            if not ended.done():
                ended.set_result(None)
        for workflow_id in world.hosts.keys() | world.expected:
            with contextlib.suppress(RPCError):
                await self._client.get_workflow_handle(workflow_id).terminate()
        del _worlds[self._client.namespace]

    async def _start(self) -> None:
        case, store = self._case, MemoryStore()
        pins = {(digest, name): child for digest, known in case.pins.items() for name, child in known.items()}
        closure = Closure({child.digest: child for child in case.children.values()}, pins)
        names = frozenset().union(*(each.activities for each in (case.workflow, *case.children.values())))
        complete = case.script()
        complete.missing = set()
        engine = Engine(
            MemoryJournal(store), complete.activities(names), secret=complete.secrets.get, clock=lambda: START
        )
        run, _ = engine.start(case.workflow, case.source, case.input, id=RUN_ID, children=closure)
        self._begin = Begin(run.id, pack(store), case.policies, cards=True)
        await self._send_off(self._begin, run)

    async def _send_off(self, begin: Begin, run: Run) -> None:
        self._world.expected.add(run.workflow_id)
        await self._client.start_workflow(
            run.workflow,
            args=to_chunks(begin),
            id=run.workflow_id,
            task_queue=QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )

    async def _until_quiet(self) -> None:
        deadline = asyncio.get_running_loop().time() + 20
        while self._world.moves:
            await asyncio.sleep(QUIET)
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"never quiet: {self._why()}")

    def _why(self) -> str:
        world = self._world
        moving = {
            kind: [key for key, several in about.items() for each in several if each.moves]
            for kind, about in (("flights", world.flights), ("errands", world.errands))
        }
        hosts = [workflow_id for workflow_id, host in world.hosts.items() if host.moves]
        missing = world.expected - world.hosts.keys()
        return f"letters {world.letters}, missing {missing}, hosts {hosts}, {moving}"

    async def _tell_time(self, now: int, *, rings: bool = True) -> None:
        world = self._world
        world.time = now
        for workflow_id, host in list(world.hosts.items()):
            if not host.over:
                world.letters += 1
                told = {"now": now, "rings": rings}
                await self._client.get_workflow_handle(workflow_id).signal(TICK, told)

    async def _happen(self, event: Event, events: list[Event]) -> None:
        if event.kind == "lose_worker":
            await self._lose_worker(event, events)
            return
        self._asks_at = START + event.at
        latest, world = self.latest(), self._world
        world.letters += 1
        try:
            if event.kind == "signal":
                about = {"flowctl": 1, "payload": event.data, "dedup_id": event.dedup_id}
                about |= {"principal": event.principal, "at": START + event.at}
                if world.hosts[RUN_ID].over:
                    raise RunClosed("it has ended")
                await self._client.get_workflow_handle(RUN_ID).signal(event.name, about)
            elif event.kind == "cancel":
                await self._asking.cancel(latest, event.data["reason"], principal=event.principal)
            elif event.kind == "retry":
                skip = event.data["skip"] if isinstance(event.data, Mapping) else ()
                ended = world.hosts[RUN_ID].over
                await self._asking.retry(latest, skip=skip)
                world.letters -= ended
            elif event.kind == "terminate":
                await self._asking.terminate(latest)
                world.terminated_at = world.time
                world.letters -= 1
                for host in world.hosts.values():
                    host.over = host.gone = True
                for flight in (each for flights in world.flights.values() for each in flights):
                    flight.landed = True
            else:
                await getattr(self._asking, event.kind)(latest)
        except (RunClosed, RunOpen):
            world.letters -= 1

    async def _lose_worker(self, event: Event, events: list[Event]) -> None:
        world = self._world
        lost = world.lose()
        back = START + event.at + event.data
        await self._tell_time(back, rings=False)
        await self._until_quiet()
        while events and events[0].kind != "lose_worker" and START + events[0].at < back:
            self._asks_at = START + events[0].at
            await self._happen(events.pop(0), events)
            await self._until_quiet()
        await self._tell_time(back)
        await self._until_quiet()
        for flight, ended in lost.items():
            if not ended.done():
                flight.over = True
                ended.set_result(None)

    async def _look(self, run_id: str) -> Seen:
        host = self._world.hosts[workflow_id_of(run_id)]
        with contextlib.suppress(Exception):
            if host.over:  # the server may not know yet
                await self._client.get_workflow_handle(host.run().workflow_id).result()
        return Seen(host.run_id, host.journal) if host.over else _Alive(host)

    async def _restart(self, run: Run, found: Seen) -> None:
        assert self._begin is not None
        self._world.hosts.pop(run.workflow_id)
        begin = msgspec.structs.replace(self._begin, run_id=run.id, store=pack(found.journal.store))
        await self._send_off(begin, run)


def _seconds(seconds: float) -> Any:
    import datetime

    return datetime.timedelta(seconds=seconds)
