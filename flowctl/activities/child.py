"""A child process of ``isolation="process"``, seen from inside.

It takes its pipes away from the activity first (whatever is printed goes to stderr, stdin is empty), then
carries out one ``Task`` after another in its main thread. A second thread reads the pipe; when that ends, the
engine has gone, and so goes the whole process group.

SIGTERM is being told to stop: it does what Ctrl-C does, so a plain function gets a ``KeyboardInterrupt`` and
a coroutine is cancelled. An activity may catch either and still answer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import sys
import threading
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

import msgspec

from flowctl.activities.attempt import Attempt
from flowctl.activities.binding import result_bytes
from flowctl.activities.context import ActivityContext
from flowctl.activities.definition import Activity, declared
from flowctl.activities.failures import failure_from
from flowctl.activities.masking import NOTHING
from flowctl.activities.modules import find
from flowctl.activities.settings import Configure
from flowctl.activities.wire import Answer, Beat, Log, Raised, Said, Task, receive, send, to_task, writer
from flowctl.errors import InvalidOutput, PayloadTooLarge

LOG_LIMIT = 1 << 16
"""Characters kept of a log record."""


def main() -> NoReturn:
    """Carry out tasks until the engine goes."""
    requests, replies = _own_pipes()
    tasks: SimpleQueue[Task] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, tasks), daemon=True).start()
    host = _Host(replies)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, host.stop)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the secrets
    while True:
        host.perform(tasks.get())


def _own_pipes() -> tuple[int, int]:
    """Descriptors of our own for the two pipes, which are closed in what the activity executes."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr  # which does not hold back what a killed process has printed
    return requests, replies


def _read(descriptor: int, tasks: SimpleQueue[Task]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks.put(to_task.decode(receive(lambda size: os.read(descriptor, size))))
    os.killpg(0, signal.SIGKILL)


class _Host:
    """Carries out tasks, and speaks for them."""

    def __init__(self, replies: int) -> None:
        self._write = writer(replies)
        self._lock = threading.Lock()
        self._told = False
        self._calling = False
        self._configured = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: whatever Ctrl-C would do now, if there is an activity to do it to."""
        self._told = True
        interrupt = signal.getsignal(signal.SIGINT)
        if self._calling and callable(interrupt):
            interrupt(number, frame)

    def perform(self, task: Task) -> None:
        """Carry out one attempt and send what came of it."""
        _limit_memory(task.memory)
        logging.basicConfig(level=task.log_level, handlers=[_Forward(self)], force=True)
        try:
            self._configure(task.configure)
            activity = declared(find(task.source))
            assert activity is not None, f"{task.source.qualname} is not an activity any more"
            value = self._call(activity, task)
        except BaseException as error:
            interrupted = self._told and isinstance(error, KeyboardInterrupt)
            said: Said = Raised(failure_from(error).to_json(), interrupted=interrupted)
        else:
            said = _answer(value, activity.name)
        self.say(said)

    def _configure(self, configure: Configure | None) -> None:
        """Tell the plugin its settings, once."""
        if configure is not None and not self._configured:
            configure.tell()
            self._configured = True

    def say(self, message: Said) -> None:
        """Send a message, from any thread."""
        with self._lock:
            send(self._write, message)

    def _call(self, activity: Activity, task: Task) -> Any:
        attempt, binding = Attempt(**task.attempt), activity.binding
        arguments = binding.bind(attempt.args)
        if binding.context is not None:
            arguments[binding.context] = ActivityContext.of(
                attempt,
                NOTHING,
                lambda details: self.say(Beat(msgspec.Raw(details or b""))),
                lambda: self._told,
            )
        try:
            self._calling = True
            with contextlib.nullcontext() if task.around is None else find(task.around)(attempt):
                return _run(activity.function(**arguments))
        finally:
            self._calling = False


def _run(result: Any) -> Any:
    """What a plain function returned; a coroutine is run first."""
    if not hasattr(result, "__await__"):
        return result
    import asyncio

    return asyncio.run(result)


def _answer(value: Any, name: str) -> Said:
    try:
        return Answer(msgspec.Raw(result_bytes(value, name)))
    except (InvalidOutput, PayloadTooLarge) as error:
        return Raised(failure_from(error).to_json(), uncertain=True)


def _limit_memory(limit: int | None) -> None:
    if limit is not None:
        with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and refuses it
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Forward(logging.Handler):
    """Sends log records to the engine."""

    def __init__(self, host: _Host) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter())  # the message and a traceback; the rest is the engine's to add
        self._host = host

    def emit(self, record: logging.LogRecord) -> None:
        self._host.say(Log(record.name, record.levelno, self.format(record)[:LOG_LIMIT]))
