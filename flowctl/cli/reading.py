"""Commands that look at runs and change nothing: status, list, history, diff."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation, page
from flowctl.cli.selection import Selection, filters
from flowctl.errors import Conflict, UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend

ALL = sys.maxsize


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option(
    "--steps", callback=page, metavar="FROM:N", help="N steps from number FROM on, rather than the last 200."
)
@click.option("--watch", is_flag=True, help="Look on until the run has ended or rests.")
@click.option("--at", metavar="PATH", help="What the run knew just before that step began.")
@click.pass_obj
def status(
    invocation: Invocation, reference: str, steps: tuple[int, int] | None, watch: bool, at: str | None
) -> None:
    """Show everything about a run.

    --watch ends when the run does, or when it rests: it waits, is paused or blocked, or was interrupted, and
    no process has it.
    """
    if watch and (at is not None or steps is not None):
        raise UsageError("--watch shows a run as it goes on", hint="leave --at and --steps away")
    first, count = steps or (None, 200)
    with invocation.reader() as backend:
        run_id = backend.resolve(reference)
        if watch and invocation.json:
            for _ in backend.follow(run_id, rests=True):
                pass
        elif watch:
            _watch(invocation, backend, run_id)
            return
        document = backend.status(run_id, first=first, count=count, before=at)
        if invocation.json:
            output.write_json(document)
            return
        from flowctl import render

        if at is not None:
            output.show(render.status_before(document, at))
        else:
            output.show(render.status(document, live=backend.is_live(run_id), db=invocation.db))


def _watch(invocation: Invocation, backend: Backend, run_id: str) -> None:
    with output.to_stdout().progress(db=invocation.db) as progress:
        past = [{**fact, "run": run_id} for fact in backend.history(run_id)]
        progress.begin(backend.status(run_id), past, live=backend.is_live(run_id))
        for fact in backend.follow(run_id, after=past[-1]["seq"], rests=True):
            progress.observe({**fact, "run": run_id})
        progress.finish(backend.status(run_id), live=backend.is_live(run_id))


@click.command("list", cls=Command)
@filters(limit=50)
@click.pass_obj
def list_runs(invocation: Invocation, selection: Selection) -> None:
    """List runs, newest first."""
    with invocation.reader() as backend:
        documents = backend.list(
            statuses=selection.statuses,
            workflow=selection.workflow,
            where=selection.where,
            limit=selection.limit or ALL,
        )
    if invocation.json:
        output.write_json(documents)
    else:
        from flowctl import render

        output.show(render.run_list(documents))


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option("--jsonl", is_flag=True, help="Print one JSON document a line.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until the run has ended.")
@click.option("--export", "file", metavar="FILE", help="Write a new file with everything about the run.")
@click.pass_obj
def history(invocation: Invocation, reference: str, jsonl: bool, follow: bool, file: str | None) -> None:
    """Show a run's journal, one entry a line.

    --export writes JSON Lines: a header with the run and its documents, then every entry with its hash. A
    file that is there already is left as it is.
    """
    if file is not None and (jsonl or follow):
        raise UsageError("--export is no display", hint="leave --jsonl and --follow away")
    if follow and invocation.json:
        raise UsageError("--follow is a stream, and --json one document", hint="use --jsonl")
    with invocation.reader() as backend:
        run_id = backend.resolve(reference)
        if file is not None:
            _export(invocation, run_id, backend.export(run_id), file)
            return
        lines = backend.follow(run_id) if follow else backend.history(run_id)
        if jsonl:
            for line in lines:
                output.write_json(line, compact=True)
        elif invocation.json:
            output.write_json(list(lines))
        else:
            from flowctl import render

            output.show(render.history(lines))


def _export(invocation: Invocation, run_id: str, lines: Iterable[Mapping[str, Any]], file: str) -> None:
    entries = _write_new(file, lines) - 1
    if invocation.json:
        output.write_json({"id": run_id, "file": file, "entries": entries})
    else:
        from flowctl.render import escape

        output.write(escape(f"{run_id}: {entries} entries written to {file}"))


def _write_new(file: str, lines: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON Lines into a file of their own, for the user's eyes only; returns how many.

    ``Conflict`` if there is one of that name. What could not be written whole is removed.
    """
    import msgspec

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(f"{file} is there already", hint="give another name, or remove it first") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    count = 0
    try:
        with open(descriptor, "wb") as stream:
            for line in lines:
                stream.write(msgspec.json.encode(line) + b"\n")
                count += 1
    except BaseException as error:
        os.unlink(file)
        if isinstance(error, OSError):
            raise output.OutputError(f"{file} cannot be written: {error.strerror}") from error
        raise
    return count


@click.command(cls=Command)
@click.argument("left", metavar="RUN")
@click.argument("right", metavar="RUN")
@click.pass_obj
def diff(invocation: Invocation, left: str, right: str) -> None:
    """Show where two runs differ.

    In what they were asked, the way they went, results, errors and times. A run's own id is no difference.
    """
    from flowctl.backends.difference import difference

    with invocation.reader() as backend:
        runs = [backend.status(backend.resolve(reference), count=ALL) for reference in (left, right)]
    document = difference(*runs)
    if invocation.json:
        output.write_json(document)
    else:
        from flowctl import render

        output.show(render.diff(document))
