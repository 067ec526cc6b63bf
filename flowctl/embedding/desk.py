"""One thread that asks a backend what many tasks want to know, one after the other.

Nothing here belongs to a loop, so an
engine may be used from several, such as those of a test suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flowctl.errors import FlowctlError, UsageError

T = TypeVar("T")


class Desk:
    """The thread begins with the first question."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowctl desk")
        self._closed = False

    async def ask(self, question: Callable[[], T]) -> T:
        """What ``question`` returns or raises, in the thread. Being cancelled does not take it back once it
        is being asked.
        """
        if self._closed:
            raise UsageError("the engine was closed", hint="make another one")
        try:
            return await asyncio.wrap_future(self._thread.submit(question))
        except FlowctlError as error:  # they say what is wrong; how deep inside it was noticed helps nobody
            raise error.with_traceback(None) from error.__cause__

    def close(self) -> None:
        """Take no more questions. Idempotent."""
        self._closed = True
        self._thread.shutdown(wait=False)
