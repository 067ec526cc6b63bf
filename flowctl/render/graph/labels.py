"""What is written on a step where a label is all there is: formats that draw by themselves."""

from __future__ import annotations

from flowctl.render.graph.structure import UNDO, Graph, Node, State
from flowctl.render.signs import SIGNS

_UNDO = SIGNS["compensated"][0]


def labels(node: Node) -> list[str]:
    """The lines of a label: sign and title, what the step does, and what else is to be said of it."""
    note = node.state.note if node.state is not None else ""
    remarks = ", ".join(filter(None, (*node.marks, note)))
    return [f"{_sign(node)}{node.title}", *filter(None, (node.detail, remarks))]


def ending(graph: Graph) -> str:
    """The label of the end: how a run ended, or where it is."""
    return _with_sign(graph.state, graph.state.status.replace("_", " ")) if graph.state else "end"


def _sign(node: Node) -> str:
    """That of its state; what undoes and was not asked to yet shows that it undoes."""
    idle = node.state is None or node.state.status == "pending"
    return f"{_UNDO} " if node.verb == UNDO and idle else _with_sign(node.state, "")


def _with_sign(state: State | None, text: str) -> str:
    return f"{SIGNS[state.status][0]} {text}" if state is not None else text
