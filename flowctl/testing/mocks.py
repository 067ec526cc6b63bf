"""What stands for the activities in a test: mocks, real ones, and what goes wrong with either.

A mock answers an attempt by the step it is made for (``at``), by how many steps came before it (``calls``),
and by its number. What it answers depends on nothing else, so an attempt that is made again after a worker
was lost is answered as before. Where the real activity is known, a mock is held to its signature: arguments
that the real one would refuse are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from flowctl import values
from flowctl.activities import Activity, Attempt, Outcome
from flowctl.activities.binding import result_bytes
from flowctl.activities.failures import failure_from
from flowctl.activities.masking import NOTHING, Mask, reveal
from flowctl.clock import parse_duration
from flowctl.errors import Blocked, Failure, FlowctlError
from flowctl.expressions import FUNCTIONS, Function, Template, template
from flowctl.model import Policy
from flowctl.path import Path
from flowctl.runtimes.virtual import Beat
from flowctl.testing.effects import Ledger
from flowctl.testing.expectations import Mismatch, missing
from flowctl.testing.failures import Fault, label
from flowctl.testing.names import Roots
from flowctl.testing.world import WorldEnds

Real = Callable[[Attempt], Outcome]
"""Calls a real activity, and waits for it."""


class MockFailed(Exception):
    """What a mock should return cannot be made. It is the test that is wrong, not the workflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """See ``runtimes.virtual.Act``."""

    outcome: Outcome
    duration: int | None = 0
    heartbeats: tuple[Beat, ...] = ()
    deaf: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Called:
    """A call that was made. ``step`` is its label; ``key`` its idempotency key."""

    activity: str
    step: str
    run_id: str
    path: str
    attempt: int
    key: str
    args: Any
    workflow: tuple[str, int]

    @property
    def shown(self) -> str:
        """``PATH``, or ``PATH#ATTEMPT`` from the second on."""
        return self.step if self.attempt == 1 else f"{self.step}#{self.attempt}"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a mock, parsed. ``failure`` or ``value``."""

    value: Template
    failure: Failure | None
    duration: int | None
    heartbeats: tuple[int, ...]
    deaf: bool
    args: Any

    @classmethod
    def parse(cls, data: Mapping[str, Any], functions: Mapping[str, Function] = FUNCTIONS) -> Answer:
        """From its mapping. ``ExpressionError``; its shape was checked."""
        failure = None
        if "raise" in data:
            types = (data["raise"], *data.get("types", ()))
            failure = Failure(data["raise"], data.get("message", ""), types, data.get("details"))
        return cls(
            template(data.get("return"), functions=functions),
            failure,
            None if data.get("hang") else parse_duration(data.get("after", "0s")),
            tuple(parse_duration(beat) for beat in data.get("heartbeats", ())),
            bool(data.get("deaf")),
            data.get("args"),
        )

    def act(self, roots: Mapping[str, Any]) -> Act:
        """What the runtime is told. ``FlowctlError`` if ``return`` cannot be rendered."""
        outcome = Outcome(failure=self.failure)
        if self.failure is None:
            outcome = Outcome(value=values.encode(self.value.render(Roots(roots)).value))
        beats = tuple((beat, None) for beat in self.heartbeats)
        return Act(outcome, self.duration, beats, self.deaf)


Answers = Sequence[Answer]
"""By attempt; the last stands for all later ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mock:
    """All that stands for one activity. ``function``: a Python function that answers in its place."""

    answers: Answers
    at: Mapping[str, Answers] = dataclasses.field(default_factory=dict)
    calls: Sequence[Answers] = ()
    function: Callable[..., Any] | None = None

    @classmethod
    def parse(cls, data: Any, functions: Mapping[str, Function] = FUNCTIONS) -> Mock:
        """From its mapping, or its list of answers, or a function. ``ExpressionError``."""
        if callable(data):
            return cls((), function=data)

        def answers(written: Any) -> Answers:
            listed = written if isinstance(written, list) else [written]
            return [Answer.parse(each, functions) for each in listed]

        if isinstance(data, list):
            return cls(answers(data))
        at = {step: answers(each) for step, each in data.get("at", {}).items()}
        return cls(answers(data), at, [answers(each) for each in data.get("calls", ())])

    def answer(self, called: Called, call: int) -> Answer:
        """The answer to an attempt of the ``call``-th step."""
        found = self.at.get(called.step) or self.at.get(Path(called.step).place)
        if found is None:
            found = self.calls[min(call, len(self.calls)) - 1] if self.calls else self.answers
        return found[min(called.attempt, len(found)) - 1]


class Mocks:
    """The activities of one run: see ``world.Performs``. ``called`` are all calls in order, ``mismatches``
    those whose arguments a mock did not expect, and activities for which nothing stands.

    ``activities`` are the registered ones; ``real`` calls one, None while those without a mock are refused.
    """

    def __init__(
        self,
        mocks: Mapping[str, Mock],
        ledger: Ledger,
        *,
        root: str,
        activities: Mapping[str, Activity],
        secrets: Mapping[str, str] | None = None,
        input: Any = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.called: list[Called] = []
        self.mismatches: list[Mismatch] = []
        self._mocks = mocks
        self.ledger = ledger
        self._root = root
        self._activities = activities
        self.real: Real | None = None
        self._secrets = dict(secrets or {})
        self._input = input
        self._faults = tuple(faults)
        self._struck: set[tuple[Fault, str, int]] = set()
        self._steps: dict[str, dict[str, int]] = {}

    # --- see ``runtimes.virtual.Script``

    def act(self, attempt: Attempt) -> Act:
        """The answer to this attempt, or what goes wrong with it."""
        args, mask = reveal(attempt.args, attempt.secrets, self.secret)
        return self.answer(self._called(attempt, args), mask, partial(self._call, attempt))

    def answer(self, called: Called, mask: Mask = NOTHING, real: Callable[[], Outcome] | None = None) -> Act:
        """The same for a call, whoever makes it; ``real`` calls the real activity in place of a mock."""
        self._note(called)
        fault = self._fault(called)
        if fault is not None and (fault.kind == "raise" or fault.how == "before"):
            return self._strike(fault, None)
        act = self._refused(called) or self._answer(called, mask, real)
        if fault is None:
            return act
        if act.outcome.value is not None and fault.how == "after":
            self.ledger.note(called, values.decode(act.outcome.value))
        return self._strike(fault, act)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt that returned has had its effect."""
        self.is_over(self._called(attempt, reveal(attempt.args, attempt.secrets, self.secret)[0]), outcome)

    def is_over(self, called: Called, outcome: Outcome) -> None:
        """The same for a call."""
        if outcome.value is not None:
            self.ledger.note(called, values.decode(outcome.value))
        else:
            self.ledger.attempted(called)

    def declared(self, activity: str) -> Policy | None:
        """The policy of the real activity. ``Blocked`` if nothing stands for it."""
        known = self._activities.get(activity)
        if activity not in self._mocks and (self.real is None or known is None):
            reason = f"the activity {activity} has no mock"
            found = Mismatch(reason, ("mocks",))
            if found not in self.mismatches:
                self.mismatches.append(found)
            raise Blocked("NotMocked", reason, "")
        return known.policy if known is not None else None

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """All secrets can be had: one that the test does not give is made up."""

    # --- what is answered

    def secret(self, name: str) -> str:
        """A secret, made up if the test does not give it."""
        return self._secrets.get(name, f"the secret {name}")

    def _note(self, called: Called) -> None:
        self.called.append(called)
        steps = self._steps.setdefault(called.activity, {})
        steps.setdefault(called.step, len(steps) + 1)

    def _call(self, attempt: Attempt) -> Outcome:
        assert self.real is not None
        return self.real(attempt)

    def _called(self, attempt: Attempt, args: Any) -> Called:
        return Called(
            attempt.name,
            label(self._root, attempt.run_id, attempt.path),
            attempt.run_id,
            str(attempt.path),
            attempt.attempt,
            attempt.idempotency_key,
            args,
            (attempt.workflow, attempt.version),
        )

    def _refused(self, called: Called) -> Act | None:
        """The real activity would refuse these arguments."""
        known = self._activities.get(called.activity)
        if known is None:
            return None
        try:
            known.binding.bind(called.args)
        except FlowctlError as error:
            return Act(Outcome(failure=failure_from(error)))
        return None

    def _answer(self, called: Called, mask: Mask, real: Callable[[], Outcome] | None) -> Act:
        mock = self._mocks.get(called.activity)
        if mock is None:
            assert real is not None
            return Act(real())
        if mock.function is not None:
            return Act(_outcome_of(mock.function, called, mask))
        call = self._steps[called.activity][called.step]
        answer = mock.answer(called, call)
        if answer.args is not None:
            what = f"arguments of {called.shown}"
            self.mismatches += missing(what, answer.args, called.args, pointer=("mocks", called.activity))
        roots = {
            "args": called.args,
            "attempt": called.attempt,
            "call": call,
            "input": self._input,
            "key": called.key,
            "step": called.step,
        }
        try:
            return answer.act(roots)
        except FlowctlError as error:
            reason = f"the mock of {called.activity} fails at {called.shown}: {error}"
            self.mismatches.append(Mismatch(reason, ("mocks", called.activity)))
            return Act(Outcome(failure=failure_from(MockFailed(str(error)))))

    # --- what goes wrong

    def _fault(self, called: Called) -> Fault | None:
        """What goes wrong with this attempt. A worker is lost once: its attempt is made again."""
        for fault in self._faults:
            if not fault.strikes(called.step, called.attempt):
                continue
            strike = (fault, called.step, called.attempt)
            if fault.kind == "lose_worker" and (strike in self._struck or self._is_over(fault)):
                continue
            self._struck.add(strike)
            return fault
        return None

    def _is_over(self, fault: Fault) -> bool:
        """Whether a fault that does not say at which attempts has struck already."""
        said = fault.attempt is not None or fault.attempts is not None
        return not said and any(struck == fault for struck, _, _ in self._struck)

    def _strike(self, fault: Fault, act: Act | None) -> Act:
        match fault.kind:
            case "raise":
                failure = Failure(fault.how, "made to fail by the test", (fault.how,))
                return Act(Outcome(failure=failure))
            case "time_out":
                return Act(Outcome(value=b"null"), None)
            case "lose_worker":
                raise WorldEnds
        outcome = act.outcome if act is not None else Outcome(value=b"null")
        # Somebody cancels the run in the same moment: one that is not deaf is told before it can answer.
        return Act(
            outcome, max(1, (act.duration if act is not None else 0) or 0), deaf=fault.how == "completed"
        )


def _outcome_of(function: Callable[..., Any], called: Called, mask: Mask) -> Outcome:
    """A Python function answers as an activity would."""
    try:
        return Outcome(value=mask.encoded(result_bytes(function(**called.args), called.activity)))
    except Exception as error:
        return Outcome(failure=failure_from(error, mask))
