"""Locks between processes, on files beside the database.

Both kinds are ``flock``: it belongs to an open file, not to a process. So two journals in one process
exclude each other too, closing one does not release the other's, and when a process dies, however it dies,
its locks are gone at once. Files are opened close-on-exec and closed in a forked child, or a child would
keep its dead parent's locks.

- The **mutex** is held around every write transaction, checkpoint and last close of every flowctl process.
- A **sign of life** is held by a session for as long as it lives: kill -9 shows to the next one who looks.
  A process that was stopped, or hangs, keeps its lock. So the file also says when the session last did
  anything, on a clock that all processes of a machine share and that stands still while the machine sleeps;
  one that was silent for longer than its **lease** counts as dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import weakref
from collections.abc import Iterator

from flowctl.journal import LEASE

_SESSION = re.compile(r"[0-9a-f]{32}")
"""What a session's id looks like. Ids are read from the database; only such a one becomes a file name."""

_STAMP = 20
"""Bytes of a stamp: nanoseconds, in decimal."""

SHORTEST_PAUSE = 0.000_2
LONGEST_PAUSE = 0.02
GROWTH = 1.25
"""How much longer each pause is than the last. What others hold a journal for is milliseconds, and nobody is
told when they are done: with pauses that doubled, two busy workers slept for most of the time that they had
to share it.
"""


def attempts(seconds: float) -> Iterator[None]:
    """Once at once, then again and again with short pauses, until ``seconds`` have passed."""
    deadline = time.monotonic() + seconds
    pause = SHORTEST_PAUSE
    yield
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(GROWTH * pause, LONGEST_PAUSE)
        yield


class LockFile:
    """An open file that can be locked. ``OSError`` if it cannot be opened."""

    def __init__(self, path: str, flags: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        _open_files.add(self)

    def close(self) -> None:
        """Close the file and with it give the lock back, as dying would. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)  # in a forked child this takes nothing from the parent, which has the file open too


class Mutex(LockFile):
    """The lock that all writers of a database share."""

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_CREAT)

    def try_acquire(self) -> bool:
        """Take it unless somebody has it. Never waits."""
        return _try_lock(self._fd, fcntl.LOCK_EX)

    def acquire(self, seconds: float) -> bool:
        """Take it, waiting for at most so long."""
        return any(self.try_acquire() for _ in attempts(seconds))

    def release(self) -> None:
        """Give it back."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)


class SignOfLife(LockFile):
    """The locked file of one session, in the folder of all sessions. Made while holding the mutex."""

    def __init__(self, folder: str, session: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._path = os.path.join(folder, session)
        super().__init__(self._path, os.O_CREAT | os.O_EXCL)
        self.beat()
        _try_lock(self._fd, fcntl.LOCK_EX)  # nobody else knows the name

    def beat(self) -> None:
        """Say that the session is not silent. If the disk does not let it, it seems silent, and is fenced
        out: no reason to fail here.
        """
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, b"%020d" % time.monotonic_ns(), 0)

    def end(self) -> None:
        """Remove the file and give up the lock. Idempotent."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # one that is gone, or stays: unlocked, it is no sign of life
                os.unlink(self._path)
        self.close()


def is_alive(folder: str, session: str) -> bool:
    """Whether the session lives: whether its file is there and locked, and it was not silent for too long."""
    if not _SESSION.fullmatch(session):
        return False
    try:
        fd = os.open(os.path.join(folder, session), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's, and nothing to judge by
        return True
    try:
        if _try_lock(fd, fcntl.LOCK_SH):  # shared: two who look must not take each other for life
            return False
        stamp = os.pread(fd, _STAMP, 0)
        return not stamp.isdigit() or time.monotonic_ns() - int(stamp) <= LEASE * 1e9
    finally:
        os.close(fd)


def bury(folder: str, own: str | None) -> None:
    """Remove the files of dead sessions, all but one's ``own``. Hold the mutex: whoever is being born holds
    it too.
    """
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _SESSION.fullmatch(name) and name != own and not is_alive(folder, name):
                os.unlink(os.path.join(folder, name))


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_open_files: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _after_fork() -> None:
    for file in list(_open_files):
        file.close()


os.register_at_fork(after_in_child=_after_fork)
