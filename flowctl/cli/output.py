"""Standard output and standard error, whatever stands behind them.

Rules:

1. A reader that has left (``| head -1``) changes neither what a command does nor how it exits.
2. Failing to write never disturbs a run. But an answer that got lost on a full disk is not a success: that is
   said at the end, as an ``OutputError``.
3. A character that the terminal's encoding does not have is escaped, never an error; JSON stays JSON.
4. The numbers 0, 1 and 2 are never left free, or the database would be given one, and the next traceback
   written into it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from flowctl.errors import FlowctlError

if TYPE_CHECKING:
    from flowctl.render import Output, View


class OutputError(FlowctlError):
    """Standard output could not be written."""

    exit_code = 74


class _Endured(io.FileIO):
    """A standard stream's descriptor. What goes wrong with it is kept in ``failure`` rather than raised."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes


def take_over() -> None:
    """Make the standard streams of this process as the rules want them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = _stream(1, sys.stdout)
    sys.stderr = _stream(2, sys.stderr)


def _stream(descriptor: int, before: io.TextIOBase | Any) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(_Endured(descriptor, "w", closefd=False))
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)


def check() -> None:
    """Raise ``OutputError`` if something that was meant for standard output is lost."""
    sys.stdout.flush()
    raw = getattr(sys.stdout.buffer, "raw", None)
    if isinstance(raw, _Endured) and raw.failure is not None:
        raise OutputError(f"standard output cannot be written: {raw.failure.strerror}")


def to_stdout() -> Output:
    """Where views for people go."""
    from flowctl.render import Output

    return Output(sys.stdout)


def show(view: View) -> None:
    """A view, on standard output."""
    to_stdout().show(view)


def write(text: str) -> None:
    """A line of plain text, on standard output."""
    sys.stdout.write(f"{text}\n")


def write_json(document: Any, *, compact: bool = False) -> None:
    """One JSON document, indented, or on one line."""
    import json

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
    write(json.dumps(document, ensure_ascii=not unicode, **layout))


def say(text: str) -> None:
    """A remark, on standard error."""
    sys.stderr.write(f"{text}\n")


def complain(view: View) -> None:
    """A view of what is wrong, on standard error."""
    from flowctl.render import Output

    Output(sys.stderr).show(view)


def warn(text: str) -> None:
    """A warning, on one line of standard error."""
    from flowctl.render import escape

    say(f"warning: {escape(text)}")
