"""Time in the reference: a run is arithmetic over what is known beforehand.

There is no scheduler here. A program's script says how long everything takes, and its events when somebody
interferes, so whoever waits can compute at once when its wait is over and why. Times are milliseconds after
the start of the run.

A *traveller* has its own clock, ``now``. While no worker is there time passes all the same: what came due
in such a gap has its effect at the gap's end, but counts for the moment at which it came due (``due``).

A *cut* is a moment from which on a part of a run no longer waits: a deadline, a cancellation, the moment at
which another branch decided. The earliest cut takes effect first.

Where the language leaves open who comes first, a prediction would be a guess. So every decision about order
is made by ``World.before``, which notes how close it was (``closest``).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from flowctl.clock import parse_duration
from flowctl.retry import MAX_LOST_WORKERS

NEVER = 10**15
"""Later than anything."""

Error = dict[str, Any]
"""An error of the language: ``type types message details step attempt cause``."""


def error(kind: str, message: str = "", **rest: Any) -> Error:
    """An error with all its keys."""
    made: Error = {"type": kind, "types": [kind], "message": message, "details": None, "step": None}
    return made | {"attempt": None, "cause": None} | rest


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """From ``at`` on whoever is inside of it waits no more. ``error`` is what that makes of the run or step.
    ``message``: it is somebody's message, which a worker must read before it has any effect. ``relayed``: a
    parent passes it on to its child, once it has noticed itself.
    """

    at: int
    error: Error
    message: bool = False
    relayed: bool = False


class Leaving(Exception):
    """A step does not come to its end by itself."""


class Failed(Leaving):
    """A step failed. ``undo``: on the way somebody said ``on_failure: compensate``."""

    def __init__(self, error: Error, *, undo: bool = False) -> None:
        super().__init__(error["type"])
        self.error = error
        self.undo = undo


class Interrupted(Leaving):
    """A cut was reached."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.error["type"])
        self.cut = cut


class Returned(Leaving):
    """``return`` was reached, ``at`` this moment."""

    def __init__(self, value: Any, at: int) -> None:
        super().__init__("return")
        self.value = value
        self.at = at


class Continued(Returned):
    """``continue_as_new`` was reached: ``value`` is the input of the successor."""


class Endless(Exception):
    """Something waits for ever: no program at all."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``completed`` with ``value``, ``failed`` with ``error``, or ``cancelled``.
    ``uncertain``: without an answer.
    """

    kind: Literal["completed", "failed", "cancelled"]
    value: Any = None
    error: Error | None = None
    uncertain: bool = False


TOLD = Outcome("cancelled", uncertain=True)
"""An attempt that was told to stop, and did, or that nobody makes again."""


@dataclasses.dataclass(frozen=True)
class Act:
    """One scripted answer."""

    outcome: Outcome
    duration: int
    heartbeats: tuple[int, ...]
    deaf: bool

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Act:
        """From its mapping (``flowctl.testing.script``)."""
        outcome = Outcome("completed", data.get("return"))
        if "raise" in data:
            types = [data["raise"], *data.get("types", ())]
            outcome = Outcome(
                "failed",
                error=error(data["raise"], data.get("message", ""), types=types, details=data.get("details")),
            )
        duration = NEVER if data.get("hang") else parse_duration(data.get("after", "0s"))
        beats = tuple(
            parse_duration(beat["at"] if isinstance(beat, dict) else beat)  # what it says, nobody asks here
            for beat in data.get("heartbeats", ())
        )
        return cls(outcome, duration, beats, bool(data.get("deaf")))

    def end(self, timeout: int, silence: int | None, world: World) -> tuple[int, Outcome]:
        """After how long it ends, and how, if nobody interferes."""
        end, outcome = self.duration, self.outcome
        silent_at = self._silent_at(silence) if silence is not None else NEVER
        for limit, kind in ((silent_at, "HeartbeatTimeout"), (timeout, "Timeout")):
            if limit < NEVER and world.sooner(limit, end):
                end, outcome = limit, Outcome("failed", error=error(kind), uncertain=True)
        return max(end, 0), outcome

    def _silent_at(self, silence: int) -> int:
        heard = 0
        for beat in (*self.heartbeats, self.duration):
            if beat - heard > silence:
                return heard + silence
            heard = beat
        return NEVER


@dataclasses.dataclass(frozen=True)
class Signal:
    """A signal somebody sends. ``number`` is its place in the order of all."""

    number: int
    at: int
    name: str
    payload: Any
    principal: str | None


Edge = Literal["real", "before", "between", "after", "around"]


@dataclasses.dataclass(frozen=True)
class Loss:
    """The worker is lost ``at``, and another one is there ``back``. ``edge`` says which attempts that begin
    or end at that very moment are lost as well: those that end (``before``), none, those that begin, or both.
    """

    at: int
    back: int
    edge: Edge = "real"

    def hits(self, start: int, end: int) -> bool:
        """Whether an attempt from ``start`` to ``end`` is lost."""
        if self.edge == "before":
            return start < self.at <= end
        if self.edge == "between":
            return start < self.at < end
        if self.edge == "around":
            return start <= self.at <= end
        return start <= self.at < end


class World:
    """What is known beforehand, and how close a call the closest decision was (0: a guess)."""

    def __init__(self, case: Mapping[str, Any], kill: Loss | None = None) -> None:
        self._acts = {name: _acts(acts) for name, acts in case.get("activities", {}).items()}
        self.signals: list[Signal] = []
        self.cancelled: Cut | None = None
        self.kill = kill
        self.losses = [kill] if kill is not None else []
        self.closest = NEVER
        self.moments: set[int] = set()
        self.messages = 0
        self.sent = 0
        self._known: set[str] = set()
        for event in sorted(case.get("events", ()), key=lambda event: parse_duration(event["at"])):
            self._add(event, parse_duration(event["at"]))
        self.losses.sort(key=lambda loss: loss.at)

    def _add(self, event: Mapping[str, Any], at: int) -> None:
        if "lose_worker" in event:
            self.losses.append(Loss(at, at + parse_duration(event["lose_worker"])))
            return
        self.messages += 1
        if "cancel" in event:
            cancelled = Cut(at, error("Cancelled", event["cancel"]), message=True)
            self.cancelled = self.cancelled or cancelled
        elif event.get("dedup_id") is None or event["dedup_id"] not in self._known:
            self._known.add(str(event.get("dedup_id")))
            payload, principal = event.get("payload"), event.get("principal")
            self.signals.append(Signal(len(self.signals), at, event["signal"], payload, principal))

    def act(self, name: str, attempt: int) -> Act:
        """What the activity does on that attempt, from 1."""
        acts = self._acts.get(name) or [Act.parse({})]
        return acts[min(attempt, len(acts)) - 1]

    def before(self, one: int, other: int) -> bool:
        """Whether ``one`` is earlier; how close they are is noted."""
        self.closest = min(self.closest, abs(one - other))
        return one < other

    def sooner(self, one: int, other: int) -> bool:
        """The same for two lengths of time that begin together: nothing brings them closer."""
        self.closest = 0 if one == other else self.closest
        return one < other

    def attended(self, moment: int) -> int:
        """When a worker is there for what comes due at that moment."""
        for loss in self.losses:
            if loss.at < moment < loss.back:
                moment = loss.back
        return moment

    def loss(self, start: int, end: int, survived: Sequence[Loss]) -> Loss | None:
        """The first loss that hits an attempt, besides those that whoever makes it has survived."""
        for loss in self.losses:
            if loss in survived:
                continue
            if loss.edge == "real" and loss.at >= start:
                self.before(loss.at, end)
            if loss.hits(start, end):
                return loss
        return None


def _acts(acts: Any) -> list[Act]:
    return [Act.parse(act) for act in (acts if isinstance(acts, list) else [acts])]


class Traveller:
    """Somebody on the way through a program, in one branch of it. ``cuts`` are those around, outermost
    first; ``lane`` says which branch: the run is ``/``, what runs at once inside of it ``/PATH/``.
    """

    def __init__(
        self, world: World, now: int, due: int, cuts: Iterable[Cut], received: Iterable[int]
    ) -> None:
        self.world = world
        self.now = now
        self.due = due
        self.heard = now
        self.cuts = list(cuts)
        self.received = set(received)
        self.survived: list[Loss] = []
        self.signals = world.signals
        self.lane = "/"
        self.has_waited = False

    def pass_to(self, moment: int) -> None:
        """Be there when it is ``moment``, or as soon as a worker is."""
        self.has_waited = True
        self.due = max(self.due, moment)
        self.now = self.heard = max(self.now, self.world.attended(moment))
        self.world.moments.add(self.now)

    def next_cut(self) -> Cut | None:
        """The one that takes effect first."""
        ordered = sorted(self.cuts, key=lambda cut: cut.at)
        return ordered[0] if ordered else None

    def heed(self) -> None:
        """Asked before anything new begins."""
        cut = self.next_cut()
        if cut is not None and not self.world.before(self.now, cut.at):
            self._interrupt(cut)

    def passed(self, cut: Cut) -> bool:
        """Whether ``cut`` took effect on what has ended now, and nothing around it did before."""
        outer = [around.at for around in self.cuts[: self.cuts.index(cut)]]
        return not self.world.before(self.due, cut.at) and all(self.world.before(cut.at, at) for at in outer)

    def wait(self, until: int) -> None:
        """Wait for a moment. Raises ``Interrupted``."""
        self.heed()
        cut = self.next_cut()
        if cut is None and until == NEVER:
            raise Endless
        if cut is not None and until > self.now:
            self._guess_if_unread(until)
            if self.world.before(cut.at, until):
                self.pass_to(cut.at)
                self._interrupt(cut)
        self.pass_to(until)
        if self.lane != "/" and any(self.now == self.world.attended(cut.at) for cut in self.cuts):
            self.world.closest = 0  # of what came due in one gap, nobody says which branch acts on it first

    def receive(self, names: Sequence[str], until: int) -> Signal | None:
        """The oldest signal of those names that was not received yet, or None when the time is up."""
        heard = (s for s in self.signals if s.name in names and s.number not in self.received)
        signal = next(heard, None)
        if signal is None or (signal.at > self.now and self.world.before(until, signal.at)):
            self.wait(until)
            return None
        self.wait(signal.at)
        self.received.add(signal.number)
        return signal

    def attempt(self, act: Act, timeout: Callable[[], int], silence: int | None, *, once: bool) -> Outcome:
        """Make one attempt, again and again if its worker is lost. ``timeout`` is asked each time; ``once``:
        a lost worker is a failure.
        """
        suffered = 0
        while suffered < MAX_LOST_WORKERS:
            length, outcome = act.end(timeout(), silence, self.world)
            start, end, cut = self.now, self.now + length, self.next_cut()
            told = cut is not None and self.world.before(cut.at, end)
            if told and cut is not None and not act.deaf:
                end, outcome = cut.at, TOLD
            if told and cut is not None:
                self.world.moments.add(cut.at)
                self._guess_among_passed(cut)
            loss = self.world.loss(start, end, self.survived)
            if loss is None:
                self.pass_to(end)
                gone = told and outcome.kind == "failed"
                return dataclasses.replace(outcome, kind="cancelled") if gone else outcome
            self.survived.append(loss)
            self.now = self.heard = max(self.now, loss.back)
            self.world.moments.add(self.now)
            self.has_waited = True
            if cut is not None and cut.at <= self.now:
                self._guess_among_passed(cut)
                if (cut.relayed or once) and cut.at > loss.at:
                    self.world.closest = 0  # whether the loss, or what came in the gap, is noticed first
                self.due = max(self.due, cut.at)
                return TOLD
            self.due = self.now
            suffered += 1
            if once:
                break
        return Outcome("failed", error=error("WorkerLost"), uncertain=True)

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Out of reach of every cut."""
        around, self.cuts = self.cuts, []
        try:
            yield
        finally:
            self.cuts = around

    def within(self, length: int, over: Error, body: Callable[[], Any]) -> Any:
        """What ``body`` returns; ``Failed`` with ``over`` if it takes longer, even if it ended well."""
        cut = Cut(self.now + length, over)
        self.cuts.append(cut)
        try:
            value = body()
        except Interrupted as interrupted:
            if interrupted.cut is not cut:
                raise
            raise Failed(over) from None
        except (Failed, Returned) as leaving:
            if isinstance(leaving, Returned):
                self.overtaken(leaving, [cut])
            if self.passed(cut):
                raise Failed(over) from None
            raise
        else:
            if self.passed(cut):
                raise Failed(over)
        finally:
            self.cuts.remove(cut)
        return value

    def overtaken(self, returned: Returned, cuts: Iterable[Cut]) -> None:
        """Whether a ``return`` stands if a cut was reached while ``finally`` went on, nobody says."""
        if any(returned.at < cut.at <= self.due for cut in cuts):
            self.world.closest = 0

    def _interrupt(self, cut: Cut) -> None:
        self._guess_among_passed(cut)
        raise Interrupted(cut)

    def _guess_among_passed(self, cut: Cut) -> None:
        """Which of two cuts that were reached in one gap has its effect first, nobody says."""
        for other in self.cuts:
            if other is not cut:
                self.world.before(cut.at, other.at)
                if self._in_one_gap(cut.at, other.at):
                    self.world.closest = 0

    def _guess_if_unread(self, moment: int) -> None:
        """Whether a message, or what comes due in the same gap, has its effect first, nobody says."""
        if any(cut.message and self._in_one_gap(cut.at, moment) for cut in self.cuts):
            self.world.closest = 0

    def _in_one_gap(self, one: int, other: int) -> bool:
        return any(loss.at < one < loss.back and loss.at < other < loss.back for loss in self.world.losses)
