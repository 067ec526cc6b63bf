"""Every failure: a case run again and again, each time with something else going wrong.

First the case is run undisturbed; that tells where something can go wrong. Then, one thing at a time:

- every call of an activity fails: the first time, the first two times, …, for good, also with each error that
  the document treats apart; it times out, before and after its effect, once and for good; it loses its
  worker, before and after; the run is cancelled while it goes on, and it stops before its effect, after it,
  or completes all the same;
- at every sleep and every wait for a signal the run is cancelled, and the worker lost;
- every signal stays away.

What then undoes the steps can go wrong as well: every compensation that any of these runs came to is made to
fail, to time out and to lose its worker in the same way, on top of what led to it.

Of the iterations of a loop the first and the last are taken. After each run, the saga and the invariants must
hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from flowctl.model import ActivityStep, TryStep
from flowctl.outline import outline
from flowctl.path import Path
from flowctl.testing.expectations import Mismatch
from flowctl.testing.failures import Fault
from flowctl.testing.running import MISTAKES, Came, Scenario, lasting, run

INJECTED = "Injected"
"""The type of errors that no document knows."""

MOST_ATTEMPTS = 12
"""Attempts at the end of which a failure is tried; steps with more retries than that fail for good."""

WAITS = frozenset({"sleep", "wait_for_signal"})

_ITERATION = re.compile(r"\[\d+\]|~\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """A run of a case in which something goes wrong: the event of the index ``without``, a ``signal``, stays
    away, and ``faults``.
    """

    faults: tuple[Fault, ...] = ()
    without: int | None = None
    signal: str = ""

    def __str__(self) -> str:
        absent = [f"the signal {self.signal} stays away"] if self.without is not None else []
        return ", and ".join([*absent, *map(str, self.faults)])

    def on_top(self, fault: Fault) -> Variant:
        """With another fault."""
        return dataclasses.replace(self, faults=(*self.faults, fault))


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A variant after which something does not hold."""

    variant: Variant
    status: str
    mismatches: Sequence[Mismatch]


Observe = Callable[[Came], None]


def every_failure(
    scenario: Scenario, came: Came, observe: Observe, *, first: bool = False
) -> tuple[int, list[Broken]]:
    """Run all variants of a case that ``came`` to this undisturbed: how many there were, and those that broke
    something; only the ``first`` of these, if no more are asked for. ``observe`` sees all of them.
    """
    explorer = _Explorer(scenario, came, observe, first=first)
    with contextlib.suppress(_Enough):
        explorer.explore()
    return explorer.runs, explorer.broken


class _Enough(Exception):
    """Something broke, and nobody wants to know more."""


class _Explorer:
    def __init__(self, scenario: Scenario, came: Came, observe: Observe, *, first: bool) -> None:
        self._first = first
        self._scenario = scenario
        self._undisturbed = came
        self._observe = observe
        self._undoing: dict[str, Variant] = {}
        self.runs = 0
        self.broken: list[Broken] = []

    def explore(self) -> None:
        steps = _steps(self._undisturbed)
        for step in steps:
            self._fail(step, Variant())
            if not _undoes(step):
                self._each(_cancelled(step))
        for step in _waits(self._undisturbed):
            self._each([Fault(step, "cancel", "before"), Fault(step, "lose_worker", "before")])
        for index, event in enumerate(self._scenario.events):
            if event.kind == "signal":
                self._try(Variant(without=index, signal=event.name))
        tried = {_ITERATION.sub("", step) for step in steps}
        for step, variant in list(self._undoing.items()):
            if _ITERATION.sub("", step) not in tried:
                tried.add(_ITERATION.sub("", step))
                self._fail(step, variant)

    def _fail(self, step: str, variant: Variant) -> None:
        """Everything that can go wrong with the calls of a step, short of a cancellation, on top of what has
        led to it.
        """
        for error in (INJECTED, *_errors(self._scenario, step)):
            for attempts in range(1, MOST_ATTEMPTS + 1):
                came = self._try(variant.on_top(Fault(step, "raise", error, attempts=attempts)))
                if _attempts(came, step) <= attempts:
                    break
            else:
                self._try(variant.on_top(Fault(step, "raise", error)))
        for how in ("before", "after"):
            for fault in (Fault(step, "time_out", how, attempts=1), Fault(step, "time_out", how)):
                came = self._try(variant.on_top(fault))
                if _attempts(came, step) <= 1:
                    break
            self._try(variant.on_top(Fault(step, "lose_worker", how)))

    def _each(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self._try(Variant((fault,)))

    def _try(self, variant: Variant) -> Came:
        scenario, events = self._scenario, list(self._scenario.events)
        if variant.without is not None:
            del events[variant.without]
        came = run(scenario, faults=variant.faults, events=events)
        self.runs += 1
        self._observe(came)
        for called in came.called:
            if _undoes(called.step):
                self._undoing.setdefault(called.step, variant)
        found = lasting(scenario, came)
        if found:
            self.broken.append(Broken(variant, came.status["status"], found))
            if self._first:
                raise _Enough
        return came


def _steps(came: Came) -> list[str]:
    """The steps that call activities, of those in iterations the first and the last."""
    return _first_and_last(called.step for called in came.calls)


def _waits(came: Came) -> list[str]:
    return _first_and_last(
        path for path, step in came.steps.items() if step["kind"] in WAITS and step["attempt"]
    )


def _first_and_last(steps: Iterable[str]) -> list[str]:
    found: dict[str, dict[str, None]] = {}
    for step in steps:
        found.setdefault(_ITERATION.sub("", step), {})[step] = None
    return [step for each in found.values() for step in dict.fromkeys([next(iter(each)), list(each)[-1]])]


def _cancelled(step: str) -> Iterator[Fault]:
    for how in ("before", "after", "completed"):
        yield Fault(step, "cancel", how)


def _attempts(came: Came, step: str) -> int:
    return max((called.attempt for called in came.called if called.step == step), default=0)


def _undoes(step: str) -> bool:
    return ".undo" in step


def _errors(scenario: Scenario, step: str) -> list[str]:
    """The types of errors that a document treats apart where this step may fail with them: those that are not
    retried, and those that are caught around it. Mistakes of the document do not come by bad luck.
    """
    found: dict[str, None] = {}
    path = Path(step.rpartition("/")[2])
    for workflow in scenario.subject.documents.values():
        places = outline(workflow)
        here = places.get(path.place)
        if here is None or not isinstance(here.step, ActivityStep):
            continue
        activity = scenario.subject.plugins.activities.get(here.step.name)
        policy = here.step.policy.over(activity.policy if activity else None).over(workflow.defaults)
        if policy.retry is not None:
            unlucky = (error for error in policy.retry.non_retryable if error not in MISTAKES)
            found.update(dict.fromkeys(unlucky))
        for around in Path(path.place).ancestors():
            outer = places.get(around)
            if outer is not None and isinstance(outer.step, TryStep):
                caught = (error for catch in outer.step.catches for error in catch.errors or ())
                found.update(dict.fromkeys(caught))
    return [error for error in found if error != "*"]
