"""Which journal an address means: what ``--db`` and ``Engine`` take.

``memory:`` is a journal that ends with the process, ``sqlite:///orders.db`` and ``sqlite:////srv/orders.db``
are a relative and an absolute path, and whatever has no scheme is a path.
"""

from __future__ import annotations

import re

from flowctl.errors import UsageError
from flowctl.journal import Journal

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SQLITE = "sqlite:///"
_HINT = "give a path, sqlite:///path or memory:"


def connect(url: str, *, read_only: bool = False) -> Journal:
    """Open the journal at an address. ``UsageError`` for what is none.

    ``read_only`` opens it without ever writing to it, ``NotFound`` if it is not there. It means nothing to
    ``memory:``, which is new each time.
    """
    if url == "memory:":
        from flowctl.journal.memory import MemoryJournal

        return MemoryJournal()
    from flowctl.journal.sqlite import SqliteJournal

    return SqliteJournal.open(path_of(url), read_only=read_only)


def another(journal: Journal, *, read_only: bool = False) -> Journal:
    """The same journal, opened once more, for another thread."""
    from flowctl.journal.memory import MemoryJournal

    if isinstance(journal, MemoryJournal):
        return journal.another()
    return connect(journal.url, read_only=read_only)


def path_of(url: str) -> str:
    """The path of the database file at an address. ``UsageError`` for what is none, or in no file."""
    if url == "memory:":
        raise UsageError("a journal in memory is in no file", hint="name a database with --db")
    path = url.removeprefix(_SQLITE)
    if not path:
        raise UsageError(f"{url!r} names no journal", hint=_HINT)
    if scheme := _SCHEME.match(path):
        raise UsageError(f"{scheme[1]}:// is not a kind of journal", hint=_HINT)
    return path
