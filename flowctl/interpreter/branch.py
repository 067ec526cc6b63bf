"""What one branch of a run works with. A new concurrent branch gets a new one; nothing in it is shared
but ``bound``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from flowctl.interpreter.saga import Saga
from flowctl.interpreter.scope import Scope
from flowctl.model import Workflow
from flowctl.path import ROOT, Path
from flowctl.runtime import Runtime


class Branch(msgspec.Struct, frozen=True, eq=False):
    """The runtime to ask, the document, the names its expressions see, and what it registered to undo.

    ``root`` is the path of the branch or iteration, ``bound`` the versions of changes that the run is
    bound to.
    """

    rt: Runtime
    workflow: Workflow
    scope: Scope
    saga: Saga
    root: Path = ROOT
    bound: dict[str, int] = {}

    def fork(self) -> Branch:
        """This branch as it is now, for parts that run at once: what they bring forth, a join decides."""
        return Branch(self.rt, self.workflow, self.scope.inner((), {}), self.saga, self.root, self.bound)

    def inner(self, root: Path, ids: Iterable[str], names: dict[str, Any]) -> Branch:
        """A branch or an iteration inside this one, whose expressions also see ``names``."""
        scope = self.scope.inner(ids, names)
        return Branch(self.rt, self.workflow, scope, Saga(self.saga), root, self.bound)
