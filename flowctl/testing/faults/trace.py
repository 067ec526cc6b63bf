"""What the watched calls did: the file that ``Plan.trace`` names, read."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator

_HEAD = struct.Struct("=IIqqQ")

MARK = "a"
"""The kind of what ``mark`` wrote; its text is ``data``."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call. ``kind`` is a letter of ``plan``; ``result`` is negative if it failed.

    ``data`` are the bytes that were written, or the new path of a rename; ``offset`` is where they were
    written, or the new length of a file that was truncated. An ``open`` that emptied the file has
    ``offset`` 1.
    """

    kind: str
    path: str
    result: int
    offset: int
    data: bytes


def read_trace(path: str | os.PathLike[str]) -> Iterator[Call]:
    """All calls of a trace, in order; a last one that is torn, because the process died, is left out."""
    with open(path, "rb") as file:
        trace = file.read()
    position = 0
    while position + _HEAD.size <= len(trace):
        kind, path_length, result, offset, length = _HEAD.unpack_from(trace, position)
        position += _HEAD.size
        end = position + path_length + length
        if end > len(trace):
            return
        name = trace[position : position + path_length].decode()
        yield Call(chr(kind), name, result, offset, trace[position + path_length : end])
        position = end
