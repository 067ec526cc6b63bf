"""Commands about Temporal itself: temporal dev."""

from __future__ import annotations

import os
import sys

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import NotFound

HOW_TO_GET_IT = (
    "install Temporal's command line (`brew install temporal`, or `go install"
    " github.com/temporalio/cli/cmd/temporal@v1.5.1`), or name it in FLOWCTL_TEMPORAL"
)


@click.command(cls=Command)
@click.argument("action", metavar="dev", type=click.Choice(["dev"]))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=7233,
    show_default=True,
    metavar="N",
    help="Where it listens, on this machine only.",
)
@click.option(
    "--db-filename", "database", metavar="FILE", help="Where it keeps its runs; without it, they go with it."
)
@click.option("--ui", is_flag=True, help="Also serve Temporal's own pages, a thousand ports higher.")
@click.pass_obj
def temporal(invocation: Invocation, action: str, port: int, database: str | None, ui: bool) -> None:
    """Start Temporal's development server, to try flowctl on it.

    It is Temporal's own program, which must be installed, and runs until it is interrupted.
    """
    from flowctl.runtimes.temporal.server import program, words

    found = program()
    if found is None:
        raise NotFound("Temporal's server is not installed here", hint=HOW_TO_GET_IT)
    address = f"temporal://localhost:{port}"
    if invocation.json:
        output.write_json({"address": address})
    else:
        kept = f"keeps its runs in {database}" if database else "forgets its runs when it stops"
        output.write(f"Temporal at {address}, Ctrl-C stops it; it {kept}")
    sys.stdout.flush()
    os.execv(found, words(found, port=port, database=database, ui=ui))  # noqa: S606 (no shell is meant)
