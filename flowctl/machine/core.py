"""What the parts of a machine share: the run, its record, its tasks and its host."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from flowctl.errors import Blocked, Failure
from flowctl.journal import Run
from flowctl.machine.gate import Gate
from flowctl.machine.heartbeats import Heartbeats
from flowctl.machine.host import Host
from flowctl.machine.record import Record
from flowctl.trampoline import Trampoline

BLOCKED_FOR = 60_000
"""Milliseconds until somebody looks whether a blocked run can go on: what it lacks may be there by then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """Something the run waits for that comes by itself or from outside; ``until`` in milliseconds, or
    None.
    """

    kind: str
    until: int | None
    names: tuple[str, ...] = ()

    def to_json(self, path: str) -> dict[str, object]:
        """As in the run's row."""
        return {"path": str(path), "kind": self.kind, "names": list(self.names), "until": self.until}


class Resumes(Protocol):
    """The machine, as its parts see it."""

    def advance(self) -> None:
        """Resume what can be resumed."""

    def expire(self) -> None:
        """The life of the run is over."""

    def wake(self) -> None:
        """There is something to commit."""


class _Nobody:
    """In place of a machine that was dropped."""

    def advance(self) -> None:
        """Too late."""

    expire = wake = advance


class Core:
    """Shared by ``Machine`` and its parts.

    ``waiting``, ``parked`` (what this installation cannot do) and ``held`` are by path, in the order in
    which they came. ``dropped``: whatever still comes in is too late.
    """

    __slots__ = (
        "dropped",
        "gate",
        "heartbeats",
        "held",
        "host",
        "machine",
        "parked",
        "record",
        "run",
        "trampoline",
        "waiting",
    )

    def __init__(
        self, machine: Resumes, run: Run, host: Host, record: Record, heartbeats: Heartbeats
    ) -> None:
        self.machine = machine
        self.run = run
        self.host = host
        self.record = record
        self.heartbeats = heartbeats
        self.trampoline = Trampoline()
        self.gate = Gate(self.trampoline)
        self.waiting: dict[str, Waiting] = {}
        self.parked: dict[str, Blocked] = {}
        self.held: dict[str, Failure] = {}
        self.dropped = False

    def let_go(self) -> None:
        """Refer to the machine no more. It refers to this, and objects that keep each other stay until
        Python's collector looks at all there are: a worker had dead runs lie about by the thousand.
        """
        self.machine = _Nobody()
        self.record.news = self.machine.wake
