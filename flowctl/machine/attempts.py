"""Attempts in flight: made once everything recorded before is durable, and awaited until they end.

Being told to stop is not an end (``Runtime``, rule 3): whoever waits for an attempt goes on waiting. One
that is told before it was made is never made.
"""

from __future__ import annotations

from collections.abc import Callable

from flowctl.activities import Attempt, Outcome
from flowctl.errors import Failure
from flowctl.machine.core import Core
from flowctl.machine.host import Handle
from flowctl.trampoline import Future

Describe = Callable[[], "Attempt | Outcome"]
"""What to make, known only when it is made; or the outcome, if there is no time left to make it."""

_NEVER_MADE = Outcome(failure=Failure("Cancelled", "cancelled before it began"), cancelled=True)


class Attempts:
    """The attempts of one run. ``effects`` make those whose record is to be committed next."""

    __slots__ = ("core", "effects", "flying")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.effects: list[Callable[[], None]] = []
        self.flying: dict[_Flight, None] = {}

    def make(self, describe: Describe) -> Future[Outcome]:
        """Have an attempt made, and wait for its outcome: to be awaited at once."""
        flight = _Flight(self, describe)
        self.flying[flight] = None
        self.effects.append(flight.take_off)
        self.core.wake()
        return self.core.trampoline.wait(flight.outcome, patient=flight.tell)

    def stop(self) -> None:
        """Tell all of them to stop; nobody listens to how they end."""
        for flight in self.flying:
            flight.tell()
        self.flying.clear()


class _Flight:
    """One attempt, from its record to its outcome."""

    __slots__ = ("_attempts", "_describe", "_handle", "_told", "outcome")

    def __init__(self, attempts: Attempts, describe: Describe) -> None:
        self._attempts = attempts
        self._describe = describe
        self._handle: Handle | None = None
        self._told = False
        self.outcome: Future[Outcome] = attempts.core.trampoline.future()

    def take_off(self) -> None:
        """What was recorded is durable: make the attempt."""
        core = self._attempts.core
        if core.dropped:
            return
        if self._told:
            self._landed(_NEVER_MADE)
            return
        described = self._describe()
        if isinstance(described, Outcome):
            self._landed(described)
        else:
            self._handle = core.host.perform(described, self._landed)

    def tell(self) -> None:
        """The scope was cancelled: pass it on."""
        self._told = True
        if self._handle is not None:
            self._handle.cancel()

    def _landed(self, outcome: Outcome) -> None:
        attempts = self._attempts
        if not attempts.core.dropped:
            del attempts.flying[self]
            self.outcome.set(outcome)
            attempts.core.advance()
