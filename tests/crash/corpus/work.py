"""Activities that keep a ledger of what was asked of them, in a file that trusts neither the engine nor its
database, and that fail when they are told to.
"""

import asyncio
import json
import os
import time
from typing import Any

from flowctl import ActivityContext, activity


class Boom(Exception):
    """The work failed."""


@activity("work.do")
def do(ctx: ActivityContext, value: Any = None, failures: int = 0) -> Any:
    """Fail in the first ``failures`` attempts, then answer ``value``."""
    note(ctx, "begin")
    if ctx.attempt <= failures:
        raise Boom(f"attempt {ctx.attempt} of {failures} that fail")
    note(ctx, "done")
    return value


@activity("work.undo")
def undo(ctx: ActivityContext, what: str = "", failures: int = 0) -> None:
    """Undo ``what``, after ``failures`` attempts that fail."""
    note(ctx, "begin")
    if ctx.attempt <= failures:
        raise Boom(f"attempt {ctx.attempt} of {failures} that fail")
    note(ctx, "done")


@activity("work.mended")
def mended(ctx: ActivityContext) -> str:
    """Fail until somebody has made the file ``mended``."""
    note(ctx, "begin")
    if not os.path.exists("mended"):
        raise Boom("not mended yet")
    note(ctx, "done")
    return "mended"


@activity("work.later")
async def later(ctx: ActivityContext, value: Any = None) -> Any:
    """The same as a coroutine."""
    note(ctx, "begin")
    note(ctx, "done")
    return value


@activity("work.slow")
async def slow(ctx: ActivityContext, seconds: float) -> None:
    """Take a while."""
    note(ctx, "begin")
    await asyncio.sleep(seconds)
    note(ctx, "done")


def note(ctx: ActivityContext, phase: str) -> None:
    """Append a line to the ledger; one write, so lines never mix."""
    line = {"key": ctx.idempotency_key, "attempt": ctx.attempt, "run": ctx.run_id, "phase": phase}
    line |= {"at": time.time_ns() // 1_000_000, "pid": os.getpid()}
    with open(os.environ["FLOWCTL_LEDGER"], "ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")
        os.fsync(file.fileno())
