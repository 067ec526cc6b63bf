"""The arrows of a picture one by one, for formats that place the nodes themselves.

A step with a condition has a *decision* before it, a node of its own, with an arrow past the step. Where that
would lead out of a list, the list has a *join* at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from flowctl.render.graph.structure import Lane, Node

START, END = "start", "finish"
"""Where the workflow begins and where it ends."""


class Edge(NamedTuple):
    """An arrow from key to key. ``error`` leads to a catch, ``undo`` to what compensates, ``again`` back to
    the beginning of a loop.
    """

    source: str
    target: str
    kind: Literal["flow", "error", "undo", "again"] = "flow"
    label: str = ""


def decision(node: Node) -> str:
    """The key of the decision before a node that has a condition."""
    return f"{node.key}_if"


def entry(node: Node) -> str:
    """The key of what an arrow to a node leads to: the decision before it, if there is one."""
    return decision(node) if node.condition is not None else node.key


def join(lane: Lane) -> str | None:
    """The key of the join at the end of a lane, if it has one."""
    last = lane.nodes[-1] if lane.nodes else None
    return f"{lane.key}_end" if last is not None and last.condition is not None else None


def edges(nodes: Sequence[Node], start: str | None, end: str | None) -> Iterator[Edge]:
    """The arrows along a list, and from each step to what undoes it; not those inside of a step."""
    open_ends = [Edge(start, "")] if start else []
    for node in nodes:
        first = entry(node)
        yield from (loose._replace(target=first) for loose in open_ends)
        if node.condition is not None:
            yield Edge(first, node.key, label="yes")
        if node.undo is not None:
            yield Edge(node.key, node.undo.key, "undo")
        skipped = [Edge(first, "", label="no")] if node.condition is not None else []
        open_ends = ([] if node.ends else [Edge(node.key, "")]) + skipped
    if end:
        yield from (loose._replace(target=end) for loose in open_ends)


def again(lane: Lane) -> Iterator[Edge]:
    """The arrow back in a loop that comes to its end; none from a cluster to itself, which has no room."""
    if lane.kind != "loop" or not lane.nodes:
        return
    first, last = lane.nodes[0], lane.nodes[-1]
    if (last.ends and last.condition is None) or (first is last and first.rows):
        return
    yield Edge(join(lane) or last.key, entry(first), "again")


def between(rows: Sequence[Sequence[Lane]]) -> Iterator[Edge]:
    """The arrows from lane to lane of a cluster: to the catches, and to what comes finally."""
    for lane in rows[0][1:]:
        if lane.kind == "catch":
            yield Edge(rows[0][0].key, lane.key, "error")
    for before, after in pairwise(rows):
        yield from (Edge(lane.key, after[0].key) for lane in before)
