"""All documents that a run can need: its own, its children's, and theirs.

Nothing is looked up here: whoever asks knows the registry and the files, and says so by ``resolve``. A
reference means what it means where it is written (``./ship.yaml`` is beside the document that says so), so a
run pins, for each of its documents, what each of its references stood for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from flowctl.document.diagnostics import shown
from flowctl.errors import InvalidDocument
from flowctl.model import ChildReference, Workflow

MAX_DOCUMENTS = 1_000
"""Documents of one run. A registry that answers every name with a new one would never come to an end."""

Origin = TypeVar("Origin")
"""Whatever ``resolve`` needs to know of where a document came from, such as its folder."""


class Closure(NamedTuple):
    """``documents`` by digest, the run's own among them; ``pins`` the digest that each reference, of the
    document with that digest, stands for.
    """

    documents: dict[str, Workflow]
    pins: dict[tuple[str, str], str]


class Found(NamedTuple, Generic[Origin]):
    """A document, and where it came from."""

    workflow: Workflow
    origin: Origin


def closure(
    root: Found[Origin], resolve: Callable[[ChildReference, Found[Origin]], Found[Origin]]
) -> Closure:
    """The documents that ``root`` reaches. ``resolve`` finds what a reference in a document stands for, and
    raises what it likes if there is none; each is asked once. A document may reach itself.

    ``InvalidDocument`` if there are more than ``MAX_DOCUMENTS``, or if the same document, found in two
    places, means different children.
    """
    made = Closure({root.workflow.digest: root.workflow}, {})
    visited: set[tuple[str, Origin]] = set()
    left = [root]
    while left:
        parent = left.pop()
        if (parent.workflow.digest, parent.origin) in visited:
            continue
        visited.add((parent.workflow.digest, parent.origin))
        for reference in parent.workflow.children:
            child = resolve(reference, parent)
            _pin(made, parent.workflow, reference, child.workflow)
            left.append(child)
    return made


def _pin(made: Closure, parent: Workflow, reference: ChildReference, child: Workflow) -> None:
    pinned = made.pins.setdefault((parent.digest, reference.text), child.digest)
    if pinned != child.digest:
        message = (
            f"{shown(reference.text)} of {parent.name} stands for two documents, depending on the folder"
        )
        raise InvalidDocument(message, [], hint="give the two parents different names or versions")
    made.documents[child.digest] = child
    if len(made.documents) > MAX_DOCUMENTS:
        raise InvalidDocument(f"a run cannot have more than {MAX_DOCUMENTS:,} documents", [])
