"""The table of commands, and a group that imports a command's module only when the command is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from flowctl.cli import output
from flowctl.cli.options import CONTEXT_SETTINGS, shared_options
from flowctl.errors import UsageError

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Runs": {
        "run": ("runs:run", "Start a run and drive it until it ends or only waits."),
        "start": ("working:start", "Accept a run durably and leave it to a worker."),
        "worker": ("working:worker", "Execute all runs that are due, until stopped."),
        "serve": ("serving:serve", "Serve the HTTP API and the dashboard until stopped."),
        "resume": ("runs:resume", "Drive a run that was interrupted, or whose wait is over."),
        "status": ("reading:status", "Show everything about a run."),
        "list": ("reading:list_runs", "List runs, newest first."),
        "history": ("reading:history", "Show a run's journal, one entry a line."),
        "diff": ("reading:diff", "Show where two runs differ."),
        "signal": ("runs:signal", "Deliver a signal to a run."),
        "cancel": ("runs:cancel", "Cancel runs and undo what they did."),
        "terminate": ("operations:terminate", "End runs at once, and undo nothing."),
        "pause": ("operations:pause", "Let nothing new begin in runs."),
        "unpause": ("operations:unpause", "Let paused runs go on."),
        "retry": ("operations:retry", "Let runs go on from where they failed."),
        "replay": ("versions:replay", "Repeat a run from one of its steps on."),
        "migrate": ("versions:migrate", "Let a live run go on with another document."),
    },
    "Documents": {
        "validate": ("documents:validate", "Show every mistake and warning of documents."),
        "graph": ("graphs:graph", "Draw a workflow, or a run with the states of its steps."),
        "deploy": ("documents:deploy", "Register documents under their names and versions."),
        "workflows": ("documents:workflows", "List deployed workflows."),
        "deprecate": ("documents:deprecate", "Mark a deployed version as deprecated."),
        "test": ("testing:test", "Test workflows in virtual time, with mocks, against every failure."),
        "torture": (
            "torture:torture",
            "Kill the real engine, let its disk fail and its time go wrong, and see that a workflow holds.",
        ),
        "schema": ("documents:schema", "Print the JSON Schema of documents, for editors."),
    },
    "Projects": {
        "init": ("projects:init", "Make a project, or a plugin, to begin with."),
    },
    "Installation": {
        "activities": ("installation:activities", "Show what activities there are and how they are called."),
        "plugins": ("installation:plugins", "Show loaded plugins, and those that could not be."),
        "doctor": ("installation:doctor", "Check the installation and the database."),
        "verify": ("keeping:verify", "Check that what is stored is what was written."),
        "gc": ("keeping:gc", "Discard runs that have ended long ago."),
        "temporal": ("cluster:temporal", "Start Temporal's development server, to try flowctl on it."),
        "backup": ("keeping:backup", "Copy the database into a new file, while others work on it."),
    },
}
"""Section, name, then module and function in this package, and the help's first sentence."""

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class CommandLine(click.Group):
    """``flowctl``. What it says about commands comes from the table: ``--help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"flowctl.cli.{module}"), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from flowctl.expressions.hints import did_you_mean

            raise UsageError(f"there is no command {name!r}", hint=did_you_mean(name, COMMANDS, "there are"))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from flowctl import __version__

        output.write(f"flowctl {__version__}")
        ctx.exit()


def _start(**shared: Any) -> int | None:
    """Without a command: show the help. Otherwise the shared options wait in the context for the command."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        return None
    output.write(ctx.get_help())
    return UsageError.exit_code


COMMAND_LINE = CommandLine(
    name="flowctl",
    help="Durable workflows: YAML documents, Python activities, and sagas that undo themselves.",
    epilog="`flowctl COMMAND --help` explains a command; the same four options may also stand after it.",
    params=[
        *shared_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it."
        ),
    ],
    callback=_start,
    invoke_without_command=True,
    context_settings=CONTEXT_SETTINGS,
)
