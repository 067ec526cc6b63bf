"""A picture as SVG that needs nothing but a browser: laid out here, light or dark as its reader is.

The file is ASCII, whatever it says, and valid XML: what came from outside was made printable
(``structure.words``) and is escaped where it is written (``drawing``). It names no font, file or address that
would have to be fetched.
"""

from __future__ import annotations

from html import escape

from flowctl.render.graph.blocks import part
from flowctl.render.graph.cards import terminal
from flowctl.render.graph.drawing import Drawing, Font, at, box, column, paragraph, write
from flowctl.render.graph.fonts import measure
from flowctl.render.graph.outline import outline
from flowctl.render.graph.structure import Graph
from flowctl.render.graph.stylesheet import ROOT, stylesheet

HEADING = Font("heading", 18, bold=True)
PROSE = Font("prose", 13)
MARGIN = 24.0
LEAST = 420.0
"""Width of the smallest picture, so that there is room for what it is called."""


def svg(graph: Graph) -> str:
    """The document, without a newline at its end."""
    end = graph.state.status.replace("_", " ") if graph.state else "end"
    steps = map(part, graph.nodes)
    flow = column([(terminal("start", None), False), *steps, (terminal(end, graph.state), True)])
    width = max(LEAST, flow.width, min(800.0, measure(graph.title, HEADING.size, bold=True)))
    heading = _heading(graph, width)
    body = at(heading, MARGIN, MARGIN)
    body += at(flow, MARGIN + (width - flow.width) / 2, heading.height + 2 * MARGIN)
    document = _document(graph, width + 2 * MARGIN, heading.height + flow.height + 3 * MARGIN, body)
    return document.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _heading(graph: Graph, width: float) -> Drawing:
    title = paragraph(graph.title, HEADING, width, 2)
    prose = paragraph(graph.description, PROSE, width, 4)
    markup = write(title, 0, 0) + write(prose, 0, title.height + 4)
    return Drawing(width, title.height + (4 + prose.height if prose.lines else 0), 0, markup)


def _document(graph: Graph, width: float, height: float, body: str) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    ids = [f"{ROOT}-title", f"{ROOT}-desc"]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{ROOT}" {size} role="img" '
        f'aria-labelledby="{" ".join(ids)}">\n'
        f'<title id="{ids[0]}">{escape(graph.title)}</title>\n'
        f'<desc id="{ids[1]}">{escape(" ".join(outline(graph)))}</desc>\n'
        f"<style>{stylesheet()}</style>\n"
        f"{box(0, 0, round(width), round(height), 'canvas', 10)}\n{body}\n</svg>"
    )
