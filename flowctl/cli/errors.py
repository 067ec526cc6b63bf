"""Exceptions as one to three lines on standard error, or as a JSON document on standard output.

Whatever it is, it becomes one of flowctl's own errors first, which knows its code and its exit code. A
traceback is shown only to those who ask with ``--debug``.
"""

from __future__ import annotations

from typing import Any

import click

from flowctl.cli import output
from flowctl.errors import FlowctlError, InternalError, InvalidDocument, UsageError, safe_text


class Interrupted(FlowctlError):
    """Ctrl-C. What was durable stays."""

    exit_code = 130


def show(error: BaseException, *, as_json: bool) -> int:
    """Say what is wrong; returns the exit code."""
    ours = as_ours(error)
    if as_json and not isinstance(ours, output.OutputError):
        output.write_json({"error": to_json(ours)})
    else:
        from flowctl import render

        found = ours.diagnostics if isinstance(ours, InvalidDocument) else []
        output.complain(render.diagnostics(found) if found else render.error(in_one_line(ours)))
    return ours.exit_code


def in_one_line(error: FlowctlError) -> str:
    """``error[CODE]: what; what to do``."""
    return f"error[{error.code}]: {' '.join(safe_text(error).split())}"


def to_json(error: FlowctlError) -> dict[str, Any]:
    """``{code, message, details}``; the mistakes of a document are in ``details.errors``."""
    details = error.details
    if isinstance(error, InvalidDocument):
        details = {**details, "errors": [found.to_json() for found in error.diagnostics]}
    return {"code": error.code, "message": safe_text(error), "details": details}


def as_ours(error: BaseException) -> FlowctlError:
    """Any exception as one of flowctl's own."""
    if isinstance(error, FlowctlError):
        return error
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Interrupted("interrupted")
    if isinstance(error, MemoryError):
        return InternalError("out of memory", hint="nothing durable is lost: `flowctl resume` goes on")
    return InternalError(
        f"{type(error).__name__}: {safe_text(error)}",
        hint="this is a mistake in flowctl: repeat the command with --debug and report what it prints",
    )


def _usage(error: click.UsageError) -> UsageError:
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if error.ctx else "flowctl"
    return UsageError(message[:1].lower() + message[1:], hint=f"see `{command} --help`")
