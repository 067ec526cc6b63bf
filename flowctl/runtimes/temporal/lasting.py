"""A worker for as long as a context lasts, whose failure ends what is done meanwhile, and is what is raised.

``async with worker`` of Temporal's SDK means to do that too. But if what is done meanwhile has failed just
before, as it does when nobody is let in any more, it cancels whoever is leaving, and only that is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.worker import Worker


@asynccontextmanager
async def lasting(worker: Worker) -> AsyncIterator[None]:
    """Raises what is raised inside, or what ended the worker before that."""
    inside = asyncio.current_task()
    assert inside is not None
    running = asyncio.create_task(worker.run())

    def ended(running: asyncio.Task[None]) -> None:
        inside.cancel()

    running.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if not running.done():
            raise
        inside.uncancel()
        await running  # raises
    finally:
        running.remove_done_callback(ended)
        await worker.shutdown()
        await asyncio.gather(running, return_exceptions=True)
