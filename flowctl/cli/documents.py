"""Commands about documents and the registry: validate, deploy, workflows, deprecate, schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.errors import in_one_line
from flowctl.cli.options import Command, Invocation
from flowctl.errors import InvalidDocument, UsageError
from flowctl.state import LIVE

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.document import Loaded
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.model import Workflow
    from flowctl.plugins import Plugins

MAX_OPEN = 1_000
"""Open runs that are listed of one workflow."""

NOT_CHECKED = (
    "whether open runs fit a new version is not checked; they go on with the document they were started with"
)


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Take warnings for mistakes.")
@click.pass_obj
def validate(invocation: Invocation, files: Sequence[str], strict: bool) -> int:
    """Show every mistake and warning of documents.

    Exit code 2 if there is a mistake; with --strict also if there is a warning.
    """
    found = [item for file in files for item in _examine(file, invocation.plugins)]
    if invocation.json:
        output.write_json([item.to_json() for item in found])
    else:
        _show(found, files)
    severities = {item.severity for item in found}
    return UsageError.exit_code if "error" in severities or (strict and severities) else 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Unreadable:
    """A file that cannot be read: for ``validate`` a mistake like any other, but without a place."""

    file: str
    error: UsageError
    severity: str = "error"

    def render(self) -> str:
        return in_one_line(self.error)

    def to_json(self) -> dict[str, Any]:
        what = {"code": self.error.code, "severity": self.severity, "message": self.error.message}
        return {**what, "file": self.file, "line": None, "column": None, "hint": self.error.hint}


def _examine(file: str, plugins: Plugins) -> Sequence[Diagnostic | _Unreadable]:
    """What is to be said about one file."""
    from flowctl import document

    try:
        known, functions = plugins.activities, plugins.vocabulary
        return document.load(document.read(Path(file)), file, activities=known, functions=functions).warnings
    except InvalidDocument as error:
        return error.diagnostics
    except UsageError as error:
        return [_Unreadable(file, error)]


def _show(found: Sequence[Diagnostic | _Unreadable], files: Sequence[str]) -> None:
    from flowctl import render

    if found:
        output.complain(render.diagnostics(found))
    faulty = {item.file for item in found}
    for file in files:
        if file not in faulty:
            output.write(f"{render.escape(file)}: valid")


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.pass_obj
def deploy(invocation: Invocation, files: Sequence[str]) -> None:
    """Register documents under their names and versions.

    All files are checked before the first is registered. A version once deployed cannot change.
    """
    loaded = _load_all(files, invocation.plugins)
    with invocation.backend() as backend:
        deployed = [(found.workflow, backend.deploy(found.workflow, found.source)) for found in loaded]
        open_runs = _open_runs(backend, [found.workflow.name for found in loaded])
    if invocation.json:
        listed = [_identity(workflow) | {"created": created} for workflow, created in deployed]
        output.write_json({"deployed": listed, "open_runs": open_runs})
        return
    for workflow, created in deployed:
        output.write(
            f"{workflow.name}@{workflow.version} " + ("deployed" if created else "was deployed already")
        )
    if open_runs:
        output.say(f"{len(open_runs)} open runs: {NOT_CHECKED}")


def _load_all(files: Sequence[str], plugins: Plugins) -> list[Loaded]:
    """All documents, or the mistakes of all of them. ``InvalidDocument``, ``UsageError``."""
    from flowctl import document

    loaded, mistakes = [], []
    for file in files:
        try:
            loaded.append(document.load(document.read(Path(file)), file, functions=plugins.vocabulary))
        except InvalidDocument as error:
            mistakes += error.diagnostics
    if mistakes:
        raise InvalidDocument("nothing was deployed", mistakes)
    if warnings := [found for one in loaded for found in one.warnings]:
        from flowctl import render

        output.complain(render.diagnostics(warnings))
    return loaded


def _open_runs(backend: Backend, names: Sequence[str]) -> list[dict[str, Any]]:
    """The live runs of workflows. ``fits`` is null: unknown."""
    live = [str(status) for status in LIVE]
    runs = [
        run
        for name in dict.fromkeys(names)
        for run in backend.list(statuses=live, workflow=name, limit=MAX_OPEN)
    ]
    return [{"id": run["id"], "fits": None, "path": None, "reason": NOT_CHECKED} for run in runs]


def _identity(workflow: Workflow) -> dict[str, Any]:
    return {"name": workflow.name, "version": workflow.version, "digest": workflow.digest}


@click.command(cls=Command)
@click.pass_obj
def workflows(invocation: Invocation) -> None:
    """List deployed workflows."""
    with invocation.reader() as backend:
        items = backend.workflows()
    if invocation.json:
        output.write_json(items)
    else:
        from flowctl import render

        output.show(render.workflows(items))


@click.command(cls=Command)
@click.argument("reference", metavar="NAME@V")
@click.option("--message", default="no reason given", metavar="TEXT", help="Why, and what to use instead.")
@click.pass_obj
def deprecate(invocation: Invocation, reference: str, message: str) -> None:
    """Mark a deployed version as deprecated.

    Starting it warns, and it is no longer what its name without a version means. Its runs are not touched.
    """
    from flowctl.cli.starting import name_and_version

    name, version = name_and_version(reference)
    if version is None:
        raise UsageError(f"{reference!r} does not say which version", hint=f"write for example {name}@1")
    with invocation.existing() as backend:
        backend.deprecate(name, version, message)
    if invocation.json:
        output.write_json({"name": name, "version": version, "deprecated": message})
    else:
        output.write(f"{name}@{version} is deprecated")


@click.command(cls=Command)
@click.pass_obj
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of documents, for editors."""
    from flowctl.document.schema import schema as published

    output.write_json(published())
