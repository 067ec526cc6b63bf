"""A worker in a thread of its own, so that neither holds up the other: the program's loop and the runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from flowctl.backends import Backend
from flowctl.backends.reins import Reins
from flowctl.embedding.news import News


class WorkerThread:
    """Executes all runs that are due on a backend, which it closes in the end.

    It is a daemon: a program that ends without closing its engine leaves its runs as a crash would, and they
    are taken up by the next worker.
    """

    def __init__(self, backend: Backend, news: News, *, concurrency: int | None, drain: bool = False) -> None:
        self._backend = backend
        self._news = news
        self._concurrency = concurrency
        self._drain = drain
        self._reins = Reins()
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()
        threading.Thread(target=self._work, name="flowctl worker", daemon=True).start()

    def look(self) -> None:
        """Something new is due."""
        self._reins.look()

    def stop(self) -> None:
        """Let what is under way end, and give everything back; asked again, do not wait for it."""
        self._reins.stop()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._ended.done()

    async def ended(self) -> None:
        """Return when it has; raises what ended it, such as ``StorageError``. Being cancelled stops it."""
        try:
            await asyncio.shield(asyncio.wrap_future(self._ended))
        except asyncio.CancelledError:
            self.stop()
            raise

    def _work(self) -> None:
        try:
            try:
                self._backend.work(
                    concurrency=self._concurrency, drain=self._drain, observe=self._observe, reins=self._reins
                )
            finally:
                self._backend.close()
        except BaseException as error:
            self._news.fail(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _observe(self, document: Mapping[str, Any]) -> None:
        self._news.tell(document["workflow_id"])
