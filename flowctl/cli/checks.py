"""What ``doctor`` looks at: one function per subject, each yielding checks. Nothing is changed.

A check is an ``error`` if something does not work or a promise of flowctl does not hold here, a ``warning``
if it might not, and else ``ok``.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from flowctl.errors import FlowctlError, NotFound

if TYPE_CHECKING:
    from flowctl.plugins import Plugins

NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "vboxsf", "virtiofs"}
)
"""Types of file systems on which SQLite's write-ahead log, or locks, cannot be relied on."""

FLEETING = frozenset({"tmpfs", "ramfs"})
"""Types that keep nothing when the machine stops."""

_FULL = "2"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str | None = None


def check_all(database: str, plugins: Plugins) -> list[Check]:
    """Everything, in the order in which one would look. ``database`` is an absolute path or a URL."""
    checks = [*_versions(), *_plugins(plugins)]
    if os.path.isabs(database):
        checks += [*_database(database), *_folder(os.path.dirname(database))]
    else:
        checks.append(Check("database", "ok", f"{database}: not a file, nothing to check"))
    return checks


def _versions() -> Iterator[Check]:
    from flowctl import __version__
    from flowctl.journal import examination

    yield Check("flowctl", "ok", __version__)
    yield Check(
        "python",
        "ok",
        f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
    )
    yield Check("sqlite", "ok", examination.sqlite_version())
    level = examination.synchronous()
    if level == _FULL:
        yield Check("synchronous", "ok", "FULL: commits survive power loss where fsync is honoured")
    else:
        yield Check(
            "synchronous",
            "error",
            f"SQLite answers {level} when asked for FULL",
            "use another build of SQLite",
        )


def _plugins(plugins: Plugins) -> Iterator[Check]:
    yield Check("plugins", "ok", f"{len(plugins.described)} loaded, {len(plugins.activities)} activities")
    for problem in plugins.problems:
        yield Check(f"plugin {problem.plugin}", "error", f"{problem.origin}: {problem.error}")


def _database(path: str) -> Iterator[Check]:
    from flowctl.journal import examination

    try:
        mode = examination.journal_mode(path)
    except NotFound:
        yield Check("database", "ok", f"{path} is not there yet; the first run makes it")
        return
    except FlowctlError as error:
        yield Check("database", "error", error.message, error.hint)
        return
    yield Check("database", "ok", path)
    yield Check("journal_mode", "ok", mode)
    yield from _permissions(path)


def _permissions(path: str) -> Iterator[Check]:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    shown = f"{path} has mode {mode:04o}"
    if not os.access(path, os.R_OK | os.W_OK):
        yield Check(
            "permissions", "error", f"{shown}, and cannot be written by this user", "change its owner or mode"
        )
    elif mode & 0o077:
        yield Check("permissions", "warning", f"{shown}: other users have access", f"chmod 600 {path}")
    else:
        yield Check("permissions", "ok", shown)


def _folder(folder: str) -> Iterator[Check]:
    """The file system that the database is, or will be, on."""
    from flowctl.journal import examination

    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    kind = _file_system(os.path.realpath(folder))
    if kind in NETWORKED:
        hint = "keep the database on a local disk: its log needs shared memory"
        yield Check("file system", "error", f"{folder} is on {kind}", hint)
    elif kind in FLEETING:
        yield Check(
            "file system", "warning", f"{folder} is on {kind}: it is empty after a restart of the machine"
        )
    else:
        yield Check("file system", "ok", f"{folder} is on {kind or 'a file system of unknown type'}")
    try:
        excluded = examination.locks_exclude(folder)
    except OSError as error:
        yield Check(
            "locks", "error", f"{folder} cannot be locked: {error.strerror}", "use another file system"
        )
        return
    if excluded:
        yield Check("locks", "ok", "exclude other processes")
    else:
        yield Check("locks", "error", f"locks on {folder} do not exclude anybody", "use another file system")


def _file_system(folder: str) -> str | None:
    """The type of the file system that has ``folder``, as Linux tells it; None elsewhere."""
    found: tuple[str, str | None] = "", None
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, point, kind, *_ = line.split(" ")
                point = point.replace("\\040", " ")
                inside = folder == point or folder.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(
                    found[0]
                ):  # the last one mounted on a point covers the others
                    found = point, kind
    except (OSError, ValueError):
        return None
    return found[1]
