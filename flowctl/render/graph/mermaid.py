"""A picture as a mermaid flowchart, for what draws mermaid by itself: GitHub, GitLab, most wikis.

Nothing of what an author wrote is left to mermaid's grammar: keys are ours, texts stand in quotes, and every
character in them that could mean something to mermaid, to markdown or to HTML is an entity.

A workflow has the colours of its reader's theme. A run has our own, because they mean something.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flowctl.render.graph.flow import END, START, Edge, again, between, decision, edges, join
from flowctl.render.graph.labels import ending, labels
from flowctl.render.graph.palette import LIGHT, Colours, style
from flowctl.render.graph.structure import UNDO, Graph, Lane, Node

_SHAPES: Mapping[str, tuple[str, str]] = {
    "sleep": ('(["', '"])'),
    "wait_for_signal": ('(["', '"])'),
    "send_signal": ('>"', '"]'),
    "workflow": ('[["', '"]]'),
    "fail": ('[/"', '"/]'),
    "return": ('[/"', '"/]'),
    "continue_as_new": ('[/"', '"/]'),
}
"""What stands around the text of a node of that verb; of any other, a box."""

_BOX = ('["', '"]')
_DECISION = ('{{"', '"}}')
_TERMINAL = ('(["', '"])')
_JOIN = ('(("', '"))')
_ARROWS = {"flow": "-->", "error": "-.->", "undo": "-.->", "again": "-->"}
_LABELS = {"flow": "", "error": "fails", "undo": "undo", "again": "again"}

_PLAIN = frozenset(" ,.:_-/()=")


def mermaid(graph: Graph) -> str:
    """The flowchart, without a newline at its end."""
    return "\n".join(_Writer(graph).lines())


def encode(text: str) -> str:
    """``text`` as it may stand between quotes. What would begin a list of markdown is an entity too."""
    number, dot, rest = text.partition(".")
    if dot and number.isdecimal():
        return f"{_entities(number)}#46;{_entities(rest)}"
    return f"#45;{_entities(text[1:])}" if text.startswith("-") else _entities(text)


def _entities(text: str) -> str:
    return "".join(c if _plain(c) else f"#{ord(c)};" for c in text)


def _plain(character: str) -> bool:
    return character in _PLAIN or character.isalnum()


class _Writer:
    """``classes`` collects the keys of each class, which is said once, at the end."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._classes: dict[str, tuple[str, list[str]]] = {}

    def lines(self) -> Iterator[str]:
        graph = self._graph
        yield from ("---", f"title: {json.dumps(graph.title)}", "---", "flowchart TB")
        yield from _indented([_node(START, "start", _TERMINAL), *self._list(graph.nodes, START, END)])
        yield from _indented([_node(END, encode(ending(graph)), _TERMINAL)])
        if graph.state is not None:
            self._colour(style(graph.state), LIGHT.steps[style(graph.state)], END)
        yield from _indented(self._class_lines())

    def _list(self, nodes: Sequence[Node], start: str | None, end: str | None) -> Iterator[str]:
        for node in nodes:
            if node.condition is not None:
                yield _node(decision(node), encode(f"{node.condition}?"), _DECISION)
            yield from self._step(node)
            if node.undo is not None:
                yield from self._step(node.undo)
        yield from map(_arrow, edges(nodes, start, end))

    def _step(self, node: Node) -> Iterator[str]:
        self._look(node)
        texts = [encode(text) for text in labels(node)]
        if not node.rows:
            yield _node(node.key, "<br/>".join(texts), _SHAPES.get(node.verb, _BOX))
            return
        inside = [line for row in node.rows for lane in row for line in self._lane(lane)]
        yield from _subgraph(node.key, " · ".join(texts), [*inside, *map(_arrow, between(node.rows))])

    def _lane(self, lane: Lane) -> Iterator[str]:
        end = join(lane)
        inside = [*self._list(lane.nodes, None, end), *map(_arrow, again(lane))]
        if end is not None:
            inside.append(_node(end, " ", _JOIN))
        if not inside:
            inside.append(_node(f"{lane.key}_nothing", "nothing", _BOX))
        if not lane.title:
            yield from inside
            return
        if self._graph.state is not None:
            self._colour("lane", LIGHT.lane, lane.key)
        yield from _subgraph(lane.key, encode(lane.title), inside)

    # --- how nodes look

    def _look(self, node: Node) -> None:
        if node.state is not None:
            name = style(node.state)
            fill, line = LIGHT.steps[name]
            if node.rows:
                self._colour(f"{name}_frame", Colours(LIGHT.frame.fill, line), node.key)
            else:
                self._colour(name, Colours(fill, line), node.key)
        if node.verb == UNDO:
            self._class(UNDO, "stroke-dasharray:5 4", node.key)

    def _colour(self, name: str, colours: Colours, key: str) -> None:
        self._class(name, f"fill:{colours.fill},stroke:{colours.line},color:{LIGHT.text}", key)

    def _class(self, name: str, looks: str, key: str) -> None:
        self._classes.setdefault(name, (looks, []))[1].append(key)

    def _class_lines(self) -> Iterator[str]:
        for name, (looks, keys) in self._classes.items():
            yield f"classDef {name} {looks}"
            yield f"class {','.join(keys)} {name}"


def _node(key: str, label: str, shape: tuple[str, str]) -> str:
    return f"{key}{shape[0]}{label or ' '}{shape[1]}"


def _subgraph(key: str, label: str, inside: Iterable[str]) -> Iterator[str]:
    yield f'subgraph {key}["{label or " "}"]'
    yield from _indented(["direction TB", *inside])
    yield "end"


def _arrow(edge: Edge) -> str:
    label = edge.label or _LABELS[edge.kind]
    return f"{edge.source} {_ARROWS[edge.kind]}{f'|{label}|' if label else ''} {edge.target}"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)
