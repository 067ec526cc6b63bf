"""A copy of a database, taken while others work on it.

1. SQLite's backup API copies one moment, in one step: a copy in pieces begins anew whenever somebody commits,
   and under load never ends. Writers are not held up by it, only checkpoints are.
2. A copy has no sessions. What was being driven at that moment is interrupted in the copy, as after a power
   cut, and belongs to nobody: also where it is put back beside the lives of the original.
3. It is audited before it gets its name. A file of that name is there and right, or not there.
4. Nothing is ever overwritten. All files are mode 0600.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator

from flowctl.errors import Conflict, Damaged, StorageError, UsageError
from flowctl.journal import files
from flowctl.journal.audit import Report, audit_connection

_RELEASE = """
    UPDATE runs SET
        session = NULL,
        entries = (SELECT count(*) FROM entries WHERE run = key),
        size = (SELECT ifnull(sum(length(CAST(data AS BLOB))), 0) FROM entries WHERE run = key),
        head = ifnull((SELECT hash FROM entries WHERE run = key ORDER BY seq DESC LIMIT 1), head)
    WHERE session IS NOT NULL
"""
"""The row of a run that is being driven may be some entries behind. One without entries has the hash of its
beginning.
"""


def back_up(path: str, target: str) -> Report:
    """Copy the database at ``path`` into a new file; returns what was found in the copy.

    ``Conflict`` if there is one of that name, ``UsageError`` if there cannot be one, ``Damaged`` if the copy
    is not right, and then it is not kept. ``NotFound``, ``UsageError`` and ``StorageError`` as of any reader.
    """
    with files.trouble(path), contextlib.closing(files.open_reader(path)) as source:
        _check_free(target)
        unfinished = f"{target}.{secrets.token_hex(4)}.unfinished"
        try:
            with _writing(target):
                files.create_empty(unfinished)
                _copy(source, unfinished)
            report = _audit(unfinished)
            if report.problems:
                first = report.problems[0]
                what = f"of run {first.run}, {first.message}" if first.run else first.message
                hint = "`flowctl verify` shows what is wrong with the database"
                raise Damaged(f"no backup was made, because it would not be right: {what}", hint=hint)
            with _writing(target):
                _publish(unfinished, target)
        finally:
            for suffix in ("", files.LOG, files.SHARED_MEMORY, "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished + suffix)
    report.database = target
    return report


def _check_free(target: str) -> None:
    if os.path.lexists(target):
        raise _taken(target)
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise UsageError(f"the folder {folder} is not there", hint="make it, or give another path")


def _taken(target: str) -> Conflict:
    return Conflict(f"{target} is there already", hint="give another name, or remove it first")


@contextlib.contextmanager
def _writing(target: str) -> Iterator[None]:
    """What goes wrong with the copy is not the database's fault."""
    try:
        yield
    except FileExistsError:
        raise _taken(target) from None
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(f"{target} cannot be written: {reason}", hint="no backup was made") from error


def _copy(source: sqlite3.Connection, file: str) -> None:
    """One moment of the database, without sessions, complete in one file."""
    with contextlib.closing(files.connect(file, "rw")) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # nobody else has it, and one file is to be all of it
        copy.execute("PRAGMA synchronous = FULL")
        copy.execute("BEGIN IMMEDIATE")
        copy.execute(_RELEASE)
        copy.execute("DELETE FROM sessions")
        copy.execute("COMMIT")
        copy.execute("PRAGMA journal_mode = WAL")


def _audit(file: str) -> Report:
    with contextlib.closing(files.connect(file, "ro", "&immutable=1")) as copy:
        return audit_connection(copy, file)


def _publish(unfinished: str, target: str) -> None:
    """Give the copy its name, durably, unless somebody else has taken it meanwhile."""
    fd = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(unfinished, target)  # a rename would overwrite
    except PermissionError:  # a file system without hard links
        if os.path.lexists(target):
            raise _taken(target) from None
        os.rename(unfinished, target)
    files.sync_folder(os.path.dirname(os.path.abspath(target)))
