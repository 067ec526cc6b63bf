"""What several commands take: the shared options, types of parameters, and what a command opens with them.

Every command takes the shared options, before or after its arguments. ``flowctl`` itself takes them too, so
they may also stand before the command; the command's own word wins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.errors import UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.plugins import Plugins
    from flowctl.settings import Settings

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def shared_options() -> list[click.Parameter]:
    """The options of every command."""
    return [
        click.Option(
            ["--db"],
            metavar="PATH|URL",
            help="The database: a path, sqlite:///path or memory:"
            "  [FLOWCTL_DB; .flowctl/flowctl.db of the project]",
        ),
        click.Option(
            ["--plugins-dir", "plugins_dirs"],
            multiple=True,
            metavar="DIR",
            help="Load the Python files in this folder as plugins; may be repeated.  [FLOWCTL_PLUGINS_DIR]",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document and nothing else."),
        click.Option(
            ["--log-level"],
            type=click.Choice(["debug", "info", "warning", "error"]),
            envvar="FLOWCTL_LOG_LEVEL",
            help="What is logged, at least.  [FLOWCTL_LOG_LEVEL; warning]",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            envvar="FLOWCTL_LOG_FORMAT",
            help="How: lines for people, or JSON lines.  [FLOWCTL_LOG_FORMAT; text]",
        ),
        click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
    ]


@dataclasses.dataclass
class Invocation:
    """What the shared options of one command line amount to. What is costly is loaded when asked for."""

    db: str | None
    plugins_dirs: tuple[str, ...]
    json: bool
    log_level: str | None = None
    log_format: str | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings that hold here. ``UsageError`` for a ``flowctl.toml`` with mistakes."""
        from flowctl.settings import settle

        try:
            folder = os.getcwd()
        except OSError as error:
            raise UsageError(f"the present folder cannot be read: {error.strerror}") from error
        return settle(self.db, self.plugins_dirs, os.environ, folder)

    def load_plugins(self) -> Plugins:
        """All plugins, and the problems of those that cannot be used."""
        from pathlib import Path

        from flowctl.cli import logs
        from flowctl.plugins import load

        # Nobody has anything to log who has no plugins.
        logs.begin(self.log_level or logs.DEFAULT_LEVEL, self.log_format or logs.DEFAULT_FORMAT)
        settings = self.settings
        folders = [Path(folder) for folder in settings.plugins_dirs]
        return load(folders, settings=settings.plugins, project=settings.project, secrets=settings.secrets)

    @functools.cached_property
    def plugins(self) -> Plugins:
        """All plugins. Those that cannot be used are named as warnings, and stop nothing."""
        plugins = self.load_plugins()
        for problem in plugins.problems:
            output.warn(str(problem))
        return plugins

    def _wanted_plugins(self, *, executes: bool = False) -> Plugins | None:
        from flowctl.backends import replays

        return self.plugins if executes or replays(self.settings.database) else None

    @contextlib.contextmanager
    def reader(self) -> Iterator[Backend]:
        """The backend, for reading: nothing is made, migrated or checkpointed."""
        from flowctl.backends import open_backend

        opened = open_backend(self.settings.database, plugins=self._wanted_plugins(), read_only=True)
        with contextlib.closing(opened) as backend:
            yield backend

    @contextlib.contextmanager
    def existing(self, *, executes: bool = False) -> Iterator[Backend]:
        """The backend of a database that is there: a slip of the pen in ``--db`` makes none. ``NotFound``."""
        with self.reader():
            pass
        with self.backend(executes=executes) as backend:
            yield backend

    @contextlib.contextmanager
    def backend(self, *, executes: bool = False) -> Iterator[Backend]:
        """The backend; with plugins if runs are executed, or replayed. A database that is not there is
        made.
        """
        from flowctl.backends import open_backend

        settings, plugins = self.settings, self._wanted_plugins(executes=executes)
        if executes:
            output.keep_secrets()
        opened = open_backend(settings.database, plugins=plugins, settings=settings.defaults)
        with contextlib.closing(opened) as backend:
            yield backend


class Command(click.Command):
    """A command that takes the shared options beside its own, and gets an ``Invocation``
    (``click.pass_obj``).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*kwargs.get("params", ()), *shared_options()]
        super().__init__(*args, **kwargs)
        self.context_settings.update(CONTEXT_SETTINGS)

    def invoke(self, ctx: click.Context) -> Any:
        own, group = ctx.params, ctx.parent.params if ctx.parent else {}
        own.pop("debug")
        ctx.obj = Invocation(
            db=own.pop("db") or group.get("db"),
            plugins_dirs=own.pop("plugins_dirs") or group.get("plugins_dirs", ()),
            json=own.pop("as_json") or group.get("as_json", False),
            log_level=own.pop("log_level") or group.get("log_level"),
            log_format=own.pop("log_format") or group.get("log_format"),
        )
        return super().invoke(ctx)


def duration(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """``30s``, ``1h30m``: milliseconds."""
    from flowctl.clock import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


wait_option = click.option(
    "--wait",
    callback=duration,
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="Wait for whatever is due by itself within this time; 0s: for nothing.",
)


def document_options(command: Any) -> Any:
    """What ``run`` and ``start`` take: a document, its input, and the id of the workflow."""
    for each in (principal_option, *reversed(_DOCUMENT)):
        command = each(command)
    return command


_DOCUMENT = (
    click.argument("document", metavar="FILE|NAME[@V]"),
    click.option(
        "-i", "pairs", multiple=True, metavar="KEY=VALUE", help="One key of the input; may be repeated."
    ),
    click.option("--input", "text", metavar="JSON|@FILE|-", help="The input; keys given with -i win."),
    click.option("--id", metavar="ID", help="The id of the workflow; it may exist already."),
)
principal_option = click.option("--principal", metavar="NAME", help="Who asks; kept with what is recorded.")


def page(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``FROM:N``, both from 1: the number of the first, and how many."""
    if value is None:
        return None
    first, _, count = value.partition(":")
    if not (_is_count(first) and _is_count(count)):
        raise click.BadParameter(f"{value!r} is not FROM:N, such as 1:50", ctx, parameter)
    return int(first), int(count)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0
