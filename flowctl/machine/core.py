"""What the parts of a machine share: the run, its record, its tasks and its host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from flowctl.errors import Blocked, Failure
from flowctl.journal import Run
from flowctl.machine.gate import Gate
from flowctl.machine.host import Host
from flowctl.machine.record import Record
from flowctl.trampoline import Trampoline


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


@dataclasses.dataclass(slots=True)
class Core:
    """Shared by ``Machine`` and its parts. ``advance`` resumes what can be resumed, ``expire`` ends the
    life of the run.

    ``waiting``, ``parked`` (what this installation cannot do) and ``held`` are by path, in the order in
    which they came.
    """

    run: Run
    host: Host
    record: Record
    trampoline: Trampoline
    advance: Callable[[], None]
    expire: Callable[[], None]
    wake: Callable[[], None]
    waiting: dict[str, Waiting] = dataclasses.field(default_factory=dict)
    parked: dict[str, Blocked] = dataclasses.field(default_factory=dict)
    held: dict[str, Failure] = dataclasses.field(default_factory=dict)
    dropped: bool = False
    gate: Gate = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.trampoline)
