"""Where in a program each part of a document was written, so that a mistake in it is shown there.

A method is called somewhere, and what it was given most likely stands there too: the lines of the call are
searched for the text, or for the name of the argument. Nothing of it is looked up before there is a mistake.

The sources of all calls are one text to whoever checks, file after file; ``Sources.real`` says for a place in
it which file that is.
"""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Iterable, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

import msgspec

from flowctl.document.diagnostics import Diagnostic
from flowctl.document.places import START, Place, Pointer, Tree

_OPENING = re.compile(r"\$\{\{\s*")
_CLOSING = re.compile(r"\s*\}\}\Z")


class Site(NamedTuple):
    """A call in a program."""

    code: CodeType
    instruction: int
    line: int

    @classmethod
    def of(cls, frame: FrameType) -> Self:
        """Where a frame is."""
        return cls(frame.f_code, frame.f_lasti, frame.f_lineno)

    @property
    def extent(self) -> tuple[int, int, int]:
        """The first line, the last, and the column where it begins, from 1."""
        for number, (line, end, column, _) in enumerate(self.code.co_positions()):
            if 2 * number == self.instruction and line is not None:
                return line, end or line, (column or 0) + 1
        return self.line, self.line, 1


class Sources:
    """The files of some calls, as one text."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self.lines: list[str] = []
        self._starts: dict[str, int] = {}
        last: dict[str, int] = {}
        for site in sites:
            name = site.code.co_filename
            last[name] = max(last.get(name, 0), site.extent[1])
        for name, least in last.items():
            self._starts[name] = len(self.lines)
            lines = [line.rstrip("\n") for line in linecache.getlines(name)]
            self.lines += lines + [""] * (least - len(lines))

    def place(self, site: Site) -> tuple[Place, int]:
        """Where a call begins in the text of all, and its last line there."""
        start = self._starts[site.code.co_filename]
        line, end, column = site.extent
        return (start + line, column), start + end

    def real(self, found: Diagnostic) -> Diagnostic:
        """The diagnostic as it is in its own file."""
        for name, start in reversed(self._starts.items()):
            if found.line > start:
                return msgspec.structs.replace(found, file=_shown(name), line=found.line - start)
        return found


class CallTree(Tree, frozen=True):
    """A document that was written by calls. ``ends`` are the last lines of the calls in ``values``."""

    ends: Mapping[Pointer, int] = {}

    def place(self, pointer: Pointer, *, key: bool = False) -> Place:
        """See ``Tree``."""
        site, value = self._site(pointer), self._at(pointer)
        said = [] if key or not isinstance(value, str) or not value.strip() else [re.escape(value)]
        names = [part for part in pointer[len(site) :] if isinstance(part, str)]
        said += [
            rf"\b{re.escape(name)}_?(?=\s*=[^=])|(?<=[\"']){re.escape(name)}(?=[\"'])" for name in names[-1:]
        ]
        for pattern in said:
            if found := self._search(site, pattern):
                return found
        return self.values.get(site, START)

    def place_in(self, pointer: Pointer, text: str, offset: int) -> Place:
        """See ``Tree``."""
        opening = _OPENING.match(text)  # which ``expr`` has put there
        start = opening.end() if opening else 0
        wanted = _CLOSING.sub("", text[start:])
        for said, within in ((text, offset), (wanted, offset - start)):
            site = self._site(pointer)
            if within >= 0 and said and (found := self._search(site, re.escape(said))):
                line, column = found
                return line, column + within
        return self.place(pointer)

    def _site(self, pointer: Pointer) -> Pointer:
        while pointer and pointer not in self.values:
            pointer = pointer[:-1]
        return pointer

    def _at(self, pointer: Pointer) -> Any:
        node = self.data
        for part in pointer:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def _search(self, site: Pointer, pattern: str) -> Place | None:
        if site not in self.values:
            return None
        line, column = self.values[site]
        for number in range(line, self.ends[site] + 1):
            start = column - 1 if number == line else 0
            if found := re.compile(pattern).search(self.lines[number - 1], start):
                return number, found.start() + 1
        return None


def _shown(name: str) -> str:
    """A file as people know it: from here, if it is below."""
    beside = os.path.relpath(name) if os.path.isabs(name) else name
    return name if beside.startswith(os.pardir) else beside
