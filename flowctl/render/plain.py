"""The printer for pipes, files, tests and terminals that can do nothing: text, and that is all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from flowctl.render.layout import View, lay_out

_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "↺": "<",
        "⏳": "~ ",
        "⊘": "-",
        "↻": "@",
        "▸": ">",
        "‖": "=",
        "■": "#",
        "·": "-",
        "…": "~",
        "→": ">",
        "├": "|",
        "└": "`",
        "│": "|",
        "─": "-",
    }
)
"""What stands for our own symbols where they cannot be written; as wide as they are, so that columns stay."""


def lines(view: View, columns: int | None = None) -> Iterator[str]:
    """The lines of a view as text."""
    for line in lay_out(view, columns):
        yield "".join(span.text for span in line)


class Charset:
    """What an encoding can write: ``fit`` replaces our own symbols and escapes the rest."""

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding or "utf-8"
        try:
            "✓⏳↺├─…".encode(self._encoding)
        except (UnicodeEncodeError, LookupError):
            self.symbols = False
        else:
            self.symbols = True

    def fit(self, text: str) -> str:
        """``text`` as it can be written."""
        if not self.symbols:
            text = text.translate(_ASCII)
        try:
            return text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        except LookupError:
            return text.encode("ascii", "backslashreplace").decode("ascii")


class PlainPrinter:
    """Writes each line as soon as it is there."""

    def __init__(self, stream: TextIO, columns: int | None) -> None:
        self._stream = stream
        self._columns = columns
        self._charset = Charset(getattr(stream, "encoding", None))

    def show(self, view: View) -> None:
        """Write a view. ``OSError`` as the stream has it."""
        for text in lines(view, self._columns):
            self._stream.write(f"{self._charset.fit(text)}\n")
            self._stream.flush()  # a view may take its time, as the history of a live run does
