"""``isolation="process"``: attempts in child processes, seen from the engine.

A child does one attempt at a time and is kept for the next one of the same activity, because starting Python
costs more than most activities. It is kept only after a plain success: whatever failed, was told to stop or
lost its patience takes its process along.

The engine decides how an attempt ended: by what the child says, or by how it dies. A child is the leader of
its own session, so killing its group also ends what it started. It lives as long as its pipe does, so no kill
-9 of the engine leaves one behind; only C code that never lets Python run again can outlive it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any, Protocol

import msgspec

from flowctl import values
from flowctl.activities.attempt import Attempt
from flowctl.activities.definition import Activity
from flowctl.activities.masking import Mask, of_everything
from flowctl.activities.modules import Source, search_path, source_of
from flowctl.activities.wire import (
    Answer,
    Beat,
    Garbled,
    Log,
    Raised,
    Said,
    Task,
    receive,
    send,
    to_said,
    writer,
)

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL, and between the end of a pipe and that of its process."""

MAX_IDLE = 4
MAX_ATTEMPTS = 1000
"""Attempts after which a child is replaced: what it leaked goes with it."""

LINE_LIMIT = 1 << 16
"""Bytes of a line that is printed which are held back until it ends."""

_PATIENCE = 500
"""Milliseconds between looks whether a silent child is still there: a process that it forked may hold its
pipe open."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from flowctl.activities import child; child.main()"
)


class Call(Protocol):
    """The attempt that a child carries out, as far as this module knows it."""

    activity: Activity
    attempt: Attempt
    arguments: dict[str, Any]
    mask: Mask

    @property
    def around(self) -> Source | None:
        """What is entered around the call in the child."""

    def beat(self, details: bytes | None) -> None:
        """The child is alive, and may have come so far."""

    def attach(self, child: Child) -> None:
        """From now on, telling the call to stop is telling ``child``."""

    def detach(self) -> bool:
        """No longer. Whether the call was left in peace all the while."""


@dataclasses.dataclass(frozen=True, slots=True)
class Died:
    """The child is gone without an answer: ``{"signal": NAME}`` or ``{"exit_code": N}``."""

    details: dict[str, Any]

    def __str__(self) -> str:
        (how, what), *_ = self.details.items()
        return f"the process of the activity died ({how.replace('_', ' ')} {what})"


class Child:
    """One child process. Signals may come from any thread; all else from the one that waits for it."""

    def __init__(self, source: Source) -> None:
        self.attempts = 0
        self._source = source
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, and a list of our own
            [sys.executable, "-c", _BOOT, json.dumps(search_path(source))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._write = writer(self._process.stdin.fileno())
        self._answers, self._prints = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._printed = b""
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(self._prints, select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def ask(self, call: Call) -> Answer | Raised | Died:
        """Have it carry out an attempt, and wait for what comes of it."""
        self.attempts += 1
        attempt = {name: getattr(call.attempt, name) for name in Attempt.__struct_fields__}
        attempt |= {"args": call.arguments, "secrets": dict.fromkeys(call.attempt.secrets, ())}
        level = logging.getLogger().getEffectiveLevel()
        try:
            activity = call.activity
            send(
                self._write,
                Task(self._source, attempt, activity.memory, level, call.around, activity.configure),
            )
            while True:
                said: Said = to_said.decode(receive(self._read))
                match said:
                    case Beat():
                        call.beat(_checked(said.details))
                    case Log():
                        self._log(call, said)
                    case Answer() | Raised():
                        return said
        except (EOFError, OSError, Garbled, msgspec.MsgspecError):
            return self._obituary()
        finally:
            self._pass_on_rest()

    def _log(self, call: Call, said: Log) -> None:
        attempt = call.attempt
        where = {"run_id": attempt.run_id, "path": attempt.path, "attempt": attempt.attempt}
        logging.getLogger(said.logger).log(said.level, "%s", call.mask.text(said.text), extra=where)

    def terminate(self) -> None:
        """Ask the process and all it started to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End them."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """End them, and wait for the process."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        # The group may outlive its leader, so a leader that is gone is no reason not to send it.
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, size: int) -> bytes:
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll(_PATIENCE)]
            if self._answers in ready:
                return os.read(self._answers, size)
            if self._prints in ready:
                self._pass_on()
            elif not self.alive and not self._poll.poll(0):
                return b""

    def _pass_on(self) -> None:
        """What the activity prints, line by line, goes to our own stderr, without secrets."""
        data = os.read(self._prints, 1 << 16)
        if not data:
            self._poll.unregister(self._prints)
        lines, newline, rest = (self._printed + data).rpartition(b"\n")
        if not data or len(rest) > LINE_LIMIT:
            lines, newline, rest = self._printed + data, b"", b""
        self._printed = rest
        _print((lines + newline).decode("utf-8", "backslashreplace"))

    def _pass_on_rest(self) -> None:
        """What it has printed until now, the beginning of a line included."""
        for _ in range(4):  # more than a pipe holds; who prints for ever is not waited for
            if self._prints in [descriptor for descriptor, _ in self._poll.poll(0)]:
                self._pass_on()
        printed, self._printed = self._printed, b""
        _print(printed.decode("utf-8", "backslashreplace"))

    def _obituary(self) -> Died:
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:  # it closed its pipe, and lives
            self.kill()
            code = self._process.wait()
        if code >= 0:
            return Died({"exit_code": code})
        try:
            return Died({"signal": signal.Signals(-code).name})
        except ValueError:
            return Died({"signal": str(-code)})


def _print(text: str) -> None:
    if text and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(of_everything().text(text))
            sys.stderr.flush()


def _checked(details: msgspec.Raw) -> bytes | None:
    """What a child says of itself is anything until it was looked at."""
    return values.sized(values.decode(bytes(details)), "the heartbeat's details") if details else None


class Children:
    """The child processes of one engine. Used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[Child] = set()
        self._idle: list[tuple[str, Child]] = []  # the longest idle first
        self._closed = False

    def run(self, call: Call) -> Answer | Raised | Died:
        """Carry out an attempt in a child process."""
        child = self._take(call.activity)
        reply: Answer | Raised | Died | None = None
        call.attach(child)
        try:
            reply = child.ask(call)
        finally:
            undisturbed = call.detach()
            self._give_back(call.activity.name, child, undisturbed and isinstance(reply, Answer))
        return reply

    def close(self) -> None:
        """Kill them all."""
        with self._lock:
            self._closed = True
            children = list(self._all)
            self._idle.clear()
        for child in children:
            child.close()

    def _take(self, activity: Activity) -> Child:
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][0] == activity.name:
                    child = self._idle.pop(index)[1]
                    if child.alive:
                        return child
                    self._all.discard(child)
        child = Child(source_of(activity.function))
        with self._lock:
            self._all.add(child)
            closed = self._closed
        if closed:  # between the two locks
            child.kill()
        return child

    def _give_back(self, name: str, child: Child, usable: bool) -> None:
        gone = child
        with self._lock:
            if usable and not self._closed and child.attempts < MAX_ATTEMPTS:
                self._idle.append((name, child))
                if len(self._idle) <= MAX_IDLE:
                    return
                gone = self._idle.pop(0)[1]
            self._all.discard(gone)
        gone.close()
