"""Commands that leave runs to workers, and the worker itself: start, worker."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation, document_options
from flowctl.state import RunStatus


@click.command(cls=Command)
@document_options
@click.pass_obj
def start(
    invocation: Invocation,
    document: str,
    pairs: Sequence[str],
    text: str | None,
    id: str | None,
    principal: str | None,
) -> int:
    """Accept a run durably and leave it to a worker.

    Prints the id of the run. The arguments are those of `run`. Starting an id that exists, with the same
    document and input, prints it and changes nothing.
    """
    from flowctl.cli.starting import read_source, request

    source = read_source(document)
    with invocation.backend(executes=True) as backend:
        asked = request(
            invocation, backend, document, source, text=text, pairs=pairs, id=id, principal=principal
        )
        run_id, created = backend.start(asked)
        if invocation.json:
            workflow_id = run_id.partition("~")[0]
            output.write_json({"id": run_id, "workflow_id": workflow_id, "created": created})
            return 0
        output.write(run_id)
        if not backend.is_live(run_id):
            output.say("no worker is running; `flowctl worker` executes what was started")
        return 0


@click.command(cls=Command)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs that are driven at once; those that wait do not count.  [default: 500]",
)
@click.option("--drain", is_flag=True, help="Stop when nothing is due any more.")
@click.pass_obj
def worker(invocation: Invocation, concurrency: int | None, drain: bool) -> int:
    """Execute all runs that are due, until stopped.

    Any number of workers may share a database. The runs of one that dies are taken over by the others within
    a second, or by the next one.

    SIGTERM and Ctrl-C stop it: nothing new begins, what is under way has ten seconds to end, and all runs are
    given back. A second one stops it at once; what was under way is then made again, as after a crash.

    With --json: one document when it stops, how many runs ended, by state.
    """
    from flowctl import render

    with invocation.backend(executes=True) as backend:
        ended: Counter[str] = Counter()

        def observe(doc: Mapping[str, Any]) -> None:
            if RunStatus(doc["status"]).ended:
                ended[doc["status"]] += 1
            if not invocation.json:
                output.show(render.ended(doc))

        def ready() -> None:
            if not invocation.json:
                until = "until nothing is due" if drain else "Ctrl-C stops it"
                output.write(
                    render.escape(f"worker {os.getpid()} on {invocation.settings.database}, {until}")
                )

        backend.work(concurrency=concurrency, drain=drain, observe=observe, ready=ready)
        if invocation.json:
            output.write_json(dict(sorted(ended.items())))
        else:
            output.show(render.worked(ended))
    return 0
