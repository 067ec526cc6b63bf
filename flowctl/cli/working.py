"""Commands that leave runs to workers, and the worker itself: start, worker."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation, document_options
from flowctl.errors import UsageError
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
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    metavar="N",
    default=1,
    help="Processes that share the work, each with its own runs; one per processor.  [default: 1]",
)
@click.option("--drain", is_flag=True, help="Stop when nothing is due any more.")
@click.option("--member", type=int, hidden=True)
@click.pass_obj
def worker(
    invocation: Invocation, concurrency: int | None, processes: int, drain: bool, member: int | None
) -> int:
    """Execute all runs that are due, until stopped.

    Any number of workers may share a database. The runs of one that dies are taken over by the others within
    a second, or by the next one.

    SIGTERM and Ctrl-C stop it: nothing new begins, what is under way has ten seconds to end, and all runs are
    given back. A second one stops it at once; what was under way is then made again, as after a crash.

    With --processes several of them are one command: one that dies is started anew, and they stop together.

    With --json: one document when it stops, how many runs ended, by state.
    """
    if member is not None:
        _be_member(invocation, member, concurrency, drain=drain)
        return 0
    says = _Says(invocation, drain=drain)
    code = 0
    if processes > 1:
        code = _lead(invocation, processes, concurrency, says, drain=drain)
    else:
        with invocation.backend(executes=True) as backend:
            backend.work(concurrency=concurrency, drain=drain, observe=says.ended, ready=says.ready)
    if code == 0:
        says.stopped()
    return code


class _Says:
    """What a worker says: lines for people, or one document in the end."""

    def __init__(self, invocation: Invocation, *, drain: bool) -> None:
        self._json = invocation.json
        self._database = invocation.settings.database
        self._until = "until nothing is due" if drain else "Ctrl-C stops it"
        self._ended: Counter[str] = Counter()

    def ready(self, pids: Sequence[int] = ()) -> None:
        if not self._json:
            from flowctl.render import escape

            who = f"workers {', '.join(map(str, pids))}" if pids else f"worker {os.getpid()}"
            output.write(escape(f"{who} on {self._database}, {self._until}"))

    def ended(self, doc: Mapping[str, Any]) -> None:
        if RunStatus(doc["status"]).ended:
            self._ended[doc["status"]] += 1
        if not self._json:
            from flowctl import render

            output.show(render.ended(doc))

    def replaced(self, pid: int, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        output.warn(f"worker {pid} {how}; another one takes its place")

    def stopped(self) -> None:
        if self._json:
            output.write_json(dict(sorted(self._ended.items())))
        else:
            from flowctl import render

            output.show(render.worked(self._ended))


def _lead(invocation: Invocation, size: int, concurrency: int | None, says: _Says, *, drain: bool) -> int:
    """Lead a crew of so many processes; returns the exit code."""
    import asyncio

    from flowctl.engine.crew import Leader

    if invocation.settings.database == "memory:":
        raise UsageError("memory: belongs to one process", hint="leave out --processes, or name a file")
    options = ["--db", invocation.settings.database, *(["--drain"] if drain else [])]
    options += ["--json"] if invocation.json else []
    options += ["--concurrency", str(concurrency)] if concurrency is not None else []
    for folder in invocation.plugins_dirs:
        options += ["--plugins-dir", folder]

    def command(line: int) -> list[str]:
        return [sys.executable, "-m", "flowctl", "worker", *options, "--member", str(line)]

    async def lead() -> int:
        return await Leader(
            command, size, observe=says.ended, ready=says.ready, replaced=says.replaced
        ).lead()

    return asyncio.run(lead())


def _be_member(invocation: Invocation, line: int, concurrency: int | None, *, drain: bool) -> None:
    from flowctl.engine import calm_collector
    from flowctl.engine.crew import Member

    try:
        member = Member(line)
    except OSError as error:
        raise UsageError("--member is for workers that --processes starts") from error
    calm_collector()
    with invocation.backend(executes=True) as backend:
        backend.work(
            concurrency=concurrency,
            drain=drain,
            observe=lambda doc: member.tell({"ended": doc}),
            ready=lambda: member.tell({"ready": os.getpid()}),
            reins=member,
        )
