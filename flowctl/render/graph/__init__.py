"""Pictures of workflows and of their runs.

``graph`` makes one structure (``structure``) of a workflow and, if there is one, the status document of a
run; ``states`` folds the states of the run's steps into it. Each format is a writer that knows nothing but
that structure: ``text``, ``mermaid``, ``dot`` and ``svg``. None of them needs another program.
"""

from __future__ import annotations

from flowctl.render.graph.build import graph
from flowctl.render.graph.dot import dot
from flowctl.render.graph.mermaid import mermaid
from flowctl.render.graph.structure import Graph
from flowctl.render.graph.svg import svg
from flowctl.render.graph.text import text

__all__ = ["Graph", "dot", "graph", "mermaid", "svg", "text"]
