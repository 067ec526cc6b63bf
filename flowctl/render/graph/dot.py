"""A picture as a graph of Graphviz, for those who want to lay it out or to work on it themselves.

Graphviz has no arrows from or to clusters: they lead to nodes inside and are cut at the border (``lhead``,
``ltail``). So each cluster has two points that are not seen, above and below what is in it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flowctl.render.graph.flow import END, START, Edge, again, between, decision, edges, entry, join
from flowctl.render.graph.labels import ending, labels
from flowctl.render.graph.palette import LIGHT, Colours, style
from flowctl.render.graph.structure import UNDO, Graph, Lane, Node, State

_SHAPES: Mapping[str, str] = {
    "sleep": "octagon",
    "wait_for_signal": "octagon",
    "send_signal": "cds",
    "workflow": "box3d",
    "fail": "parallelogram",
    "return": "parallelogram",
    "continue_as_new": "parallelogram",
}
"""The shape of a node of that verb; of any other, a rounded box."""

_FONT = f'fontname="Helvetica,Arial,sans-serif", fontcolor="{LIGHT.text}"'
_LINE = f'color="{LIGHT.flow}"'
_HEAD = (
    "compound=true",
    "nodesep=0.3",
    "ranksep=0.22",
    f'bgcolor="{LIGHT.canvas}"',
    f"graph [{_FONT}, fontsize=12, labeljust=l]",
    f'node [{_FONT}, {_LINE}, fontsize=12, shape=box, style="rounded,filled", fillcolor="{LIGHT.canvas}"]',
    f"edge [{_FONT}, {_LINE}, fontsize=10, arrowsize=0.7]",
)
_EDGES = {
    "flow": "",
    "error": f'style=dashed, color="{LIGHT.error}", label="fails"',
    "undo": "style=dashed, arrowhead=empty",
    "again": 'constraint=false, label="again"',
}
_UNSEEN = "style=invis"
_POINT = 'shape=point, width=0.06, label=""'
_LONGEST = 44
"""Characters of a line of a label."""


def dot(graph: Graph) -> str:
    """The digraph, without a newline at its end."""
    return "\n".join(_Writer().lines(graph))


def quote(text: str) -> str:
    r"""``text`` as a string of DOT. ``&`` would begin an entity, ``\`` an escape."""
    return '"' + text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Writer:
    """``clusters`` are the keys of what is drawn as one, as far as it is written."""

    def __init__(self) -> None:
        self._clusters: set[str] = set()

    def lines(self, graph: Graph) -> Iterator[str]:
        yield f"digraph {quote(graph.title)} {{"
        yield from _indented([*_HEAD, f"label={_label([graph.title])}", "labelloc=t"])
        yield f'    {START} [label="start", shape=oval]'
        yield f"    {END} [label={quote(ending(graph))}, shape=oval{_colours(graph.state)}]"
        yield from _indented(self._list(graph.nodes, START, END))
        yield "}"

    def _list(self, nodes: Sequence[Node], start: str | None, end: str | None) -> Iterator[str]:
        for node in nodes:
            if node.condition is not None:
                yield f"{decision(node)} [label={_label([f'{node.condition}?'])}, shape=hexagon]"
            yield from self._step(node)
            if node.undo is not None:
                yield from self._step(node.undo)
                if not node.rows and not node.undo.rows:
                    yield f"{{rank=same; {node.key}; {node.undo.key}}}"
        yield from map(self._arrow, edges(nodes, start, end))

    def _step(self, node: Node) -> Iterator[str]:
        dashed = ",dashed" if node.verb == UNDO else ""
        if node.rows:
            line = LIGHT.steps[style(node.state)].line if node.state else LIGHT.frame.line
            looks = f'style="rounded,filled{dashed}"; {_both(Colours(LIGHT.frame.fill, line), ";")}'
            yield from self._cluster(node.key, _label(labels(node), "\\l"), looks, self._rows(node))
            return
        shape = _SHAPES.get(node.verb)
        looks = f'shape={shape}, style="filled"' if shape else f'style="rounded,filled{dashed}"'
        yield f"{node.key} [label={_label(labels(node))}, {looks}{_colours(node.state)}]"

    def _rows(self, node: Node) -> Iterator[str]:
        for row in node.rows:
            for lane in row:
                yield from self._lane(lane, node.key)
        yield from map(self._arrow, between(node.rows))

    def _lane(self, lane: Lane, around: str) -> Iterator[str]:
        """A lane is a cluster in a cluster; its steps are held between the points of those."""
        inside = list(self._steps(lane, lane.key if lane.title else around))
        if not lane.title:
            yield from inside
            return
        looks = f'style="rounded,filled"; {_both(LIGHT.lane, ";")}'
        yield from self._cluster(lane.key, _label([lane.title], "\\l"), looks, inside)
        yield _unseen(_top(around), _top(lane.key))
        yield _unseen(_bottom(lane.key), _bottom(around))

    def _steps(self, lane: Lane, around: str) -> Iterator[str]:
        end = join(lane)
        if end is not None:
            yield f"{end} [{_POINT}]"
        yield from self._list(lane.nodes, None, end)
        yield from map(self._arrow, again(lane))
        first = self._target(entry(lane.nodes[0])) if lane.nodes else _bottom(around)
        yield _unseen(_top(around), first)
        if lane.nodes:
            yield _unseen(end or self._source(lane.nodes[-1].key), _bottom(around))

    def _cluster(self, key: str, label: str, looks: str, inside: Iterable[str]) -> Iterator[str]:
        yield f"subgraph cluster_{key} {{"
        yield from _indented([f"label={label}; {looks}", f"{_top(key)} [{_POINT}, {_UNSEEN}]"])
        yield from _indented(inside)
        yield from _indented([f"{_bottom(key)} [{_POINT}, {_UNSEEN}]"])
        yield "}"
        self._clusters.add(key)

    def _arrow(self, edge: Edge) -> str:
        attributes = [
            _EDGES[edge.kind],
            f"label={quote(edge.label)}" if edge.label else "",
            f"ltail=cluster_{edge.source}" if edge.source in self._clusters else "",
            f"lhead=cluster_{edge.target}" if edge.target in self._clusters else "",
        ]
        shown = ", ".join(filter(None, attributes))
        return f"{self._source(edge.source)} -> {self._target(edge.target)} [{shown}]"

    def _source(self, key: str) -> str:
        return _bottom(key) if key in self._clusters else key

    def _target(self, key: str) -> str:
        return _top(key) if key in self._clusters else key


def _top(key: str) -> str:
    return f"{key}_top"


def _bottom(key: str) -> str:
    return f"{key}_bottom"


def _unseen(source: str, target: str) -> str:
    return f"{source} -> {target} [{_UNSEEN}]"


def _label(texts: Sequence[str], newline: str = "\\n") -> str:
    """Texts as lines of a label, long ones as several. ``newline`` says where they stand."""
    lines = [line for text in texts for line in textwrap.wrap(text, _LONGEST)]
    end = newline if len(lines) > 1 else ""
    return '"' + newline.join(quote(line)[1:-1] for line in lines) + end + '"'


def _colours(state: State | None) -> str:
    return f", {_both(LIGHT.steps[style(state)], ',')}" if state is not None else ""


def _both(colours: Colours, separator: str) -> str:
    return f'fillcolor="{colours.fill}"{separator} color="{colours.line}"'


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)
