"""From the arguments of ``run`` to a ``StartRequest``: which document, which input, and whether it can run
here.

A document whose text the database knows was checked when it became known: it is built from what is stored,
and neither YAML nor the schema is loaded for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowctl.cli import output
from flowctl.cli.inputs import run_input
from flowctl.errors import UnknownActivity, UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend, StartRequest
    from flowctl.cli.options import Invocation
    from flowctl.document.closure import Closure
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


def request(
    invocation: Invocation,
    backend: Backend,
    reference: str,
    source: str | None,
    *,
    text: str | None,
    pairs: Sequence[str],
    id: str | None,
    principal: str | None,
) -> StartRequest:
    """What to start; ``source`` is from ``read_source``.

    ``InvalidDocument``, ``UsageError``, ``InvalidInput``, ``NotFound``, ``UnknownActivity``.
    """
    from flowctl.backends import StartRequest

    workflow, source = find(invocation, backend, reference, source)
    children = closure_of(
        invocation, backend, workflow, Path(reference).parent if is_file(reference) else None
    )
    for each in (workflow, *(children.documents.values() if children is not None else ())):
        check_activities(each, invocation.plugins.activities, invocation.settings.plugins_dirs)
    filled = run_input(text, pairs, workflow.input_schema)
    return StartRequest(workflow, source, filled, id=id, principal=principal, children=children)


def find(
    invocation: Invocation, backend: Backend, reference: str, source: str | None
) -> tuple[Workflow, str]:
    """The document that FILE, whose text is ``source``, or NAME[@V] means, and its text."""
    if source is None:
        return _deployed(backend, reference)
    return _read(invocation, backend, reference, source), source


def closure_of(
    invocation: Invocation, backend: Backend, workflow: Workflow, folder: Path | None
) -> Closure | None:
    """The documents that the children of a workflow mean, now: files beside it (``folder``), or deployed
    versions. None if it has no children. ``NotFound``, ``InvalidDocument``, ``UsageError``.
    """
    if not workflow.children:
        return None
    from flowctl import document
    from flowctl.document.closure import Found, closure

    def resolve(reference: ChildReference, parent: Found[Path | None]) -> Found[Path | None]:
        text, beside = reference.text, parent.origin
        if not is_file(text):
            return Found(_deployed(backend, text)[0], None)
        if beside is None:
            raise UsageError(
                f"the deployed workflow {parent.workflow.name} refers to the file {text}",
                hint="a deployed workflow has no folder: deploy the child too, and refer to it by its name",
            )
        path = beside / text
        return Found(_read(invocation, backend, str(path), document.read(path)), path.parent)

    return closure(Found(workflow, folder), resolve)


def _read(invocation: Invocation, backend: Backend, name: str, source: str) -> Workflow:
    workflow = backend.known_document(source)
    if workflow is None:
        from flowctl import document

        loaded = document.load(source, name, functions=invocation.plugins.vocabulary)
        workflow = loaded.workflow
        if loaded.warnings:
            from flowctl import render

            output.complain(render.diagnostics(loaded.warnings))
    if workflow.deprecated is not None:
        _warn_deprecated(workflow, workflow.deprecated)
    return workflow


def _deployed(backend: Backend, reference: str) -> tuple[Workflow, str]:
    workflow, source, deprecated = backend.document(*name_and_version(reference))
    if deprecated is not None:
        _warn_deprecated(workflow, deprecated)
    return workflow, source


def _warn_deprecated(workflow: Workflow, message: str) -> None:
    output.warn(f"{workflow.name}@{workflow.version} is deprecated: {message}")


def check_activities(workflow: Workflow, known: Collection[str], folders: Sequence[str]) -> None:
    """Refuse a workflow with activities that nobody registers, naming all of them. ``UnknownActivity``."""
    missing = sorted(workflow.activities - set(known))
    if missing:
        loaded = f"plugins were loaded from {', '.join(folders)}" if folders else "no --plugins-dir was given"
        raise UnknownActivity(
            f"no plugin registers {', '.join(_with_nearest(name, known) for name in missing)}",
            hint=f"{loaded}; `flowctl plugins` shows what is there",
            details={"activities": missing, "plugins_dirs": list(folders)},
        )


def _with_nearest(name: str, known: Collection[str]) -> str:
    from flowctl.expressions.hints import nearest

    close = nearest(name, known)
    return f"{name} (did you mean {close}?)" if close else name
