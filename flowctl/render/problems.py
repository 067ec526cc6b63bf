"""What is wrong, and what to do about it: errors, diagnostics of documents, the state of the installation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from flowctl.render.layout import EMPTY, Column, Line, Row, Span, Style, Table, View, line
from flowctl.render.text import escape

_SEVERITIES: Mapping[str, Style] = {"error": "bad", "warning": "warn"}


class Diagnostic(Protocol):
    """What a diagnostic must be able to do: see ``document.diagnostics``."""

    @property
    def severity(self) -> str:
        """``error`` or ``warning``."""

    def render(self) -> str:
        """Its head, and the line it is about with a caret."""


def error(text: str) -> View:
    """An error as it is worded for people: ``error[CODE]: what, what to do``, and what stands beneath it."""
    first, *more = text.split("\n")
    yield _head(first)
    for rest in more:
        yield line(Span(escape(rest), "warn" if rest.strip() == "^" else ""))


def diagnostics(found: Sequence[Diagnostic]) -> View:
    """The mistakes and warnings of a document, with their places, then how many there are."""
    for diagnostic in found:
        yield from error(diagnostic.render())
        yield EMPTY
    counts = Counter(diagnostic.severity for diagnostic in found)
    if len(found) > 1:
        parts = [_count(counts[severity], severity) for severity in _SEVERITIES if counts[severity]]
        yield line(Span(", ".join(parts), _SEVERITIES["error" if counts["error"] else "warning"]))


def _head(text: str) -> Line:
    """``error[CODE]`` in its colour, the sentence strong enough to be seen first."""
    label, colon, rest = text.partition(":")
    style = _SEVERITIES.get(label.partition("[")[0])
    if not colon or style is None:
        return line(escape(text))
    return line(Span(escape(label) + colon, style), escape(rest))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_CHECKS: Mapping[str, Span] = {
    "ok": Span("✓", "good"),
    "warning": Span("!", "warn"),
    "error": Span("✗", "bad"),
}


def doctor(checks: Iterable[Mapping[str, Any]]) -> View:
    """Checks of the installation: ``{name, status: ok, warning or error, message, hint}``."""
    rows = []
    for check in checks:
        hint = escape(check["hint"] or "")
        cells = (
            line(_CHECKS[check["status"]], "  ", Span(escape(check["name"]), "strong")),
            line(escape(check["message"])),
        )
        rows.append(Row(cells, [line("   ", Span(hint, "dim"))] if hint else []))
    yield Table([Column(), Column()], rows, indent=0)
