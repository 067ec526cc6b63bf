"""Where in an expression something stands, so that every problem can point at it."""

from __future__ import annotations

from typing import Any

import msgspec

from flowctl.errors import ExpressionError
from flowctl.expressions.frame import Code, Frame, Problem

_SHOWN = 60


class Place(msgspec.Struct, frozen=True):
    """The part of ``source`` from ``start`` to ``end``."""

    source: str
    start: int
    end: int

    @property
    def text(self) -> str:
        """The part as its author wrote it, on one line and not too long."""
        text = " ".join(self.source[self.start : self.end].split())
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

    def until(self, end: int) -> Place:
        """The part with the same start that ends at ``end``."""
        return Place(self.source, self.start, end)

    def error(self, message: str, hint: str | None = None) -> ExpressionError:
        return ExpressionError(message, source=self.source, offset=self.start, hint=hint)

    def guard(self, code: Code) -> Code:
        """The same code, whose problems have this place."""

        def guarded(frame: Frame) -> Any:
            try:
                return code(frame)
            except Problem as problem:
                raise self.error(problem.message, problem.hint) from problem.__cause__

        return guarded
