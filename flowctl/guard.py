"""The database is out of bounds for activities.

Opening the database, its ``-wal`` or ``-shm`` and closing it again, in the process that has it open, drops
SQLite's locks: another process then gets in, and a commit that was acknowledged is gone while
``integrity_check`` says ok. A second SQLite library in the process does the same. So an audit hook refuses
``open`` and ``sqlite3.connect`` on these files to everybody but the journal, which says ``with engine():``
around its own.

It is a guard against accidents, not against an adversary: plugins are trusted, and C code passes by. SQLite's
own opens are C code, which is why the hook does not disturb it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

_EVENTS = frozenset({"open", "sqlite3.connect"})
_names: Counter[str] = Counter()
_files: Counter[str] = Counter()
_engine: ContextVar[bool] = ContextVar("flowctl_engine", default=False)
_installed = False


def protect(paths: Iterable[str]) -> Callable[[], None]:
    """Keep everybody but the engine from opening these files (``Journal.protected_paths``), until what is
    returned is called.
    """
    global _installed
    files = [os.path.realpath(path) for path in paths]
    names = [os.path.basename(file) for file in files]
    _files.update(files)
    _names.update(names)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)  # for the life of the process: there is no way to remove one

    def release() -> None:
        for counter, keys in ((_files, files), (_names, names)):
            counter.subtract(keys)
            for key in keys:
                if counter[key] <= 0:
                    del counter[key]

    return release


@contextmanager
def engine() -> Iterator[None]:
    """What is opened within, in this thread or task, is opened by the engine."""
    token = _engine.set(True)
    try:
        yield
    finally:
        _engine.reset(token)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    # Every audited event of the process comes by: names are compared first, a realpath is slow.
    if event not in _EVENTS or not _names:
        return
    path = _text(arguments[0])
    if path.rpartition("/")[2] in _names and os.path.realpath(path) in _files and not _engine.get():
        raise PermissionError(
            f"{path} is flowctl's database, and open in this process; opening it here would drop its locks"
            " (use the flowctl commands, or another process)"
        )


def _text(path: object) -> str:
    """The file that an argument of ``open`` or ``sqlite3.connect`` names; empty for a descriptor."""
    if isinstance(path, int):
        return ""
    try:
        text = os.fsdecode(path)  # type: ignore[arg-type]  # what it cannot take, it refuses
    except TypeError:
        return ""
    if text.startswith("file:"):
        text = unquote(text[5:].partition("?")[0])
        text = "/" + text.lstrip("/") if text.startswith("//") else text
    return text
