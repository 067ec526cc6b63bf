"""``main``: from arguments to an exit code, whatever happens in between."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Sequence

from flowctl.cli import output
from flowctl.cli.commands import COMMAND_LINE
from flowctl.errors import UsageError


def main() -> None:
    """The ``flowctl`` command; leaves the process."""
    output.take_over()
    code = execute(sys.argv[1:])
    if getattr(sys.modules.get("flowctl.runtimes.temporal.connection"), "in_use", False):
        _leave_at_once(code)
    sys.exit(code)


def _leave_at_once(code: int) -> None:
    """Temporal's SDK has threads of its own that call back when the interpreter is being taken down, which
    ends the process with a fault (seen with 1.35). By now everything is done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    # Asked of the words themselves: an error may come before, or instead of, their being parsed.
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        _check_text(arguments)
        code = COMMAND_LINE.main(list(arguments), prog_name="flowctl", standalone_mode=False)
        output.check()
        return code if isinstance(code, int) else 0
    except SystemExit:
        raise
    except BaseException as error:
        from flowctl.cli.errors import show

        if "--debug" in words:
            import traceback

            output.say(traceback.format_exc())
        return show(error, as_json="--json" in words or "--jsonl" in words)


def _check_text(arguments: Sequence[str]) -> None:
    """Python keeps bytes that are not UTF-8 as lone surrogates, which no journal and no JSON takes."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"argument {number} is not UTF-8 text", hint="check the terminal's encoding"
            ) from None
