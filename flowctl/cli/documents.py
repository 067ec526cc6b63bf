"""Commands about documents and the registry: validate, deploy, workflows, deprecate, schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import InvalidDocument, UsageError
from flowctl.state import LIVE

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.model import Workflow

Found = dict[str, Any]
"""A mistake or warning: ``{code, severity, message, file, line, column, hint}``."""

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
    activities = invocation.plugins.activities
    sources: dict[str, str] = {}
    found = [item for file in files for item in _examine(file, activities, sources)]
    if invocation.json:
        output.write_json(found)
    else:
        _show(found, files, sources)
    severities = {item["severity"] for item in found}
    return UsageError.exit_code if "error" in severities or (strict and severities) else 0


def _examine(file: str, activities: Mapping[str, Any], sources: dict[str, str]) -> list[Found]:
    """What is to be said about one file. One that cannot be read is a mistake like any other."""
    from flowctl import document

    try:
        sources[file] = document.read(Path(file))
        return [
            found.to_json() for found in document.load(sources[file], file, activities=activities).warnings
        ]
    except InvalidDocument as error:
        return [found.to_json() for found in error.diagnostics]
    except UsageError as error:
        place = {"file": file, "line": None, "column": None}
        return [
            {"code": error.code, "severity": "error", "message": error.message, **place, "hint": error.hint}
        ]


def _show(found: Sequence[Found], files: Sequence[str], sources: Mapping[str, str]) -> None:
    from flowctl import render

    if found:
        output.to_stderr().show(render.diagnostics(found, sources))
    faulty = {item["file"] for item in found}
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
    from flowctl import document

    loaded = [document.load(document.read(Path(file)), file) for file in files]
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


def _open_runs(backend: Backend, names: Sequence[str]) -> list[dict[str, Any]]:
    """The live runs of workflows. ``fits`` is null: unknown."""
    live = [str(status) for status in LIVE]
    runs = [run for name in dict.fromkeys(names) for run in backend.list(statuses=live, workflow=name)]
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
@click.option("--message", default="", metavar="TEXT", help="Why, and what to use instead.")
@click.pass_obj
def deprecate(invocation: Invocation, reference: str, message: str) -> None:
    """Mark a deployed version as deprecated.

    Starting it warns, and it is no longer what its name without a version means. Its runs are not touched.
    """
    from flowctl.cli.starting import name_and_version

    name, version = name_and_version(reference)
    if version is None:
        raise UsageError(f"{reference!r} does not say which version", hint=f"write for example {name}@1")
    with invocation.backend() as backend:
        backend.deprecate(name, version, message)
    if invocation.json:
        output.write_json({"name": name, "version": version, "deprecated": message})
    else:
        output.write(f"{name}@{version} is deprecated")


@click.command(cls=Command)
@click.pass_obj
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of documents, for editors."""
    from flowctl.document import published_schema

    output.write_json(published_schema())
