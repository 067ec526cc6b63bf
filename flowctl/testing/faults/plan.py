"""Which call is to be hit, and how: the environment that ``shim.c`` reads.

Calls are numbered from 1, in the order in which they begin, across threads and across processes that share
``Counts``. Only kinds in ``kinds`` are numbered:

====  ===================================================
c     ``open`` that creates the file
o     ``open`` of one that is there
w     ``write``, ``pwrite``, ``writev``
s     ``fsync``, ``fdatasync``, of a file or the folder
t     ``ftruncate``
r     ``rename``
u     ``unlink``, ``rmdir``
m     ``mkdir``
p     ``read``, ``pread``
====  ===================================================
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import struct

KILL_BEFORE, KILL_HALFWAY, KILL_AFTER = "kill-before", "kill-halfway", "kill-after"
"""SIGKILL at the call: before it, after half of what it writes, after it."""

FAIL, FAIL_FROM, SHORTEN = "fail", "fail-from", "shorten"
"""The call fails with ``error``; it and all that follow do; it writes only half, and says so."""

WRITES = "cwstrum"
"""All kinds that change what is on the disk."""

EVERYTHING = WRITES + "op"

_COUNTS = struct.Struct("ll")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Watch the files whose absolute path begins with ``watch``; do ``action`` at call ``at``.

    ``error`` is an errno. ``trace`` and ``counts`` are files. Without an action, calls are only counted and
    recorded.
    """

    watch: str
    action: str = ""
    at: int = 0
    error: int = 0
    kinds: str = EVERYTHING
    trace: str = ""
    counts: str = ""

    def environment(self) -> dict[str, str]:
        """The variables for a process with the shim."""
        return {
            f"FLOWCTL_FAULTS_{name.upper()}": str(value) for name, value in dataclasses.asdict(self).items()
        }


NO_PLAN = Plan("")
"""Nothing is watched."""


class Counts:
    """Calls and faults that happened, counted in a file by all processes whose plan names it."""

    def __init__(self, path: str) -> None:
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _COUNTS.size)
            self._map = mmap.mmap(fd, _COUNTS.size)
        finally:
            os.close(fd)

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return int(_COUNTS.unpack(self._map[:])[0])

    @property
    def fired(self) -> int:
        """How many of them the fault hit."""
        return int(_COUNTS.unpack(self._map[:])[1])

    def reset(self) -> None:
        """Begin to count anew."""
        self._map[:] = bytes(_COUNTS.size)
