"""Paths: the durable names of step instances (language.md, section 3).

Two rules. A path is baked into journals and idempotency keys for ever, so its grammar lives here and
nowhere else. And a path is made by the interpreter alone, from the document's structure, never from data.

Grammar: ``segment ('.' segment)*``; a segment is an id, ``id[i]`` for the i-th iteration (from 0), or a
clause. The run itself is the empty path.
"""

from __future__ import annotations

import hashlib
import re

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


class Path(str):
    """The name of a step instance, a plain string to everyone but those who build one."""

    __slots__ = ()

    def __truediv__(self, segment: str) -> Path:
        return Path(f"{self}.{segment}" if self else segment)

    def iteration(self, index: int) -> Path:
        """The ``index``-th iteration of this loop, from 0: ``each_item[2]``."""
        return Path(f"{self}[{index}]")

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
        key = f"{run_id}/{self}"
        return key if len(key) <= KEY_LIMIT else hashlib.sha256(key.encode()).hexdigest()


ROOT = Path("")
"""The run itself."""


def reserved(word: str) -> bool:
    """Whether ``word`` is a clause and so cannot be an id or a branch."""
    return word in CLAUSES or bool(_NUMBERED_CLAUSE.match(word))
