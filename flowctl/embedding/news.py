"""Tells tasks that a run may have ended or come to a stand, as soon as the worker of this process knows.

Runs may be executed elsewhere, so whoever waits looks for himself too, ever less often.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from concurrent.futures import Future

FIRST_LOOK, LAST_LOOK = 0.05, 1.0
"""Seconds until the first look at a run that others may execute, and between all later ones."""


class News:
    """Thread-safe. Runs are known by their workflow ids, because a chain of runs is one thing to wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Future[None]]] = defaultdict(set)
        self._failure: BaseException | None = None

    async def wait(self, workflow_id: str, seconds: float) -> None:
        """Return when something was told of a run, or after so long. Raises what ``fail`` was told."""
        told: Future[None] = Future()
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._waiting[workflow_id].add(told)
        try:
            await asyncio.wait_for(asyncio.wrap_future(told), seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._forget(workflow_id, told)

    def tell(self, workflow_id: str) -> None:
        """Something has become of a run."""
        with self._lock:
            for told in self._waiting.pop(workflow_id, ()):
                _set(told, None)

    def fail(self, error: BaseException) -> None:
        """Nobody will tell any more, and this is why."""
        with self._lock:
            self._failure = error
            for waiting in self._waiting.values():
                for told in waiting:
                    _set(told, error)
            self._waiting.clear()

    def _forget(self, workflow_id: str, told: Future[None]) -> None:
        waiting = self._waiting.get(workflow_id)
        if waiting is not None:
            waiting.discard(told)
            if not waiting:
                del self._waiting[workflow_id]


def _set(told: Future[None], error: BaseException | None) -> None:
    if told.set_running_or_notify_cancel():
        told.set_exception(error) if error is not None else told.set_result(None)
