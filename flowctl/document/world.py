"""What is known of the place where a document is checked, beside the document itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowctl.activities import Activity


class World(NamedTuple):
    """``activities`` are the registered ones by name, None if unknown; a signature may be missing.
    ``complete``: there are no others. ``folder`` is where the document is, None if nobody knows.
    ``deployed``: it is found in a registry, where no file is beside it.
    """

    activities: Mapping[str, Activity | None] | None = None
    complete: bool = True
    folder: Path | None = None
    deployed: bool = False


NOWHERE = World()
"""Where nothing is known, and so nothing that is not in the document is judged."""

REGISTRY = World(deployed=True)
"""The same of a document that is to be deployed: its children must be, too."""
