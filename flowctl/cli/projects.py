"""Commands that make something to begin with: init."""

from __future__ import annotations

import dataclasses
import os
import shlex

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.cli.scaffold import COMMANDS, make


@click.command(cls=Command)
@click.argument("folder", metavar="[DIR]", default=".")
@click.option(
    "--template",
    type=click.Choice(list(COMMANDS)),
    default="project",
    show_default=True,
    help="What to make.",
)
@click.pass_obj
def init(invocation: Invocation, folder: str, template: str) -> None:
    """Make a project, or a plugin, to begin with.

    A project has a workflow, its activities, tests, and settings. A plugin is a package with activities, to
    be installed beside flowctl, and called as its folder is. Nothing is ever overwritten.
    """
    made = make(folder, template)
    if os.path.realpath(folder) != os.getcwd():
        made = dataclasses.replace(made, commands=[shlex.join(["cd", folder]), *made.commands])
    if invocation.json:
        output.write_json(dataclasses.asdict(made))
        return
    from flowctl.render import escape

    for name in made.files:
        output.write(f"  {escape(os.path.join(folder, name))}")
    output.write("\nto go on")
    for command in made.commands:
        output.write(f"  {escape(command)}")
