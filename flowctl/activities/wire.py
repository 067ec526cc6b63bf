"""What the engine and a child process say to each other: frames of JSON, each behind its length in four
bytes.

JSON, not pickle: a child runs a stranger's code, and nothing it sends may be more than data. The engine says
``Task``; the child says any number of ``Beat`` and ``Log``, then one ``Answer`` or ``Raised``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from flowctl.activities.modules import Source
from flowctl.activities.settings import Configure
from flowctl.values import MAX_BYTES

FRAME_LIMIT = 4 * MAX_BYTES
"""No honest frame is larger: its data is within ``MAX_BYTES``, its text is cut."""

_LENGTH = struct.Struct(">I")


class Task(msgspec.Struct, tag=True):
    """Carry out ``attempt`` (the fields of ``Attempt``), whose arguments have their secrets in them.
    ``memory`` bounds the address space, in bytes; ``around`` is what is entered around the call; with
    ``configure`` the plugin is told its settings before the first.
    """

    source: Source
    attempt: dict[str, Any]
    memory: int | None
    log_level: int
    around: Source | None = None
    configure: Configure | None = None


class Beat(msgspec.Struct, tag=True):
    """A heartbeat, with details as JSON, or with none."""

    details: msgspec.Raw = msgspec.Raw()


class Log(msgspec.Struct, tag=True):
    """A log record."""

    logger: str
    level: int
    text: str


class Answer(msgspec.Struct, tag=True):
    """The activity returned; ``value`` is its result as JSON."""

    value: msgspec.Raw


class Raised(msgspec.Struct, tag=True):
    """The activity raised ``failure`` (``Failure.to_json``).

    ``interrupted``: because it was told to stop. ``uncertain``: it returned, but nothing that can be used.
    """

    failure: dict[str, Any]
    interrupted: bool = False
    uncertain: bool = False


Said = Beat | Log | Answer | Raised
to_task = msgspec.json.Decoder(Task)
to_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


class Garbled(Exception):
    """What came is not a frame."""


def send(write: Callable[[memoryview], int], message: Task | Said) -> None:
    """Write one frame, whole. ``write`` may take less than it is given. ``OSError`` if nobody reads."""
    data = msgspec.json.encode(message, enc_hook=_plain)
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[write(rest) :]


def _plain(value: object) -> str:
    """The path of a step is a string to JSON; anything else that msgspec does not know is not data."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


def receive(read: Callable[[int], bytes]) -> bytes:
    """Read one frame. ``EOFError`` at the end, also in the middle of a frame; ``Garbled`` if it is too
    long."""
    (length,) = _LENGTH.unpack(_exactly(read, _LENGTH.size))
    if length > FRAME_LIMIT:
        raise Garbled(f"a frame of {length} bytes")
    return _exactly(read, length)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts = []
    while size:
        part = read(min(size, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def writer(descriptor: int) -> Callable[[memoryview], int]:
    """``write`` for a file descriptor."""
    return lambda data: os.write(descriptor, data)
