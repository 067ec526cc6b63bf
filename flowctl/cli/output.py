"""Standard output and standard error, whatever stands behind them.

Rules:

1. A reader that has left (``| head -1``) changes neither what a command does nor how it exits.
2. Failing to write never disturbs a run. But an answer that got lost on a full disk is not a success: that is
   said at the end, as an ``OutputError``.
3. A character that the terminal's encoding does not have is escaped, never an error; JSON stays JSON.
4. Standard output is the command's answer: what an activity prints in its thread goes to standard error,
   where secrets are masked.
5. The numbers 0, 1 and 2 are never left free, or the database would be given one, and the next traceback
   written into it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flowctl.errors import FlowctlError

if TYPE_CHECKING:
    from flowctl.render import Output, View


_Wrapper = TypeVar("_Wrapper", bound=io.TextIOWrapper)


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
    sys.stdout = _stream(1, sys.stdout, _Stdout)
    sys.stderr = _stream(2, sys.stderr, _Stderr)


def keep_secrets() -> None:
    """From now on, activities are called here: what they print is not the command's answer, and is masked."""
    import threading

    from flowctl.activities.masking import of_everything
    from flowctl.activities.threads import NAME

    if isinstance(sys.stdout, _Stdout) and isinstance(sys.stderr, _Stderr):
        out, err = sys.stdout, sys.stderr
        err.mask = lambda text: of_everything().text(text)
        out.is_foreign = lambda: threading.current_thread().name == NAME
        aside = out.aside if out.isatty() else err.write
        out.aside = lambda text: aside(err.mask(text))  # type: ignore[method-assign]


class _Stdout(io.TextIOWrapper):
    """Standard output is the command's own: what activities print in their threads goes to standard error."""

    is_foreign: Callable[[], bool] = staticmethod(lambda: False)

    def write(self, text: str) -> int:
        return self.aside(text) if self.is_foreign() else super().write(text)

    def aside(self, text: str) -> int:
        """What is not the command's; on a terminal, where progress is drawn around it, it stays."""
        super().write(text)
        return len(text)


class _Stderr(io.TextIOWrapper):
    """Standard error, where logs and what activities print come out, without their secrets."""

    mask: Callable[[str], str] = staticmethod(lambda text: text)

    def write(self, text: str) -> int:
        super().write(self.mask(text))
        return len(text)


def _stream(descriptor: int, before: io.TextIOBase | Any, kind: type[_Wrapper]) -> _Wrapper:
    buffer = io.BufferedWriter(_Endured(descriptor, "w", closefd=False))
    encoding = before.encoding if before is not None else "utf-8"
    return kind(buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)


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
