"""What may be on a disk when the power goes: every state that a traced sequence of calls allows.

The model is what POSIX promises, and no more:

1. What ``fsync`` has returned for is there. A file's bytes become durable by syncing the file, names (files
   made, renamed, removed) by syncing their folder.
2. Every other write may be there, be absent, or be there in part: any of its sectors of 512 bytes. Writes do
   not keep their order, within a file or between files. Where a later write is there and an earlier one is
   not, zeros are.
3. Changes of names that are not synced may be there or not, each for itself.
4. After an ``fsync`` that failed, what was to be synced stays uncertain for ever: the kernel has marked it as
   clean, so that no later ``fsync`` writes it, and yet reading shows it.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from random import Random

from flowctl.testing.faults.trace import Call

SECTOR = 512

State = Mapping[str, bytes | None]
"""Path to content; None is a folder."""

Kept = tuple[tuple[int, int], ...]
"""What is there of a change: ranges of its bytes. Nothing of it is ``()``."""


@dataclasses.dataclass(eq=False)
class _Write:
    """Bytes at an offset; or, without any, a new length of the file. ``number`` is its place among all."""

    number: int
    offset: int
    data: bytes | None
    durable: bool = False
    forsaken: bool = False

    @property
    def whole(self) -> Kept:
        return ((0, len(self.data or b"")),)

    def cuts(self) -> list[int]:
        """Where it can be torn."""
        first = SECTOR - self.offset % SECTOR
        return list(range(first, len(self.data or b""), SECTOR))


class _File:
    """Bytes that are certain, and what has been written since."""

    def __init__(self, content: bytes = b"") -> None:
        self.base = bytearray(content)
        self.writes: list[_Write] = []

    def sync(self, succeeded: bool) -> None:
        for write in self.writes:
            if succeeded and not write.forsaken:
                write.durable = True
            elif not succeeded and not write.durable:
                write.forsaken = True
        while self.writes and self.writes[0].durable:
            first = self.writes.pop(0)
            _apply(self.base, first, first.whole)

    def content(self, fates: Mapping[object, Kept]) -> bytes:
        content = bytearray(self.base)
        for write in self.writes:
            _apply(content, write, fates.get(write, write.whole))
        return bytes(content)


def _apply(content: bytearray, write: _Write, kept: Kept) -> None:
    if write.data is None:
        if kept:
            del content[write.offset :]
            content.extend(bytes(write.offset - len(content)))
        return
    for start, end in kept:
        content.extend(bytes(max(0, write.offset + start - len(content))))
        content[write.offset + start : write.offset + end] = write.data[start:end]


@dataclasses.dataclass(eq=False)
class _Naming:
    """Names that lead somewhere else from here on; None is nowhere."""

    folder: str
    names: Mapping[str, _File | None]


_FOLDER = _File()
"""What the name of a folder leads to."""

_WHOLE: Kept = ((0, 0),)


class Disk:
    """Follows a trace; ``states`` are what is possible after the calls so far. Paths that end like one of
    ``ignored`` are left out.
    """

    def __init__(self, content: State | None = None, *, ignored: tuple[str, ...] = ("-shm",)) -> None:
        self._ignored = ignored
        self._names: dict[str, _File] = {
            path: _FOLDER if data is None else _File(data) for path, data in (content or {}).items()
        }
        self._certain = dict(self._names)
        self._namings: list[_Naming] = []
        self._count = 0

    # --- following

    def follow(self, call: Call) -> bool:
        """Take one call in; whether it changed what is possible."""
        if call.path.endswith(self._ignored) or (call.result < 0 and call.kind != "s"):
            return False
        follow = getattr(self, f"_follow_{call.kind}", None)
        if follow is None:
            return False
        follow(call)
        return True

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _name(self, **names: _File | None) -> None:
        folder = os.path.dirname(next(iter(names)))
        self._namings.append(_Naming(folder, names))
        _rename(self._names, names)

    def _follow_c(self, call: Call) -> None:
        self._name(**{call.path: _File()})

    def _follow_o(self, call: Call) -> None:
        if call.offset == 1 and call.path in self._names:
            self._names[call.path].writes.append(_Write(self._next(), 0, None))

    def _follow_m(self, call: Call) -> None:
        self._name(**{call.path: _FOLDER})

    def _follow_u(self, call: Call) -> None:
        self._name(**{call.path: None})

    def _follow_r(self, call: Call) -> None:
        self._name(**{call.path: None, call.data.decode(): self._names[call.path]})

    def _follow_w(self, call: Call) -> None:
        if call.path in self._names:  # else it has no name any more, and nobody can find it
            self._names[call.path].writes.append(_Write(self._next(), call.offset, call.data))

    def _follow_t(self, call: Call) -> None:
        if call.path in self._names:
            self._names[call.path].writes.append(_Write(self._next(), call.offset, None))

    def _follow_s(self, call: Call) -> None:
        if call.path in self._names and self._names[call.path] is not _FOLDER:
            self._names[call.path].sync(call.result >= 0)
        elif call.result >= 0:
            for naming in [each for each in self._namings if each.folder == call.path]:
                _rename(self._certain, naming.names)
                self._namings.remove(naming)

    # --- what is possible

    def states(self, chance: Random, samples: int) -> Iterator[State]:
        """What may be left: all, nothing, all but one change; the latest change only, and torn at each of its
        sectors; and ``samples`` by chance. The same state may come more than once.
        """
        for fates in self._fates(chance, samples):
            yield self.state(fates)

    def state(self, fates: Mapping[object, Kept]) -> State:
        """What is left if of each uncertain change that is kept which ``fates`` says; all, if it says
        nothing.
        """
        names = dict(self._certain)
        for naming in self._namings:
            if fates.get(naming, _WHOLE):
                _rename(names, naming.names)
        return {path: None if file is _FOLDER else file.content(fates) for path, file in names.items()}

    def uncertain(self) -> tuple[list[_Write], list[_Naming]]:
        """The changes that may or may not be there."""
        files = {id(file): file for file in (*self._certain.values(), *self._names.values())}
        writes = [write for file in files.values() for write in file.writes if not write.durable]
        return sorted(writes, key=lambda write: write.number), list(self._namings)

    def _fates(self, chance: Random, samples: int) -> Iterator[Mapping[object, Kept]]:
        writes, namings = self.uncertain()
        changes: list[object] = [*writes, *namings]
        yield {}
        if not changes:
            return
        yield dict.fromkeys(changes, ())
        yield dict.fromkeys(writes, ())
        yield dict.fromkeys(namings, ())
        for change in changes:
            yield {change: ()}
        latest = changes[len(writes) - 1]
        yield {other: () for other in changes if other is not latest}
        if isinstance(latest, _Write):
            for cut in latest.cuts():
                yield {latest: ((0, cut),)}
                yield {latest: ((cut, len(latest.data or b"")),)}
        for _ in range(samples):
            yield _by_chance(changes, chance)


def _by_chance(changes: Iterable[object], chance: Random) -> Mapping[object, Kept]:
    """Each change there, absent or torn, as luck has it."""
    probability = chance.random()
    fates: dict[object, Kept] = {}
    for change in changes:
        if isinstance(change, _Write) and change.data and chance.random() < 0.3:
            edges = [0, *change.cuts(), len(change.data)]
            parts = itertools.pairwise(edges)
            fates[change] = tuple(part for part in parts if chance.random() < probability)
        elif chance.random() >= probability:
            fates[change] = ()
    return fates


def _rename(names: dict[str, _File], changes: Mapping[str, _File | None]) -> None:
    for path, file in changes.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file
