"""The printer for terminals, and the picture of a run that moves while it goes on. The only door of rich.

What is shown was laid out and escaped before; rich brings the colours a terminal has, and redrawing in place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flowctl.clock import parse_timestamp
from flowctl.render.layout import EMPTY, Json, Line, Span, View, lay_out, line
from flowctl.render.plain import Charset
from flowctl.render.progress import Followed
from flowctl.render.run import status
from flowctl.render.signs import words
from flowctl.render.steps import steps
from flowctl.render.text import duration, escape
from flowctl.wall_clock import wall_clock

_STYLES = {
    "": "",
    "strong": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "red",
    "warn": "yellow",
    "busy": "cyan",
    "undone": "magenta",
    "name": "bold",
}
"""What each style looks like."""

_FRAMES, _ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_REFRESH = 8
"""Pictures a second."""


class TerminalPrinter:
    """Writes lines in colour. Long ones outside of tables are left to the terminal to wrap."""

    def __init__(self, stream: TextIO, columns: int | None) -> None:
        self.console = Console(
            file=stream, force_terminal=True, width=columns, highlight=False, markup=False, emoji=False
        )
        self.charset = Charset(getattr(stream, "encoding", None))

    def show(self, view: View) -> None:
        """Write a view. ``OSError`` as the stream has it."""
        for each in lay_out(view, self.console.width):
            self.console.print(self.text(each), soft_wrap=True)

    def text(self, each: Line) -> Text:
        """A line as rich has it."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for span in each:
            text.append(self.charset.fit(span.text), _STYLES[span.style])
        return text


class LiveProgress:
    """The steps of a run, redrawn in place; at the end the whole status takes the picture's place."""

    def __init__(self, stream: TextIO, columns: int | None, db: str | None) -> None:
        self._printer = TerminalPrinter(stream, columns)
        self._db = db
        self._run = Followed()
        self._id, self._status = "", "running"
        self._began = wall_clock()
        self._live = Live(
            console=self._printer.console,
            get_renderable=self._picture,
            refresh_per_second=_REFRESH,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),  # a log file gets what was meant for it
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back. After an interruption the last picture stays."""
        self._live.transient = error is None
        self._live.stop()

    def begin(self, doc: Json, past: Iterable[Json], *, live: bool | None = None) -> None:
        """See ``Progress``."""
        self._began = parse_timestamp(doc["started_at"] or doc["created_at"])
        for fact in past:
            self.observe(fact)

    def observe(self, fact: Json) -> None:
        """See ``Progress``."""
        self._id = fact["run"]
        if fact["kind"] == "compensating" and not fact["path"]:
            self._status = "compensating"
        self._run.add(fact)

    def finish(self, doc: Json, *, live: bool | None = None) -> None:
        """See ``Progress``."""
        self._live.stop()
        self._printer.show(status(doc, live=live, db=self._db))

    def _picture(self) -> Group:
        """As many of the latest lines as there is room for, beneath the heading."""
        console = self._printer.console
        room = max(1, console.height - 3)
        heading, *lines = lay_out(self._view(), console.width)
        return Group(*map(self._printer.text, [heading, *lines[-room:]]))

    def _view(self) -> View:
        now = wall_clock()
        frames = _FRAMES if self._printer.charset.symbols else _ASCII_FRAMES
        frame = frames[int(time.monotonic() * _REFRESH) % len(frames)]
        elapsed = duration(now - self._began)
        yield line(
            Span(f"{frame}  ", "busy"),
            Span(f"{escape(self._id)}  ", "strong"),
            words(self._status),
            f"  {elapsed}",
        )
        yield EMPTY
        yield from self._steps(now)

    def _steps(self, now: int) -> Iterator[Any]:
        shown = self._run.fold.page(count=self._printer.console.height)
        doc = {"steps": shown, "step_counts": None, "waiting_for": list(self._run.waiting.values())}
        yield from steps(doc, now)
