"""One case, run in virtual time: what it is, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from flowctl import values
from flowctl.document import stored
from flowctl.document.closure import Closure
from flowctl.expressions import FUNCTIONS, Expression, Function
from flowctl.journal import Change, Entry, Fact, Run
from flowctl.model import NO_POLICY, Policy, Workflow
from flowctl.plugins import Plugins
from flowctl.runtimes.virtual import VirtualRuntime
from flowctl.state import LIVE, StepStatus
from flowctl.status import status_document
from flowctl.testing.effects import Effect, Ledger
from flowctl.testing.events import Event
from flowctl.testing.expectations import Mismatch, broken, mismatches
from flowctl.testing.failures import Fault, label
from flowctl.testing.mocks import Called, Mock, Mocks, Real
from flowctl.testing.saga import breaches
from flowctl.testing.world import START, World, WorldEnds

ROOT_ID = "test"
"""The id of every test's run, so that keys and ids of children can be written down."""

M = TypeVar("M", bound=Mocks)

STEPS = 100_000
"""Steps of a run that are looked at."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What is tested: the document and all that it needs. ``children`` are the others, by their digests."""

    workflow: Workflow
    documents: Mapping[str, Workflow]
    pins: Mapping[str, Mapping[str, str]]
    plugins: Plugins
    settings: Policy = NO_POLICY
    functions: Mapping[str, Function] = dataclasses.field(default_factory=lambda: FUNCTIONS)

    @classmethod
    def of(cls, workflow: Workflow, closure: Closure, plugins: Plugins, settings: Policy) -> Subject:
        """From a document and its closure."""
        pins: dict[str, dict[str, str]] = {}
        for (digest, reference), child in closure.pins.items():
            pins.setdefault(digest, {})[reference] = child
        documents = {**closure.documents, workflow.digest: workflow}
        return cls(workflow, documents, pins, plugins, settings, plugins.vocabulary)

    @property
    def activities(self) -> frozenset[str]:
        """All that the documents can call."""
        return frozenset().union(*(each.activities for each in self.documents.values()))


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One case, read. ``written`` is its data, ``expect`` what must come of it."""

    name: str
    subject: Subject
    input: Mapping[str, Any]
    mocks: Mapping[str, Mock]
    real: bool = False
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    events: Sequence[Event] = ()
    faults: Sequence[Fault] = ()
    until: int | None = None
    expect: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    that: Mapping[str, Expression] = dataclasses.field(default_factory=dict)
    effects: Sequence[Effect] = ()
    invariants: Mapping[str, Expression] = dataclasses.field(default_factory=dict)
    every_failure: bool = False
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    line: int = 1

    # --- see ``world.Scenario``

    @property
    def workflow(self) -> Workflow:
        """The document."""
        return self.subject.workflow

    @property
    def pins(self) -> dict[str, dict[str, str]]:
        """As ``Run.pins``."""
        return {digest: dict(references) for digest, references in self.subject.pins.items()}

    def document(self, digest: str) -> Workflow:
        """A document of the run, by its digest."""
        return self.subject.documents[digest]

    def pinned(self, digest: str) -> Workflow:
        """The same, as the next worker reads it from what was stored."""
        return stored(values.encode(self.document(digest).body), digest, self.subject.functions)


@dataclasses.dataclass(slots=True)
class Came:
    """What came of a run. ``status`` is that of the last in its chain; ``steps`` are those of all runs, by
    their labels; ``order`` those of the chain that began, then those that were undone; ``called`` all calls,
    in order, ``calls`` without those that were repeated after a worker was lost.
    """

    status: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    order: Sequence[str]
    called: Sequence[Called]
    mismatches: Sequence[Mismatch]
    ledger: Ledger
    runs: Sequence[tuple[Run, list[Entry]]]
    elapsed: int

    @property
    def calls(self) -> list[Called]:
        """Each attempt once."""
        return list({(called.step, called.attempt): called for called in reversed(self.called)}.values())[
            ::-1
        ]

    @property
    def roots(self) -> dict[str, Any]:
        """What invariants see."""
        counts: dict[str, int] = {}
        for called in self.calls:
            counts[called.activity] = counts.get(called.activity, 0) + 1
        return {
            **{name: self.status[name] for name in ("input", "status", "output", "error", "saga")},
            "steps": {path: step["status"] for path, step in self.steps.items()},
            "calls": counts,
            "elapsed": self.elapsed / 1000,
            **self.ledger.roots(),
        }

    @property
    def live(self) -> bool:
        """Whether the run has not ended."""
        return self.status["status"] in LIVE

    @property
    def why(self) -> str | None:
        """Why the run stands as it does, if something went wrong."""
        blocked, error = self.status["blocked"], self.status["error"]
        if blocked is not None:
            return f"the run is blocked at {blocked['path'] or 'its start'}: {blocked['reason']}"
        if error is None:
            return None
        where = f" at {error['step']}" if error.get("step") else ""
        because = f": {error['message']}" if error["message"] else ""
        return f"the run's error is {error['type']}{where}{because}"


def run(scenario: Scenario, *, faults: Iterable[Fault] = (), events: Sequence[Event] | None = None) -> Came:
    """Run a case, with more ``faults`` than its own, or other events. ``InvalidInput``."""
    if events is not None:
        scenario = dataclasses.replace(scenario, events=events)
    subject, struck = scenario.subject, [*scenario.faults, *faults]
    ledger = Ledger(scenario.effects, subject.documents.values())
    with contextlib.ExitStack() as stack:
        mocks = mocks_of(
            Mocks, scenario, ledger, struck, lambda mocks: stack.enter_context(_real(subject, mocks))
        )
        watcher = _Watcher(struck)
        world = World(scenario, mocks, run_id=ROOT_ID, settings=subject.settings, watch=watcher.watch)
        watcher.world = world
        world.live_on()
    return came_of(world.runs(), mocks, ledger, world.elapsed)


def mocks_of(
    kind: type[M],
    scenario: Scenario,
    ledger: Ledger,
    faults: Iterable[Fault] = (),
    real: Callable[[Mocks], Real] | None = None,
) -> M:
    """What stands for the activities of a case. ``real`` makes what calls those without a mock."""
    mocks = kind(
        scenario.mocks,
        ledger,
        root=ROOT_ID,
        activities=scenario.subject.plugins.activities,
        secrets=scenario.secrets,
        input=scenario.input,
        faults=faults,
    )
    if scenario.real and real is not None:
        mocks.real = real(mocks)
    return mocks


def _real(subject: Subject, mocks: Mocks) -> contextlib.AbstractContextManager[Real]:
    from flowctl.testing.real import real_activities

    return real_activities(subject.plugins.activities, mocks.secret)


def came_of(runs: Sequence[tuple[Run, list[Entry]]], mocks: Mocks, ledger: Ledger, elapsed: int) -> Came:
    """What is to be seen of runs, in the order of their creation, once nothing more happens."""
    latest = [run.id for run, _ in runs if run.workflow_id == ROOT_ID][-1]
    steps: dict[str, Mapping[str, Any]] = {}
    order: list[str] = []
    status: Mapping[str, Any] = {}
    for run, entries in runs:
        document = status_document(run, entries, count=STEPS)
        for step in document["steps"]:
            here = label(ROOT_ID, run.id, step["path"])
            _add(steps, here, step)
            if run.workflow_id == ROOT_ID and step["status"] != StepStatus.SKIPPED:
                order.append(here)
        if run.id == latest:
            status = document
    order += [f"{path}.undo" for path in status["saga"]["undone"]]
    return Came(status, steps, order, mocks.called, mocks.mismatches, ledger, runs, elapsed)


def _add(steps: dict[str, Mapping[str, Any]], path: str, step: Mapping[str, Any]) -> None:
    steps[path] = step
    undo = step["compensation"]
    if undo is not None:
        steps[f"{path}.undo"] = {"path": f"{path}.undo", "kind": "activity", "output": None, **undo}


def judge(scenario: Scenario, came: Came) -> list[Mismatch]:
    """All that is not as it must be: what is expected, what holds always, and the saga."""
    expect = scenario.expect
    if not expect.keys() & {"status", "error"} and scenario.until is None:
        expect = {"status": "completed", **expect}
    found = [*mismatches(expect, came), *broken(scenario.that, came.roots, ("expect", "that"))]
    return [*found, *lasting(scenario, came)]


MISTAKES = frozenset({"ExpressionError", "InvalidInput"})
"""Errors that are no misfortune: the document says something that cannot be done."""


def lasting(scenario: Scenario, came: Came) -> list[Mismatch]:
    """What holds at the end of every run, however it went, and does not."""
    found = [*broken(scenario.invariants, came.roots, ("invariants",)), *_mistakes(scenario, came)]
    found += came.mismatches
    if not came.live:
        documents = scenario.subject.documents
        found += [Mismatch(f"the saga: {breach}") for breach in breaches(came.ledger, came.runs, documents)]
    return found


def _mistakes(scenario: Scenario, came: Came) -> Iterator[Mismatch]:
    """The run, or what undoes a step, failed by a mistake of the document; unless that is expected."""
    expected = scenario.expect.get("error") or {}
    undoing = [step["error"] for path, step in came.steps.items() if path.endswith(".undo")]
    for error in (came.status["error"], *undoing):
        if error is not None and error["type"] in MISTAKES and error["type"] != expected.get("type"):
            what = f"{error['step'] or 'the run'} fails by a mistake of the document"
            yield Mismatch(f"{what}: {error['type']}: {error['message']}")


class _Watcher:
    """Sees what is committed, for what goes wrong at steps that call nothing."""

    world: World

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = [fault for fault in faults if fault.kind in ("cancel", "lose_worker")]
        self._struck: set[Fault] = set()

    def watch(self, runtime: VirtualRuntime, change: Change) -> None:
        """See ``World``."""
        if not self._faults:
            return
        for entry in change.entries:
            for fact in entry.facts():
                if fact.kind == "started":
                    self._began(runtime, change.run, fact)

    def _began(self, runtime: VirtualRuntime, run: Run, fact: Fact) -> None:
        step, attempt = label(ROOT_ID, run.id, fact.path), fact.attempt or 1
        for fault in self._faults:
            if fault in self._struck or not fault.strikes(step, attempt):
                continue
            if fault.kind == "cancel":
                self._struck.add(fault)
                runtime.call_at(runtime.now(), lambda: self._cancel(runtime))
            elif fact.data.get("verb", "activity") != "activity":  # the activities see to theirs themselves
                self._struck.add(fault)
                raise WorldEnds

    def _cancel(self, runtime: VirtualRuntime) -> None:
        at = runtime.now() - START
        self.world.happen(runtime, Event(at, "cancel", "cancel", {"reason": "the test cancels here"}))
