"""Small activities to begin with: ``core.echo``, ``core.log``, ``core.fail``, ``core.sleep``."""

from __future__ import annotations

import logging
from typing import Any, Literal, NoReturn

from flowctl.activities import ActivityContext, ActivityError, activity
from flowctl.clock import parse_duration
from flowctl.errors import InvalidInput

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@activity("core.echo")
async def echo(**arguments: Any) -> dict[str, Any]:
    """Return the arguments."""
    return arguments


@activity("core.log")
async def log(
    ctx: ActivityContext,
    message: Any,
    level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Log a message under the run's id and the step's path."""
    ctx.logger.log(_LEVELS[level], message if isinstance(message, str) else str(message))


@activity("core.fail")
async def fail(message: str = "failed on purpose", type: str = "Failed", details: Any = None) -> NoReturn:
    """Fail with an error of that type."""
    raise ActivityError(message, type=type, details=details)


@activity("core.sleep")
async def sleep(duration: int | float | str) -> None:
    """Wait inside an attempt: seconds, or a duration such as ``1m30s``.

    It holds the attempt for all that time and begins anew after a crash; the verb ``sleep`` is durable, and
    what you want.
    """
    import asyncio

    await asyncio.sleep(_seconds(duration))


def _seconds(duration: float | str) -> float:
    if isinstance(duration, str):
        try:
            return parse_duration(duration) / 1000
        except ValueError as error:
            raise InvalidInput(
                f"core.sleep: argument 'duration': {error}", details={"argument": "duration"}
            ) from None
    if not 0 <= duration <= 10**9:
        raise InvalidInput(
            f"core.sleep: {duration} seconds is not a time to wait", details={"argument": "duration"}
        )
    return duration
