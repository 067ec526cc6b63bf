"""What a machine asks of the process it lives in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from flowctl.activities import Attempt, Outcome
from flowctl.model import Policy
from flowctl.path import Path

if TYPE_CHECKING:
    from flowctl.machine.machine import Machine


class Handle(Protocol):
    """Something under way that can be called off: a timer, or an attempt (which then still ends by
    itself).
    """

    def cancel(self) -> None:
        """Call it off. Harmless when it is over."""


class Host(Protocol):
    """Time, chance, activities and commits. Callbacks come on the host's one thread, and never from inside
    ``call_at`` or ``perform``."""

    @property
    def settings(self) -> Policy:
        """The defaults of this installation."""

    @property
    def task_queue(self) -> str:
        """What its workers listen to; ``default`` where there is one queue only."""

    @property
    def namespace(self) -> str:
        """Where its runs are kept apart from others; ``default`` where there is one only."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def chance(self) -> float:
        """A random number in [0, 1)."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        """Call back at ``when`` or later, never earlier."""

    def perform(
        self, attempt: Attempt, done: Callable[[Outcome], None], heard: Callable[[bytes], None]
    ) -> Handle:
        """Make one attempt of an activity, and call back once (``done``). ``heard`` is for a host that loses
        the attempts in flight when its process dies: it is given the details of heartbeats that the next
        attempt is to have then, as canonical JSON and not too often, and commits them. One whose attempts
        survive it hands their latest details on by itself.
        """

    def declared(self, activity: str) -> Policy | None:
        """The activity's own policy. Raises ``Blocked`` if it is not installed."""

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """Raise ``Blocked`` if one of these secrets is nowhere to be had."""

    def wake(self, machine: Machine) -> None:
        """``machine`` has something to commit: ``take`` it soon, and call ``committed`` when it is
        durable.
        """
