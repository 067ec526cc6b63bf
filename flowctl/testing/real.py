"""Real activities in a test: called one at a time, by the performer that calls them in production, in an
empty folder of their own. In virtual time they take none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping

from flowctl.activities import Activity, Attempt, Outcome
from flowctl.activities.performer import Performer


@contextlib.contextmanager
def real_activities(
    activities: Mapping[str, Activity], secret: Callable[[str], str | None]
) -> Iterator[Callable[[Attempt], Outcome]]:
    """What calls one and waits for its outcome. What they write to the present folder is gone afterwards."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="flowctl-test-") as folder, asyncio.Runner() as runner:
        performer = Performer(activities, resolve_secret=secret, loop=runner.get_loop())

        async def perform(attempt: Attempt) -> Outcome:
            ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            performer.perform(attempt, ended.set_result)
            return await ended

        os.chdir(folder)
        try:
            yield lambda attempt: runner.run(perform(attempt))
        finally:
            os.chdir(before)
            runner.run(performer.leave())
