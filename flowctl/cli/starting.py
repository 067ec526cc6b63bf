"""From the arguments of ``run`` to a ``StartRequest``: which document, which input, and whether it can run
here. What a reference means, ``backends.finding`` knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowctl.backends import finding
from flowctl.backends.finding import DOCUMENT_SUFFIXES, Finder, is_file, name_and_version, read_source
from flowctl.cli import output
from flowctl.cli.inputs import run_input

if TYPE_CHECKING:
    from flowctl.backends import Backend, StartRequest
    from flowctl.cli.options import Invocation
    from flowctl.document.closure import Closure
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.model import Workflow

__all__ = [
    "DOCUMENT_SUFFIXES",
    "check_activities",
    "closure_of",
    "find",
    "is_file",
    "name_and_version",
    "read_source",
    "request",
]


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
    return _finder(invocation, backend).find(reference, source)


def closure_of(
    invocation: Invocation, backend: Backend, workflow: Workflow, folder: Path | None
) -> Closure | None:
    """The documents that the children of a workflow mean, now: see ``Finder``."""
    return _finder(invocation, backend).closure_of(workflow, folder)


def check_activities(workflow: Workflow, known: Collection[str], folders: Sequence[str]) -> None:
    """Refuse a workflow with activities that nobody registers, naming all of them. ``UnknownActivity``."""
    loaded = f"plugins were loaded from {', '.join(folders)}" if folders else "no --plugins-dir was given"
    hint = f"{loaded}; `flowctl plugins` shows what is there"
    finding.check_activities(workflow, known, hint=hint, about={"plugins_dirs": list(folders)})


def _finder(invocation: Invocation, backend: Backend) -> Finder:
    return Finder(backend, lambda: invocation.plugins.vocabulary, warn=output.warn, remark=_remark)


def _remark(warnings: Sequence[Diagnostic]) -> None:
    from flowctl import render

    output.complain(render.diagnostics(warnings))
