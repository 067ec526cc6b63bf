"""Commands about documents and the registry: validate, deploy, workflows, deprecate, schema."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.errors import in_one_line
from flowctl.cli.options import Command, Invocation
from flowctl.errors import DoesNotFit, InvalidDocument, UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.document import Loaded
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.model import Workflow
    from flowctl.plugins import Plugins


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Take warnings for mistakes.")
@click.option("--fix", is_flag=True, help="Mend what is certain, in the files: foreign and misspelt words.")
@click.pass_obj
def validate(invocation: Invocation, files: Sequence[str], strict: bool, fix: bool) -> int:
    """Show every mistake and warning of documents.

    Exit code 2 if there is a mistake; with --strict also if there is a warning.
    """
    examine = _mend if fix else _examine
    found = [item for file in files for item in examine(file, invocation)]
    if strict:
        found = [item.as_error() for item in found]
    if invocation.json:
        output.write_json([item.to_json() for item in found])
    else:
        _show(found, files)
    return UsageError.exit_code if any(item.severity == "error" for item in found) else 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Unreadable:
    """A file that cannot be read: for ``validate`` a mistake like any other, but without a place."""

    file: str
    error: UsageError
    severity: str = "error"

    def as_error(self) -> _Unreadable:
        return self

    def render(self) -> str:
        return in_one_line(self.error)

    def to_json(self) -> dict[str, Any]:
        what = {"code": self.error.code, "severity": self.severity, "message": self.error.message}
        return {**what, "file": self.file, "line": None, "column": None, "hint": self.error.hint}


def _examine(file: str, invocation: Invocation) -> Sequence[Diagnostic | _Unreadable]:
    """What is to be said about one file."""
    from flowctl import document
    from flowctl.document.cases import SUFFIXES

    try:
        if file.endswith(SUFFIXES):
            return _examine_tests(file, invocation)
        return _check(file, invocation.plugins)(document.read(Path(file)))
    except InvalidDocument as error:
        return error.diagnostics
    except UsageError as error:
        return [_Unreadable(file, error)]


def _examine_tests(file: str, invocation: Invocation) -> Sequence[Diagnostic]:
    """A test file, and the workflow that it is about. ``InvalidDocument`` for what is wrong."""
    from flowctl.testing.casefile import load_file
    from flowctl.testing.suite import surroundings

    load_file(Path(file), surroundings(invocation.settings))
    return []


def _check(file: str, plugins: Plugins) -> Callable[[str], list[Diagnostic]]:
    """What finds all that is wrong with a text, if it stands in that file."""
    from flowctl import document

    world = document.World(plugins.activities, _any_installed(plugins), Path(file).parent)
    return partial(document.problems, name=file, functions=plugins.vocabulary, world=world)


def _mend(file: str, invocation: Invocation) -> Sequence[Diagnostic | _Unreadable]:
    """What is to be said about one file after all that is certain was mended in it."""
    from flowctl import document
    from flowctl.document.cases import SUFFIXES
    from flowctl.document.fixes import mend
    from flowctl.render import escape

    if file.endswith(SUFFIXES):
        return _examine(file, invocation)
    try:
        mended = mend(document.read(Path(file)), _check(file, invocation.plugins))
        if mended.changes:
            document.rewrite(Path(file), mended.text)
    except InvalidDocument as error:
        return error.diagnostics
    except UsageError as error:
        return [_Unreadable(file, error)]
    tell = output.say if invocation.json else output.write
    for change in mended.changes:
        place = f"{file}:{change.line}:{change.column}"
        tell(escape(f"{place}: {change.wrong!r} is {change.right!r} now"))
    return mended.left


def _any_installed(plugins: Plugins) -> bool:
    """Whether there are plugins besides the built-in ones. Without them, a workflow is looked at by somebody
    who will not run it here, and a name that is not known is no mistake.
    """
    from flowctl.default_plugins import MODULES

    return any(info.activities for info in plugins.described if info.origin not in MODULES)


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
@click.option("--force", is_flag=True, help="Do not ask, even if open runs could not be migrated.")
@click.pass_obj
def deploy(invocation: Invocation, files: Sequence[str], force: bool) -> None:
    """Register documents under their names and versions.

    All files are checked before the first is registered. A version once deployed cannot change. Its children
    are deployed too: it refers to them by their names, not to files.

    First it shows which open runs of these workflows could be migrated to the new version. They go on with
    their own document in any case; on a terminal, if there is one that could not, you are asked.
    """
    loaded = _load_all(files, invocation.plugins)
    with invocation.backend() as backend:
        open_runs = _open_runs(backend, [found.workflow for found in loaded])
        if not invocation.json:
            _show_open_runs(open_runs, ask=not force)
        deployed = [(found.workflow, backend.deploy(found.workflow, found.source)) for found in loaded]
    if invocation.json:
        listed = [_identity(workflow) | {"created": created} for workflow, created in deployed]
        output.write_json({"deployed": listed, "open_runs": open_runs})
        return
    for workflow, created in deployed:
        output.write(
            f"{workflow.name}@{workflow.version} " + ("deployed" if created else "was deployed already")
        )


def _load_all(files: Sequence[str], plugins: Plugins) -> list[Loaded]:
    """All documents, or the mistakes of all of them. ``InvalidDocument``, ``UsageError``."""
    from flowctl import document

    loaded, mistakes = [], []
    for file in files:
        try:
            text, functions = document.read(Path(file)), plugins.vocabulary
            loaded.append(document.load(text, file, functions=functions, world=document.REGISTRY))
        except InvalidDocument as error:
            mistakes += error.diagnostics
    if mistakes:
        raise InvalidDocument("nothing was deployed", mistakes)
    if warnings := [found for one in loaded for found in one.warnings]:
        from flowctl import render

        output.complain(render.diagnostics(warnings))
    return loaded


def _open_runs(backend: Backend, workflows: Sequence[Workflow]) -> list[dict[str, Any]]:
    """The live runs of workflows, each with whether it fits the latest of the documents of its name."""
    latest = {each.name: each for each in sorted(workflows, key=lambda each: each.version)}
    return [verdict for workflow in latest.values() for verdict in backend.verdicts(workflow)]


def _show_open_runs(open_runs: Sequence[dict[str, Any]], *, ask: bool) -> None:
    """Raises ``DoesNotFit`` if somebody at a terminal would rather not go on."""
    if not open_runs:
        return
    from flowctl import render

    output.show(render.verdicts(open_runs))
    misfits = sum(not verdict["fits"] for verdict in open_runs)
    if not (ask and misfits and sys.stdin is not None and sys.stdin.isatty()):
        return
    question = f"{misfits} open runs could not be migrated. Deploy all the same?"
    if not click.confirm(question, err=True):
        raise DoesNotFit("nothing was deployed", hint="--force deploys without asking")


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
@click.option("--with-activities", is_flag=True, help="Add the names and arguments of installed activities.")
@click.pass_obj
def schema(invocation: Invocation, with_activities: bool) -> None:
    """Print the JSON Schema of documents, for editors."""
    from flowctl.document.schema import schema as published

    if not with_activities:
        output.write_json(published())
        return
    from flowctl.activities.describe import describe
    from flowctl.document import editor_schema

    described = [describe(activity) for activity in invocation.plugins.activities.values()]
    output.write_json(editor_schema.with_activities(published(), described))
