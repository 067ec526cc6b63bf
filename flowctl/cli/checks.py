"""What ``doctor`` looks at: one function per subject, each yielding checks. Nothing is changed.

A check is an ``error`` if something does not work or a promise of flowctl does not hold here, a ``warning``
if it might not, and else ``ok``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from flowctl.clock import format_timestamp
from flowctl.errors import FlowctlError, NotFound
from flowctl.wall_clock import wall_clock

if TYPE_CHECKING:
    from flowctl.plugins import Plugins

ROOM = 500 << 20
"""Bytes on the disk below which it is worth a warning; with a tenth of it, it is too late for one."""

LONG_LOG = 256 << 20
"""Bytes of the log above which something keeps it from being copied into the database."""

BACKWARDS = 60_000
"""Milliseconds that the clock may be behind what is recorded: clocks are set now and then."""

Status = Literal["ok", "warning", "error"]

_NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "vboxsf", "virtiofs"}
)
_UNFIT: tuple[tuple[frozenset[str], Status, str, str], ...] = (
    (
        _NETWORKED,
        "error",
        "SQLite's log needs shared memory, and locks that others see",
        "keep the database on a local disk",
    ),
    (
        frozenset({"tmpfs", "ramfs"}),
        "warning",
        "it is empty after the machine restarts",
        "keep the database elsewhere, unless it is only to try something",
    ),
    (
        frozenset({"overlay", "aufs", "fuse-overlayfs"}),
        "warning",
        "it goes with its container",
        "keep the database on a volume",
    ),
)
"""Types of file systems that a database is not kept on: status, remark, what to do."""

_REMEDIES = {
    "files": "chmod 600; where nobody else works, as in a container, it does not matter",
    "keyring": "install it, or take it out of providers in [secrets] of flowctl.toml",
}
"""What to do about a provider of secrets."""

_FULL = "2"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    message: str
    hint: str | None = None


def check_all(database: str, plugins: Plugins) -> list[Check]:
    """Everything, in the order in which one would look. ``database`` is an absolute path or a URL."""
    checks = [*_versions(), *_plugins(plugins), *_secrets(plugins), *_telemetry(os.environ)]
    if os.path.isabs(database):
        checks += [*_database(database), *_folder(os.path.dirname(database))]
    elif database.startswith("temporal://"):
        checks.append(_temporal(database))
    else:
        checks.append(Check("database", "ok", f"{database}: not a file, nothing to check"))
    return checks


def _temporal(address: str) -> Check:
    """Whether the server answers, has the namespace and lets us in, and whether a worker listens."""
    from flowctl.backends import open_backend

    try:
        backend = open_backend(address)
    except FlowctlError as error:
        return Check("temporal", "error", error.message, error.hint)
    with contextlib.closing(backend):
        if backend.is_live(""):
            return Check("temporal", "ok", f"{address} answers, and workers listen to the queue")
    return Check("temporal", "warning", f"{address} answers, and no worker listens", "start `flowctl worker`")


def _versions() -> Iterator[Check]:
    from flowctl import __version__
    from flowctl.journal import examination

    yield Check("flowctl", "ok", __version__)
    yield Check(
        "python",
        "ok",
        f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
    )
    version = examination.sqlite_version()
    if examination.can_lose_commits():
        version += ", which needs the lock that all processes of flowctl share: write with no other program"
    yield Check("sqlite", "ok", version)
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
        hint = "mend it, or take it out of the plugins folder"
        yield Check(f"plugin {problem.plugin}", "error", f"{problem.origin}: {problem.error}", hint)


def _secrets(plugins: Plugins) -> Iterator[Check]:
    """Who is asked for secrets, in order. No secret is read."""
    for provider, remark, wrong in plugins.secrets.examine():
        if wrong is None:
            yield Check(f"secrets: {provider}", "ok", remark)
        else:
            yield Check(f"secrets: {provider}", "warning", f"{remark}: {wrong}", _REMEDIES[provider])


def _telemetry(environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether anything is exported, and where to: never a password that stands in an address."""
    from urllib.parse import urlsplit

    from flowctl.default_plugins import ASKED_BY, telemetry_asked_by

    name = telemetry_asked_by(environment)
    if name is None:
        yield Check("telemetry", "ok", f"off; {ASKED_BY[0]} says where traces and metrics are to go")
    else:
        where = urlsplit(environment[name])
        host = where.netloc.rpartition("@")[2]
        yield Check("telemetry", "ok", f"on: traces and metrics go to {where.scheme}://{host} ({name})")


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
    real = os.path.realpath(path)
    yield Check("database", "ok", path if real == path else f"{path}, which is {real}")
    yield Check("journal_mode", "ok", mode)
    yield from _permissions(real)
    yield from _names(real)
    yield from _log(real)
    yield from _standing(real)


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


def _names(path: str) -> Iterator[Check]:
    """Two names of one file have two logs, and so are two databases."""
    links = os.stat(path).st_nlink
    if links > 1:
        hint = "remove the other names; for a copy there is `flowctl backup`"
        yield Check("hard links", "error", f"{path} has {links} names, each with a log of its own", hint)


def _log(path: str) -> Iterator[Check]:
    try:
        size = os.stat(f"{path}-wal").st_size
    except OSError:
        return
    if size > LONG_LOG:
        hint = "end what reads for long; the next checkpoint shortens it"
        yield Check("log", "warning", f"{size >> 20:,} MiB: somebody keeps it from starting over", hint)


def _standing(path: str) -> Iterator[Check]:
    """Who works here, what nobody moves, and whether the clock goes on from where it was."""
    from flowctl.journal import examination

    now = wall_clock()
    found = examination.standing(path, now)
    if found.latest > now + BACKWARDS:
        behind = (found.latest - now) // 1000
        hint = "set it; until then nothing that waits for a time goes on"
        yield Check("clock", "error", f"it is {behind:,} s behind what is recorded", hint)
    else:
        yield Check("clock", "ok", f"{format_timestamp(now)}, after all that is recorded")
    pids = ", ".join(map(str, found.alive))
    who = f"{len(found.alive)} at work (pid {pids}), {found.workers} as workers" if pids else "none at work"
    yield Check("processes", "ok", who)
    died = f"{found.died} processes have died"
    take_up = "`flowctl worker` takes them up, `flowctl resume RUN` one of them"
    for name, runs, message, hint in (
        ("interrupted", found.interrupted, died, take_up),
        ("blocked", found.blocked, "this installation lacks something", "`flowctl status RUN` says what"),
        ("overdue", found.overdue, "they are due, and nobody is there", take_up),
    ):
        if runs:
            yield Check(name, "warning", f"{_count(runs)}; {message}", hint)


def _count(runs: list[str]) -> str:
    """How many, and which, as far as there is room."""
    shown = ", ".join(runs[:3]) + (", …" if len(runs) > 3 else "")
    return f"{len(runs):,} {'run' if len(runs) == 1 else 'runs'} ({shown})"


def _folder(folder: str) -> Iterator[Check]:
    """The file system that the database is, or will be, on."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    kind = _file_system(os.path.realpath(folder))
    where = f"{folder} is on {kind or 'a file system of unknown type'}"
    for kinds, status, remark, hint in _UNFIT:
        if kind in kinds:
            yield Check("file system", status, f"{where}: {remark}", hint)
            break
    else:
        yield Check("file system", "ok", where)
    yield from _space(folder)
    yield from _locks(folder)


def _space(folder: str) -> Iterator[Check]:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    message = f"{free >> 20:,} MiB are free"
    if free >= ROOM:
        yield Check("disk", "ok", message)
    else:
        status: Status = "warning" if free >= ROOM // 10 else "error"
        yield Check("disk", status, message, "make room; `flowctl gc` discards runs that ended long ago")


def _locks(folder: str) -> Iterator[Check]:
    from flowctl.journal import examination

    elsewhere = "use another file system"
    try:
        excluded = examination.locks_exclude(folder)
    except OSError as error:
        yield Check("locks", "error", f"{folder} cannot be locked: {error.strerror}", elsewhere)
        return
    if excluded:
        yield Check("locks", "ok", "exclude other processes")
    else:
        yield Check("locks", "error", f"locks on {folder} do not exclude other processes", elsewhere)


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
