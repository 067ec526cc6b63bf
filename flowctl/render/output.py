"""Where views go: the one place that knows whether a person is looking, and with what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TextIO

from flowctl.render.layout import View
from flowctl.render.plain import PlainPrinter

if TYPE_CHECKING:
    from flowctl.render.progress import Progress

_DUMB = ("dumb", "unknown")
"""Values of TERM for terminals that know no colours and cannot move the cursor."""


class _Printer(Protocol):
    def show(self, view: View) -> None: ...


class Output:
    """A stream, and how to write to it: with rich on a terminal, else as plain text without importing rich.

    ``terminal`` says whether a person sits there, by default whether the stream is a TTY; ``width`` is in
    columns, by default the terminal's, none in a pipe. ``NO_COLOR``, ``COLUMNS`` and ``TERM`` of the
    environment are respected. Failures to write are the stream's ``OSError``.
    """

    def __init__(self, stream: TextIO, *, terminal: bool | None = None, width: int | None = None) -> None:
        self.terminal = stream.isatty() if terminal is None else terminal
        self._stream = stream
        if width is None and self.terminal:
            import shutil

            width = shutil.get_terminal_size().columns
        self._width = width
        self._moving = self.terminal and os.environ.get("TERM") not in _DUMB
        self._made: _Printer | None = None

    def show(self, view: View) -> None:
        """Print a view; one that is still being made is printed as it comes."""
        if self._made is None:
            self._made = self._printer()
        self._made.show(view)

    def progress(self, *, db: str | None = None) -> Progress:
        """A progress for one run, to be told what happens. ``db`` is what the user gave as ``--db``."""
        if self._moving:
            from flowctl.render.terminal import LiveProgress

            return LiveProgress(self._stream, self._width, db)
        from flowctl.render.progress import PlainProgress

        return PlainProgress(self.show, db)

    def _printer(self) -> _Printer:
        if self._moving:
            from flowctl.render.terminal import TerminalPrinter

            return TerminalPrinter(self._stream, self._width)
        return PlainPrinter(self._stream, self._width)
