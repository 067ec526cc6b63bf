"""What one branch of a run works with. A new concurrent branch gets a new one; nothing in it is shared."""

from __future__ import annotations

import dataclasses

from flowctl.interpreter.saga import Saga
from flowctl.interpreter.scope import Scope
from flowctl.model import Workflow
from flowctl.runtime import Runtime


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """The runtime to ask, the document, the names its expressions see, and what it registered to undo."""

    rt: Runtime
    workflow: Workflow
    scope: Scope
    saga: Saga
