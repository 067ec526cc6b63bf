"""Commands that keep a database sound and small: verify, gc, backup."""

from __future__ import annotations

import click
import msgspec

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation, duration
from flowctl.errors import UsageError
from flowctl.wall_clock import wall_clock


@click.command(cls=Command)
@click.pass_obj
def verify(invocation: Invocation) -> int:
    """Check that what is stored is what was written.

    The hash chain of every run, the checksums of all other rows, documents, and SQLite's own structures.
    Nothing is changed, and others may work on the database meanwhile. Exit code 1 if something is not right.
    """
    from flowctl.journal.audit import audit

    report = msgspec.to_builtins(audit(_path(invocation)))
    if invocation.json:
        output.write_json(report)
    else:
        from flowctl import render

        output.show(render.verified(report))
    return int(bool(report["problems"]))


@click.command(cls=Command)
@click.option(
    "--older-than",
    callback=duration,
    default="30d",
    show_default=True,
    metavar="DURATION",
    help="Discard runs that ended so long ago.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be discarded.")
@click.pass_obj
def gc(invocation: Invocation, older_than: int, dry_run: bool) -> None:
    """Discard runs that have ended long ago.

    With everything that belongs to them: their chain, their children, what undid them. What has not ended is
    kept, and so is what it needs. Others may work on the database meanwhile.
    """
    from flowctl.clock import format_timestamp
    from flowctl.journal import retention

    now = wall_clock()
    act = retention.preview if dry_run else retention.discard
    found = act(_path(invocation), now - older_than, now)
    report = {"dry_run": dry_run, "before": format_timestamp(now - older_than), **msgspec.to_builtins(found)}
    for family in report["families"]:
        family["completed_at"] = format_timestamp(family["completed_at"])
    if invocation.json:
        output.write_json(report)
    else:
        from flowctl import render

        output.show(render.discarded(report))


@click.command(cls=Command)
@click.argument("file", metavar="FILE")
@click.pass_obj
def backup(invocation: Invocation, file: str) -> None:
    """Copy the database into a new file, while others work on it.

    The copy is as the database was at one moment, and is verified before it gets its name. A file of that
    name is never overwritten.
    """
    from flowctl.journal.backup import back_up

    path = _path(invocation)
    report = back_up(path, file)
    if invocation.json:
        counts = {name: getattr(report, name) for name in ("runs", "entries", "messages", "documents")}
        output.write_json({"database": path, "file": file, **counts})
    else:
        from flowctl import render

        output.show(render.backed_up(msgspec.to_builtins(report)))


def _path(invocation: Invocation) -> str:
    from flowctl.journal.opening import path_of

    database = invocation.settings.database
    if database.startswith("temporal://"):
        raise UsageError(
            "runs on Temporal are kept by its server, not in a file of ours",
            hint="the namespace's retention and the server's own backup do this; `flowctl history --export`"
            " copies one run",
        )
    return path_of(database)
