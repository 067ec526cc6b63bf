"""What a worker says: a line for each run that it brings to an end, or cannot bring on, and a sum."""

from __future__ import annotations

from collections.abc import Mapping

from flowctl.clock import format_timestamp
from flowctl.render.layout import Json, Span, View, line
from flowctl.render.run import stands, why
from flowctl.render.signs import sign, words
from flowctl.render.text import escape
from flowctl.wall_clock import wall_clock


def ended(doc: Json) -> View:
    """A run that has ended, or needs somebody, on one line; from a document as ``list --json`` has them."""
    now = wall_clock()
    state = Span(stands(doc, now), words(doc["status"]).style)
    at, remark = format_timestamp(now)[11:19], _remark(doc)
    head = (Span(f"{at}  ", "dim"), sign(doc["status"]), " ", Span(escape(doc["id"]), "strong"))
    yield line(*head, "  ", state, Span(f", {remark}" if remark else "", "dim"))


def _remark(doc: Json) -> str:
    if doc["blocked"]:
        return escape(doc["blocked"]["reason"])
    return f"because of {why(doc['error'])}" if doc["error"] else ""


def worked(counts: Mapping[str, int]) -> View:
    """What came of a worker's life: how many runs ended how."""
    most_first = sorted(counts.items(), key=lambda each: -each[1])
    parts = [f"{count:,} {status.replace('_', ' ')}" for status, count in most_first]
    yield line(Span(f"the worker has stopped; runs that ended: {', '.join(parts) or 'none'}", "dim"))
