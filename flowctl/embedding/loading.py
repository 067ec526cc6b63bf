"""What a program hands in: plugins, the database, documents and inputs, in the forms that are natural to it.

Rules:

1. What the program does not say is what the command line would take: ``FLOWCTL_DB``, ``flowctl.toml``, ….
2. A plugin that the program names must work: anything else is an error. One that is only found, installed or
   in a folder, is reported by a warning of the logger ``flowctl``, and stops nothing.
3. A document is a file or NAME[@V], by how it is written (``backends.finding``); what has several lines, or
   begins like a mapping, is the text itself.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowctl.backends.finding import Finder, check_activities, is_file
from flowctl.building import Workflow
from flowctl.document import Loaded, World
from flowctl.errors import InvalidInput, UsageError
from flowctl.journal import Scalar
from flowctl.state import RunStatus

if TYPE_CHECKING:
    from flowctl.backends import Backend, StartRequest
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.model import Workflow as Model
    from flowctl.plugins import Plugins, Problem
    from flowctl.settings import Settings

Address = str | os.PathLike[str]
"""Of a database: a path, ``sqlite:///path`` or ``memory:``."""

Source = str | os.PathLike[str] | Workflow
"""A document: a file, NAME[@V] of a deployed one, a text, or a ``Workflow``."""

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_log = logging.getLogger("flowctl")


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What an engine is made with. ``load`` imports plugins, which may take its time."""

    db: Address | None
    plugins: tuple[Any, ...]
    plugins_dir: Folders

    @classmethod
    def of(cls, db: Address | None, plugins: Iterable[Any], plugins_dir: Folders | None) -> Setup:
        """``UsageError`` for what cannot be plugins, so that it is raised where they are named."""
        if isinstance(plugins, str | ModuleType):
            raise UsageError("plugins is not a list", hint="write plugins=[…], even if there is only one")
        given = tuple(plugins)
        for plugin in given:
            if plugin is None or isinstance(plugin, os.PathLike | bytes | int | float):
                raise UsageError(
                    f"{plugin!r} is not a plugin",
                    hint="give modules, their names, or functions with @activity; files: plugins_dir",
                )
        return cls(db, given, () if plugins_dir is None else plugins_dir)

    def load(self) -> tuple[Settings, Plugins]:
        """The settings that hold for the program, and all plugins. ``UsageError``."""
        from flowctl.plugins import load
        from flowctl.settings import settle

        db = None if self.db is None else os.fspath(self.db)
        folders = [self.plugins_dir] if isinstance(self.plugins_dir, str | os.PathLike) else self.plugins_dir
        settings = settle(db, [os.fspath(folder) for folder in folders], os.environ, os.getcwd())
        objects = [_imported(plugin) if isinstance(plugin, str) else plugin for plugin in self.plugins]
        dirs = [Path(folder) for folder in settings.plugins_dirs]
        plugins = load(
            dirs,
            objects=objects,
            settings=settings.plugins,
            project=settings.project,
            secrets=settings.secrets,
        )
        given = {_name(thing) for thing in objects}
        _judge(plugins.problems, given)
        for thing in objects:
            _check_brings(thing, plugins)
        return settings, plugins


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"the plugin {name} cannot be imported: {error}") from error
        hint = "give the name by which it is imported; a folder of files is plugins_dir"
        raise UsageError(f"there is no module {error.name!r} to take as a plugin", hint=hint) from None
    except Exception as error:
        message = f"the plugin {name} cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(message) from error


def _name(thing: Any) -> str:
    from flowctl.activities import declared

    found = declared(thing)
    return found.name if found is not None else getattr(thing, "__name__", type(thing).__name__)


def _judge(problems: Sequence[Problem], given: set[str]) -> None:
    for problem in problems:
        if problem.plugin in given:
            raise UsageError(str(problem))
        _log.warning("%s", problem)


def _check_brings(thing: Any, plugins: Plugins) -> None:
    """Refuse what was given as a plugin and has nothing in it: most likely an ``@activity`` was forgotten."""
    from flowctl.activities import declared

    if declared(thing) is None and callable(thing) and not isinstance(thing, type | ModuleType):
        raise UsageError(
            f"the function {_name(thing)} is not an activity",
            hint="decorate it: @flowctl.activity, or @flowctl.activity('a.name')",
        )


class Documents:
    """Finds what a program wants started, with one backend."""

    def __init__(self, backend: Backend, plugins: Plugins) -> None:
        self._plugins = plugins
        self._remarked: set[str] = set()
        self._finder = Finder(backend, lambda: plugins.vocabulary, warn=_log.warning, remark=_remark)

    def read(self, source: Source, *, to_deploy: bool = False) -> tuple[Model, str, Path | None]:
        """A document, its text, and the folder that it refers to others from. ``InvalidDocument``, also if it
        is ``to_deploy`` and cannot be; ``NotFound``, ``UsageError``.
        """
        if isinstance(source, Workflow):
            loaded = self._load(source, to_deploy)
            return loaded.workflow, loaded.source, source.folder
        if not isinstance(source, str | os.PathLike):
            raise UsageError(
                f"{source!r:.60} is not a workflow", hint="give a file, NAME@VERSION, a text, or a Workflow"
            )
        name = os.fspath(source)
        if is_text(name):
            return self._finder.read("the text", name, to_deploy=to_deploy), name, Path()
        if isinstance(source, os.PathLike) or is_file(name):
            from flowctl import document

            text = document.read(Path(name))
            return self._finder.read(name, text, to_deploy=to_deploy), text, Path(name).parent
        return *self._finder.deployed(name), None

    def children(self, source: Source, *, to_deploy: bool = False) -> dict[str, Loaded]:
        """The workflows that a ``Workflow`` was given as children, by reference. ``InvalidDocument``."""
        given = source.children() if isinstance(source, Workflow) else {}
        return {reference: self._load(child, to_deploy) for reference, child in given.items()}

    def _load(self, source: Workflow, to_deploy: bool) -> Loaded:
        world = World(self._plugins.activities, complete=False, folder=source.folder, deployed=to_deploy)
        loaded = source.load(functions=self._plugins.vocabulary, world=world)
        if loaded.workflow.digest not in self._remarked:
            self._remarked.add(loaded.workflow.digest)
            _remark(loaded.warnings)
        return loaded

    def request(self, source: Source, input: Any, id: str | None, principal: str | None) -> StartRequest:
        """A run to start; raises what ``read`` does, ``InvalidInput`` and ``UnknownActivity``."""
        from flowctl.backends import StartRequest

        check_texts(id=id)
        workflow, text, folder = self.read(source)
        known = {reference: child.workflow for reference, child in self.children(source).items()}
        children = self._finder.closure_of(workflow, folder, known)
        for each in (workflow, *(children.documents.values() if children is not None else ())):
            hint = "give plugins=[…] or plugins_dir, or install it; `flowctl plugins` shows what is there"
            check_activities(each, self._plugins.activities, hint=hint)
        return StartRequest(workflow, text, input_of(input), id=id, principal=principal, children=children)


class Filters(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs a program wants to see."""

    status: list[RunStatus]
    workflow: str | None
    where: dict[str, Scalar | list[Scalar]]
    limit: Annotated[int, Meta(ge=1)]

    @classmethod
    def of(cls, status: Any, workflow: Any, where: Any, limit: Any) -> Filters:
        """``InvalidInput`` for what cannot be filters: a journal that fails because of them is closed."""
        from flowctl import values

        several = isinstance(status, Iterable) and not isinstance(status, str)
        statuses = list(status) if several else [status]
        given = {"status": statuses, "workflow": workflow, "where": where or {}, "limit": limit}
        plain = to_json(given)
        values.check(plain, "what runs are to fit")
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"no runs can be chosen by this: {error}",
                hint="limit is a number from 1 on, workflow a name, where a mapping; a status is one of: "
                + ", ".join(RunStatus),
            ) from None


def check_texts(**given: Any) -> None:
    """``InvalidInput`` for an argument that is no text, before a journal fails because of it. Who sends a
    message, and why, whoever accepts it looks at.
    """
    from flowctl import values

    for name, value in given.items():
        values.check_text(value, f"the {name}")


def is_text(source: str) -> bool:
    """Whether it is a document itself, not the name of one."""
    return "\n" in source or source.lstrip().startswith("{")


def input_of(given: Any) -> dict[str, Any]:
    """The input of a run: a mapping, or typed data that is one in JSON. ``InvalidInput``."""
    from flowctl import values

    plain = to_json({} if given is None else given)
    if not isinstance(plain, dict):
        raise InvalidInput(
            f"the input is {values.kind_of(plain)}", hint="give a mapping, or a dataclass: input={'key': …}"
        )
    return plain


def to_json(given: Any) -> Any:
    """What a program hands in, as JSON: dataclasses, ``datetime``, ``Decimal``, … as activities return."""
    from flowctl.activities.binding import to_json as convert

    return convert(dict(given) if isinstance(given, Mapping) else given)


def milliseconds(wait: str | timedelta) -> int:
    """A duration, as text or not. ``UsageError``."""
    from flowctl.clock import parse_duration

    if isinstance(wait, timedelta):
        return wait // timedelta(milliseconds=1)
    if not isinstance(wait, str):
        raise UsageError(f"{wait!r} is not a duration", hint="write '30s', or a timedelta")
    try:
        return parse_duration(wait)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _remark(warnings: Sequence[Diagnostic]) -> None:
    for warning in warnings:
        _log.warning("%s", warning.render())
