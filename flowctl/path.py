"""Paths: the durable names of step instances (language.md, section 3).

Two rules. A path is baked into journals and idempotency keys for ever, so its grammar lives here and
nowhere else. And a path is made by the interpreter alone, from the document's structure, never from data.

Grammar: ``segment ('.' segment)*``; a segment is an id, ``id[i]`` for the i-th iteration (from 0), or a
clause. The run itself is the empty path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

CLAUSES = frozenset({"else", "try", "finally", "undo"})
"""Words with a meaning in paths; with ``case_N`` and ``catch_N`` they are reserved for ids and branches."""

ID = re.compile(r"[a-z_][a-z0-9_]*\Z")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")
SIGNAL = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")
WORKFLOW = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*\Z")

KEY_LIMIT = 200
"""Characters of an idempotency key; a longer one is replaced by its sha256, which every service accepts."""

_NUMBERED_CLAUSE = re.compile(r"(case|catch)_[0-9]+\Z")
_PATH = re.compile(r"[a-z_][a-z0-9_]*(\[[0-9]+\])?(\.[a-z_][a-z0-9_]*(\[[0-9]+\])?)*\Z")
_INSTANCE = re.compile(r"^_run[0-9]+\.|\[[0-9]+\]")
"""What a path has beyond the step's place: an earlier run of its chain, and iterations."""


class Path(str):
    """The name of a step instance, a plain string to everyone but those who build one."""

    __slots__ = ()

    def __truediv__(self, segment: str) -> Path:
        return Path(f"{self}.{segment}" if self else segment)

    def iteration(self, index: int) -> Path:
        """The ``index``-th iteration of this loop, from 0: ``each_item[2]``."""
        return Path(f"{self}[{index}]")

    def ancestors(self) -> Iterator[Path]:
        """This path and all that it is within, but for the run: ``a[2].b``, ``a[2]``, ``a``."""
        path: str = self
        while path:
            yield Path(path)
            cut = max(path.rfind("."), path.rfind("["))
            path = path[: max(cut, 0)]

    def is_within(self, other: str) -> bool:
        """Whether this is ``other``, or something inside it; everything is inside the run."""
        return not other or (self.startswith(other) and self[len(other) : len(other) + 1] in ("", ".", "["))

    @property
    def place(self) -> str:
        """Where the step stands in the document: ``each_item[2].pack`` at ``each_item.pack``."""
        return _INSTANCE.sub("", self)

    @property
    def undo(self) -> Path:
        """Where this step's compensation runs: ``charge.undo``."""
        return self / "undo"

    @classmethod
    def parse(cls, text: str) -> Path:
        """A path from outside (an option, a journal); raises ``ValueError`` if it does not follow the
        grammar.
        """
        if not _PATH.match(text):
            raise ValueError(f"{text!r} is not a step path (such as charge, or each_item[2].pack)")
        return cls(text)

    def idempotency_key(self, run_id: str) -> str:
        """``RUN_ID/PATH``, the same for every attempt of this step instance; its sha256 when over
        ``KEY_LIMIT``.
        """
        key = run_id + "/" + self  # in an f-string a subclass of str takes three times as long
        return key if len(key) <= KEY_LIMIT else hashlib.sha256(key.encode()).hexdigest()

    def child_id(self, run_id: str, attempt: int) -> str:
        """The id of the run that this step of a run starts: ``RUN/PATH``, and ``#2`` from its second
        attempt.
        """
        return f"{run_id}/{self}" if attempt < 2 else f"{run_id}/{self}#{attempt}"


ROOT = Path("")
"""The run itself."""


def chain_number(run_id: str) -> int:
    """The place of a run in its chain, from 1: ``order~3`` is the third."""
    _, tilde, number = run_id.rpartition("~")
    return int(number) if tilde and number.isdecimal() else 1


def reserved(word: str) -> bool:
    """Whether ``word`` is a clause and so cannot be an id or a branch."""
    return word in CLAUSES or bool(_NUMBERED_CLAUSE.match(word))
