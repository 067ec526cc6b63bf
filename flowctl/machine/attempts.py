"""Attempts in flight: made once everything recorded before is durable, and awaited until they end.

Being told to stop is not an end (``Runtime``, rule 3): whoever waits for an attempt goes on waiting. One
that is told before it was made is never made.
"""

from __future__ import annotations

from typing import Protocol

from flowctl.activities import Attempt, Outcome
from flowctl.errors import Failure
from flowctl.machine.core import Core
from flowctl.machine.host import Handle
from flowctl.trampoline import Future


class Describes(Protocol):
    """Knows what is to be made, but not before it is made."""

    def describe(self, core: Core) -> Attempt | Outcome:
        """The attempt, as of now; or its outcome, if there is no time left to make it."""


_NEVER_MADE = Outcome(failure=Failure("Cancelled", "cancelled before it began"), cancelled=True)
"""The outcome of an attempt that was called off in time."""


class Attempts:
    """The attempts of one run. ``effects`` make those whose record is to be committed next; ``busy`` are in
    flight and not *at rest*: a run whose children are still going merely waits.
    """

    __slots__ = ("busy", "core", "effects", "flying")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.busy = 0
        self.effects: list[Flight] = []
        self.flying: dict[Flight, None] = {}

    def make(self, about: Describes, *, rests: bool = False, always: bool = False) -> Future[Outcome]:
        """Have an attempt made, and wait for its outcome: to be awaited at once. With ``always`` it is made
        even if it was told to stop before.
        """
        core = self.core
        flight = Flight(core.trampoline, None, None, None, False, self, about, rests, always)
        self.flying[flight] = None
        if not rests:
            self.busy += 1
        self.effects.append(flight)
        core.machine.wake()
        return core.trampoline.wait(flight, patient=flight.tell)

    def stop(self) -> None:
        """Tell them to stop, but for children, which are runs of their own. Nobody listens how they end."""
        for flight in self.flying:
            if not flight.rests:
                flight.tell()
        self.flying.clear()
        self.busy = 0


class Flight(Future[Outcome], eq=False):
    """One attempt, from its record to its outcome, which is the answer."""

    # The fields of a future have defaults, so these do; ``Attempts.make`` gives all of them.
    _attempts: Attempts = None  # type: ignore[assignment]
    _about: Describes = None  # type: ignore[assignment]
    rests: bool = False
    _always: bool = False
    _attempt: Attempt | None = None
    _handle: Handle | None = None
    _told: bool = False

    def take_off(self) -> None:
        """What was recorded is durable: make the attempt."""
        core = self._attempts.core
        if core.dropped:
            return
        if self._told and not self._always:
            self._landed(_NEVER_MADE)
            return
        described = self._about.describe(core)
        if type(described) is Outcome:
            self._landed(described)
            return
        self._attempt = described  # type: ignore[assignment]
        self._handle = core.host.perform(described, self._landed, self._heard)  # type: ignore[arg-type]
        if self._told:
            self._handle.cancel()

    def tell(self) -> None:
        """The scope was cancelled: pass it on."""
        self._told = True
        if self._handle is not None:
            self._handle.cancel()

    def _heard(self, details: bytes) -> None:
        """It has come so far."""
        attempts, attempt = self._attempts, self._attempt
        if self in attempts.flying and attempt is not None:
            attempts.core.heartbeats.keep(attempt.path, attempt.attempt, details)
            attempts.core.machine.wake()

    def _landed(self, outcome: Outcome) -> None:
        self._attempt = self._handle = None  # it has this method: two objects that keep each other, each step
        attempts = self._attempts
        core = attempts.core
        if not core.dropped:
            del attempts.flying[self]
            if not self.rests:
                attempts.busy -= 1
            self.set(outcome)
            core.machine.advance()
