"""Threads that can be abandoned.

The executors of the standard library join their threads when the interpreter exits, so one activity that
hangs would keep the process from ever leaving. Threads here are daemons, and nobody joins them. A job that is
given up is *abandoned*: its thread no longer counts, and is not used again if it ever comes back.

All accounting happens on the loop; a thread only takes from its inbox and reports back. So nothing here is
locked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from queue import SimpleQueue
from typing import Any, Protocol

NAME = "flowctl-activity"
"""What threads are called in which activities are carried out."""


class Job(Protocol):
    """Something to do in a thread. ``started`` and ``ended`` are called on the loop, ``work`` in the
    thread."""

    def started(self) -> None:
        """The job has a thread: its time begins."""

    def work(self) -> Any:
        """Do it. Never raises."""

    def ended(self, result: Any) -> None:
        """What ``work`` returned; not called for a job that was abandoned."""


class Threads:
    """At most ``limit`` jobs at once; more are queued, first come first served. Idle threads are kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._queue: deque[Job] = deque()
        self._idle: list[SimpleQueue[Job | None]] = []
        self._busy: dict[Job, SimpleQueue[Job | None]] = {}

    def submit(self, job: Job) -> None:
        """Have ``job`` done by the next free thread."""
        self._queue.append(job)
        self._dispatch()

    def withdraw(self, job: Job) -> bool:
        """Take back a job that has no thread yet; False if it has one."""
        if job not in self._queue:
            return False
        self._queue.remove(job)
        return True

    def abandon(self, job: Job) -> None:
        """Stop waiting for a job; its thread ends when the job does, if ever."""
        if self._busy.pop(job, None) is not None:
            self._dispatch()

    def close(self) -> None:
        """Let idle threads go, and forget all else."""
        self._queue.clear()
        self._busy.clear()
        while self._idle:
            self._idle.pop().put(None)

    def _dispatch(self) -> None:
        while self._queue and len(self._busy) < self._limit:
            try:
                inbox = self._idle.pop() if self._idle else self._spawn()
            except RuntimeError:  # the system gives no more threads
                if self._busy:
                    return  # one of ours comes back
                raise
            job = self._queue.popleft()
            self._busy[job] = inbox
            job.started()
            inbox.put(job)

    def _spawn(self) -> SimpleQueue[Job | None]:
        inbox: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=self._live, args=(inbox,), name=NAME, daemon=True).start()
        return inbox

    def _live(self, inbox: SimpleQueue[Job | None]) -> None:
        while (job := inbox.get()) is not None:
            result = job.work()
            try:
                self._loop.call_soon_threadsafe(self._done, job, inbox, result)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, result  # an idle thread holds on to nothing

    def _done(self, job: Job, inbox: SimpleQueue[Job | None], result: Any) -> None:
        if self._busy.pop(job, None) is None:  # abandoned
            inbox.put(None)
            return
        self._idle.append(inbox)
        self._dispatch()
        job.ended(result)
