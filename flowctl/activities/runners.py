"""Tasks that run coroutines one after the other, until one of them waits.

A task for every attempt would be the obvious way, and costs more than most of a step: many activities
answer without ever waiting. So a runner takes attempts from a queue for as long as they answer at once.
One that waits keeps its runner to itself from then on, as if the task had been made for it, and another
runner goes on with the queue; only then are its timeouts watched, for until then nobody could have acted
on them.

A runner whose context variables were changed takes no further attempt: what one activity sets, the next
does not see.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Protocol


class Job(Protocol):
    """What a runner runs."""

    runner: Runner | None

    async def run(self) -> None:
        """To its end, whatever happens in it; raises nothing."""

    def waits(self) -> None:
        """It did not answer at once: called once, right after its first step."""


class Runner:
    """One task. ``job`` is what it runs at the moment."""

    __slots__ = ("job", "retired", "task")

    def __init__(self) -> None:
        self.job: Job | None = None
        self.retired = False
        self.task: asyncio.Task[None] | None = None


class Runners:
    """The runners of one loop, and the queue they share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Job] = deque()
        self._coming = False

    def submit(self, job: Job) -> None:
        """Run a job soon."""
        job.runner = None
        self._queue.append(job)
        self._call_runner()

    def withdraw(self, job: Job) -> bool:
        """Take a job back; False if it has begun."""
        try:
            self._queue.remove(job)
        except ValueError:
            return False
        return True

    def _call_runner(self) -> None:
        if not self._coming:
            self._coming = True
            runner = Runner()
            runner.task = self._loop.create_task(self._run(runner))

    async def _run(self, runner: Runner) -> None:
        self._loop.call_soon(self._step_is_over, runner)
        pristine = contextvars.copy_context()
        while self._queue and not runner.retired:
            runner.job = self._queue.popleft()
            runner.job.runner = runner
            await runner.job.run()
            runner.job = None
            if contextvars.copy_context() != pristine:
                break

    def _step_is_over(self, runner: Runner) -> None:
        """The runner's first step is over: whatever it is at now waits, and others are to go on with the
        queue.
        """
        runner.retired = True
        if runner.job is not None:
            runner.job.waits()
        self._coming = False
        if self._queue:
            self._call_runner()
