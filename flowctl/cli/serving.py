"""The command that serves runs to browsers and programs: serve."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import UsageError


@click.command(cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8710, show_default=True, metavar="P",
    help="The port; 0: any that is free.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(0, 64), default=0, metavar="N", help="Run N workers as well.")
@click.option(
    "--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on."
)
@click.option(
    "--insecure-http", is_flag=True,
    help="Listen on an address that others can reach, without TLS: anybody on the way reads the tokens.",
)  # fmt: skip
@click.option(
    "--host-name", "names", multiple=True, metavar="NAME",
    help="A name that it is reached by, besides localhost; may be repeated.",
)  # fmt: skip
@click.option("--allow-deploy", is_flag=True, help="Take documents over HTTP from tokens of scope deploy.")
@click.pass_obj
def serve(
    invocation: Invocation,
    port: int,
    workers: int,
    listen: str,
    insecure_http: bool,
    names: Sequence[str],
    allow_deploy: bool,
) -> int:
    """Serve the HTTP API and the dashboard until stopped.

    Prints an address to open in a browser; it is good once and for ten minutes. Programs send a token of the
    file beside the database, which is made at the first start and which only its owner can read.
    """
    try:
        from flowctl.server import running
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "websockets"):
            raise
        raise UsageError(
            f"serve needs {error.name}, which is not installed", hint="pip install 'flowctl[serve]'"
        ) from None
    from flowctl.server.app import serve_app
    from flowctl.server.gate import LOOPBACK

    if not running.is_loopback(listen) and not insecure_http:
        raise UsageError(
            f"others can reach {listen}, and HTTP hides nothing from those on the way",
            hint="leave --listen away and put a server with TLS in front, or insist with --insecure-http",
        )
    settings = invocation.settings
    if settings.database == "memory:" and workers:
        raise UsageError("workers cannot share a database in memory", hint="name a file with --db")
    app = serve_app(
        settings.database,
        hosts=(*LOOPBACK, *names, *(() if running.is_loopback(listen) else (listen,))),
        plugins=invocation.plugins,
        settings=settings.defaults,
        allow_deploy=allow_deploy,
    )

    def listening(chosen: int) -> None:
        shown = "localhost" if running.is_loopback(listen) else listen
        url = f"http://{shown}:{chosen}/#code={app.access.new_code()}"
        if invocation.json:
            tokens = app.access.path
            output.write_json({"url": url, "port": chosen, "tokens": tokens, "pid": os.getpid()})
        else:
            output.write(f"flowctl serves {settings.database}; open {url}")
            output.write(f"tokens for programs are in {app.access.path}; Ctrl-C stops it")
            if not app.knows_a_workflow():
                output.say("nothing is deployed: `flowctl init` writes an example, `flowctl deploy` takes it")
            if not workers:
                output.say("it executes no runs: a `flowctl worker` does, or --workers 1 beside it")

    arguments = ["--db", settings.database]
    for folder in settings.plugins_dirs:
        arguments += ["--plugins-dir", folder]
    try:
        with running.workers(workers, arguments, output.say):
            running.run(app, listen, port, listening)
    finally:
        app.close()
    return 0
