"""A picture in sentences, for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowctl.render.graph.structure import Graph, Node


def outline(graph: Graph) -> Iterator[str]:
    """A sentence for the whole, and one for each step, numbered as the parts of a text are."""
    if graph.description:
        yield graph.description
    if graph.state is not None:
        yield f"The run is {graph.state.status.replace('_', ' ')}."
    yield from _list(graph.nodes, "")


def _list(nodes: Sequence[Node], number: str) -> Iterator[str]:
    for position, node in enumerate(nodes, 1):
        yield from _step(node, f"{number}{position}.")


def _step(node: Node, number: str) -> Iterator[str]:
    condition = f"if {node.condition}: " if node.condition is not None else ""
    says = [node.title, node.detail, *node.marks]
    if node.state is not None:
        says += [node.state.status.replace("_", " "), node.state.note]
    if node.undo is not None:
        says.append(f"undone by {node.undo.title}")
    yield f"{number} {condition}{', '.join(filter(None, says))}."
    for lane in (lane for row in node.rows for lane in row):
        if lane.title:
            yield f"{number} {lane.title}:"
        yield from _list(lane.nodes, number)
