"""The log: what flowctl, plugins and activities have to say while they work, on standard error.

``text`` is a line for people, ``json`` one JSON document a line for programs, with the same words in both:
``time level logger message``, and, of what an activity says with ``ctx.logger``, ``run_id path attempt``. A
line is a line: what is in a message cannot end it or move the cursor.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

import msgspec

from flowctl.clock import format_timestamp

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
DEFAULT_LEVEL, DEFAULT_FORMAT = "warning", "text"

WHERE = ("run_id", "path", "attempt")
"""Who speaks, of a record that an activity made."""


def begin(level: str, form: str) -> None:
    """From now on, log like this; the latest word counts."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler()
    handler.setFormatter(_FORMATS[form]())
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Handler(logging.StreamHandler[Any]):
    """Writes to whatever standard error is at the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """A line that cannot be written, or made, disturbs nobody."""
        with contextlib.suppress(Exception):
            sys.stderr.write(f"a log record of {record.name} cannot be shown\n")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": format_timestamp(round(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in WHERE if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        where = [f"{name}={getattr(record, name)}" for name in WHERE if hasattr(record, name)]
        said = " ".join([record.getMessage(), *(["(" + " ".join(where) + ")"] if where else [])])
        if record.exc_info:
            said = f"{said}\n{self.formatException(record.exc_info)}"
        time = format_timestamp(round(record.created * 1000))
        return f"{time} {record.levelname.lower():7} {record.name}: " + "\n    ".join(
            _printable(line) for line in said.splitlines()
        )


def _printable(line: str) -> str:
    """A line in which nothing controls a terminal."""
    return "".join(char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in line)


_FORMATS: dict[str, type[logging.Formatter]] = {"text": _Text, "json": _Json}
