"""Pictures of workflows and runs, as the API answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowctl.server.table import Answer

if TYPE_CHECKING:
    from flowctl.model import Workflow

Format = Literal["json", "svg", "mermaid", "dot"]

_MEDIA = {"svg": "image/svg+xml", "mermaid": "text/plain; charset=utf-8", "dot": "text/vnd.graphviz"}

MEDIA = ("application/json", *_MEDIA.values())
"""All there are, by their media types."""


class GraphQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which kind of picture."""

    format: Format = "json"


def picture(workflow: Workflow, chosen: Format, run: Mapping[str, Any] | None = None) -> Answer:
    """A workflow, or a run of it, drawn."""
    from flowctl.render import graph as drawing

    drawn = drawing.graph(workflow, run)
    if chosen == "json":
        return Answer(msgspec.to_builtins(drawn, enc_hook=str))
    writers = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}
    return Answer(writers[chosen](drawn), media=_MEDIA[chosen])
