"""One thread that asks a backend what many tasks want to know, one after the other.

Nothing here belongs to a loop, so an engine may be used from several, such as those of a test suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flowctl.errors import FlowctlError

T = TypeVar("T")


class Desk:
    """The thread begins with the first question."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowctl desk")

    async def ask(self, question: Callable[[], T]) -> T:
        """What ``question`` returns or raises, in the thread. Being cancelled does not take it back once it
        is being asked.
        """
        try:
            return await asyncio.wrap_future(self._thread.submit(question))
        except FlowctlError as error:  # they say what is wrong; how deep inside it was noticed helps nobody
            raise error.with_traceback(None) from error.__cause__

    def close(self) -> None:
        """Take no more questions."""
        self._thread.shutdown(wait=False)
