"""A document as data, with the place of every part of it.

``Tree`` is what the loader makes of a text: plain JSON, and beside it, by **pointer** (the keys and indexes
that lead to a value), where the value and its key stand. Places are kept beside the data rather than in it,
so that what is stored, hashed and executed is nothing but JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Place = tuple[int, int]
"""Line and column, both from 1."""

Pointer = tuple[str | int, ...]
"""The way from the top of a document to a value in it."""

START: Place = (1, 1)


class Tree(msgspec.Struct, frozen=True):
    """A document that was read.

    ``values`` and ``keys`` are the places of values and of their keys; ``broken`` the pointers whose value is
    not what the author wrote, because the loader refused it (an alias, a tag).
    """

    data: Any
    file: str
    lines: Sequence[str]
    values: Mapping[Pointer, Place]
    keys: Mapping[Pointer, Place]
    broken: frozenset[Pointer] = frozenset()

    def place(self, pointer: Pointer, *, key: bool = False) -> Place:
        """Where the value of ``pointer`` (or its key) stands, or the nearest part around it."""
        if key and pointer in self.keys:
            return self.keys[pointer]
        while pointer and pointer not in self.values:
            pointer = pointer[:-1]
        return self.values.get(pointer, START)

    def place_in(self, pointer: Pointer, text: str, offset: int) -> Place:
        """Where ``offset`` of ``text``, a part of the string at ``pointer``, stands.

        The text is looked for as it is, from where the value begins: escapes and folded lines make it differ
        from what is written, and then the place of the whole value has to do.
        """
        line, column = self.place(pointer)
        row = text.count("\n", 0, offset)
        wanted = text.split("\n")[row]
        within = offset - (text.rfind("\n", 0, offset) + 1)
        first = line - 1
        for number in range(first, min(first + row + 3, len(self.lines))):
            start = column - 1 if number == first else 0
            found = self.lines[number].find(wanted, start) if wanted.strip() else -1
            if found >= 0 and number - first >= row:
                return number + 1, found + within + 1
        return line, column

    def is_broken(self, pointer: Pointer) -> bool:
        """Whether the loader has refused the value of ``pointer``, or one that it is part of."""
        return bool(self.broken) and any(
            pointer[:length] in self.broken for length in range(len(pointer) + 1)
        )
