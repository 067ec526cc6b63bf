"""From a reference to what can be started: a file or NAME[@V], its text, the documents of its children, and
whether there is anybody here to carry out their activities.

A document whose text the database knows was checked when it became known: it is built from what is stored,
and neither YAML nor the schema is loaded for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowctl.errors import UnknownActivity, UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.document.closure import Closure
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.expressions import Function
    from flowctl.model import ChildReference, Workflow

DOCUMENT_SUFFIXES = (".yaml", ".yml", ".json")

_NAME = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)(?:@(?P<version>[1-9][0-9]{0,17}))?\Z")


def is_file(reference: str) -> bool:
    """Whether FILE or NAME[@V] is a file: by how it is written, not by what happens to lie around."""
    return reference.endswith(DOCUMENT_SUFFIXES) or os.sep in reference


def name_and_version(reference: str) -> tuple[str, int | None]:
    """The parts of NAME[@V]. ``UsageError``."""
    match = _NAME.match(reference)
    if match is None:
        raise UsageError(
            f"{reference!r} is neither a file nor a workflow's name",
            hint="a file ends in .yaml, .yml or .json, or has a folder in it; a name is order or order@2",
        )
    version = match["version"]
    return match["name"], int(version) if version else None


def read_source(reference: str) -> str | None:
    """The text of FILE, None for NAME[@V]. Read before a database is opened: a mistyped name makes none."""
    if not is_file(reference):
        return None
    from flowctl import document

    return document.read(Path(reference))


class Finder:
    """Finds documents in files and in a backend's registry. ``vocabulary`` is asked for the functions that
    expressions may call, ``warn`` is told that a version is deprecated, ``remark`` of a document's warnings.
    """

    def __init__(
        self,
        backend: Backend,
        vocabulary: Callable[[], Mapping[str, Function]],
        *,
        warn: Callable[[str], None],
        remark: Callable[[Sequence[Diagnostic]], None],
    ) -> None:
        self._backend = backend
        self._vocabulary = vocabulary
        self._warn = warn
        self._remark = remark

    def find(self, reference: str, source: str | None) -> tuple[Workflow, str]:
        """The document that FILE, whose text is ``source``, or NAME[@V] means, and its text.
        ``InvalidDocument``, ``NotFound``, ``UsageError``.
        """
        if source is None:
            return self.deployed(reference)
        return self.read(reference, source), source

    def read(self, name: str, source: str, *, to_deploy: bool = False) -> Workflow:
        """The document with this text; ``name`` is what messages call it. ``InvalidDocument``.

        One ``to_deploy`` is checked also if it is known: there are no files where it is going.
        """
        workflow = self._backend.known_document(source) if not to_deploy else None
        if workflow is None:
            from flowctl import document

            world = document.REGISTRY if to_deploy else document.NOWHERE
            loaded = document.load(source, name, functions=self._vocabulary(), world=world)
            workflow = loaded.workflow
            if loaded.warnings:
                self._remark(loaded.warnings)
        if workflow.deprecated is not None:
            self._deprecated(workflow, workflow.deprecated)
        return workflow

    def deployed(self, reference: str) -> tuple[Workflow, str]:
        """The deployed document that NAME[@V] means, and its text. ``NotFound``, ``UsageError``."""
        workflow, source, deprecated = self._backend.document(*name_and_version(reference))
        if deprecated is not None:
            self._deprecated(workflow, deprecated)
        return workflow, source

    def closure_of(
        self, workflow: Workflow, folder: Path | None, known: Mapping[str, Workflow] | None = None
    ) -> Closure | None:
        """The documents that the children of a workflow mean, now: those ``known`` by their references to
        whoever asks, files beside it (``folder``), or deployed versions. None if it has no children.
        ``NotFound``, ``InvalidDocument``, ``UsageError``.
        """
        if not workflow.children:
            return None
        from flowctl import document
        from flowctl.document.closure import Found, closure

        def resolve(reference: ChildReference, parent: Found[Path | None]) -> Found[Path | None]:
            text, beside = reference.text, parent.origin
            if known is not None and text in known:
                return Found(known[text], folder)
            if not is_file(text):
                return Found(self.deployed(text)[0], None)
            if beside is None:
                raise UsageError(
                    f"the deployed workflow {parent.workflow.name} refers to the file {text}",
                    hint="a deployed workflow has no folder: deploy the child too, and refer to it by its"
                    " name",
                )
            path = beside / text
            return Found(self.read(str(path), document.read(path)), path.parent)

        return closure(Found(workflow, folder), resolve)

    def _deprecated(self, workflow: Workflow, message: str) -> None:
        self._warn(f"{workflow.name}@{workflow.version} is deprecated: {message}")


def check_activities(
    workflow: Workflow, known: Collection[str], *, hint: str, about: Mapping[str, Any] | None = None
) -> None:
    """Refuse a workflow with activities that nobody registers, naming all of them. ``UnknownActivity``, with
    what there is to say ``about`` it in its details.
    """
    missing = sorted(workflow.activities - set(known))
    if missing:
        raise UnknownActivity(
            f"no plugin registers {', '.join(_with_nearest(name, known) for name in missing)}",
            hint=hint,
            details={"activities": missing, **(about or {})},
        )


def _with_nearest(name: str, known: Collection[str]) -> str:
    from flowctl.expressions.hints import nearest

    close = nearest(name, known)
    return f"{name} (did you mean {close}?)" if close else name
