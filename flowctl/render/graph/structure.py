"""What a picture of a workflow is made of, before anybody decides how it looks.

A workflow is a nest of lists, never a net, and the structure keeps it so: a ``Node`` is a step; one that is
made of steps is a cluster and holds them in ``Lane``s, lists that run one after the other. The arrows follow
from that: down each list, into a cluster and out of it, and dashed from a step to what undoes it. ``flow``
spells them out for the formats that need every arrow by itself.

All texts are on one line, printable and short (``words``): a writer has nothing left to do but what its own
format demands.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from flowctl.render.text import cut, escape

LIMIT = 160
"""Columns of a text. What is longer is for the document to tell, not for its picture."""

UNDO = "undo"
"""The verb of a node that undoes another."""

Kind = Literal["body", "loop", "case", "branch", "try", "catch", "finally"]


class State(msgspec.Struct, frozen=True):
    """Where a part of a run is: a status of ``flowctl.state``, and what else is to be said of it."""

    status: str
    note: str = ""


class Lane(msgspec.Struct, frozen=True):
    """A list of steps inside a cluster: the body of a loop, a case, a branch, a clause of ``try``."""

    key: str
    kind: Kind
    title: str
    nodes: tuple[Node, ...]

    @property
    def ends(self) -> bool:
        """Whether nothing can come after it: one of its steps always ends the run, or fails."""
        return any(node.ends and node.condition is None for node in self.nodes)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A step, and all that is drawn of it.

    ``key`` names it in the picture (``n7``); ``path`` is its path with ``[]`` for whatever iteration.
    ``verb`` is the step's, or ``undo``. ``rows`` hold the lanes of a cluster: those of one row stand side by
    side, each row beneath the one before. ``ends`` means that nothing after it runs. ``undo`` is what
    compensates it.
    """

    key: str
    path: str
    verb: str
    title: str
    detail: str = ""
    condition: str | None = None
    marks: tuple[str, ...] = ()
    rows: tuple[tuple[Lane, ...], ...] = ()
    ends: bool = False
    undo: Node | None = None
    state: State | None = None


class Graph(msgspec.Struct, frozen=True):
    """A workflow, or a run of it: then ``state`` and those of all nodes are there."""

    title: str
    description: str
    nodes: tuple[Node, ...]
    state: State | None = None


def words(value: Any) -> str:
    """A text, or data as JSON, on one line, with nothing invisible in it, and not too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(escape(" ".join(text[: 8 * LIMIT].split())), LIMIT)
