"""The command that draws: graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import NotFound

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.model import Workflow
    from flowctl.render.graph import Graph

FORMATS = ("text", "mermaid", "dot", "svg")


@click.command(cls=Command)
@click.argument("reference", metavar="FILE|RUN")
@click.option(
    "--format",
    "chosen",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="A tree of lines, a mermaid flowchart, a Graphviz graph, or a picture for browsers.",
)
@click.pass_obj
def graph(invocation: Invocation, reference: str, chosen: str) -> None:
    """Draw a workflow, or a run with the states of its steps.

    What ends in .yaml, .yml or .json or has a folder in it is a file; anything else is a run: an id, the
    beginning of one, or @last. A run is drawn with the document it was started with.
    """
    from flowctl.render import graph as drawing

    picture = _picture(invocation, reference)
    if chosen == "text" and not invocation.json:
        output.show(drawing.text(picture))
        return
    written = _written(picture, chosen)
    if invocation.json:
        output.write_json({"format": chosen, "graph": written})
    else:
        output.write(written)


def _written(picture: Graph, chosen: str) -> str:
    from flowctl.render import graph as drawing
    from flowctl.render.plain import lines

    if chosen == "text":
        return "\n".join(lines(drawing.text(picture)))
    writers = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}
    return writers[chosen](picture)


def _picture(invocation: Invocation, reference: str) -> Graph:
    from flowctl import document
    from flowctl.cli.starting import DOCUMENT_SUFFIXES, is_file
    from flowctl.render.graph import graph as draw

    if is_file(reference) and (reference.endswith(DOCUMENT_SUFFIXES) or Path(reference).exists()):
        source = document.read(Path(reference))
        return draw(document.load(source, reference, functions=invocation.plugins.vocabulary).workflow)
    with invocation.reader() as backend:
        run = backend.status(backend.resolve(reference), first=1, count=sys.maxsize)
        return draw(_pinned(invocation, backend, run), run)


def _pinned(invocation: Invocation, backend: Backend, run: dict[str, Any]) -> Workflow:
    """The document that a run has: an export of the run has it too. ``NotFound``."""
    from flowctl import document

    header = next(backend.export(run["id"]))
    for found in header["documents"]:
        if found["digest"] == run["digest"]:
            return document.build(found["body"], found["digest"], invocation.plugins.vocabulary)
    raise NotFound(f"the document of run {run['id']} is missing from the database")
