"""Plugins: found, imported, asked once, and from then on plain dictionaries.

Three sources, in this order: the built-in ones, those installed under the entry point group ``flowctl`` (by
name), and the Python files of the plugins folders (folders as given, files by name; those beginning with
``_`` are helpers, not plugins).

Rules:

1. A plugin can fail in any way (not import, raise, call ``sys.exit``): it becomes a ``Problem`` with its
   name, and the others do not notice. Only Ctrl-C goes through.
2. The first to register a name keeps it; the second is a ``Problem`` naming both.
3. A call through pluggy costs as much as a tenth of a step, so hooks that register are called once, while
   loading.
4. What a plugin prints while it is imported goes to stderr: stdout is the command's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from flowctl.activities import Activity, Resource, declared, declared_resource
from flowctl.activities.modules import import_file
from flowctl.activities.resources import named_by
from flowctl.activities.settings import Configure
from flowctl.default_plugins import TELEMETRY, modules
from flowctl.errors import UsageError, safe_text
from flowctl.secrets import NO_SETTINGS, Resolver, Secrets, SecretSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pluggy import HookImpl, PluginManager

    from flowctl.expressions import Function

GROUP = "flowctl"
FUNCTION_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")

_log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True):
    """A plugin, or a part of it, that cannot be used. ``origin`` is its file, with the line if there is one,
    or its entry point."""

    plugin: str
    origin: str
    error: str

    def __str__(self) -> str:
        return f"plugin {self.plugin} ({self.origin}): {self.error}"


class PluginInfo(msgspec.Struct, frozen=True):
    """A plugin that was loaded, and what it registered. ``version`` is its distribution's, None for a
    file."""

    name: str
    version: str | None
    origin: str
    activities: tuple[str, ...]
    functions: tuple[str, ...]


class _Source(msgspec.Struct, frozen=True):
    """A plugin to be. ``key`` is unique, ``name`` what people call it."""

    key: str
    name: str
    version: str | None
    origin: str
    load: Callable[[], Any]


class Plugins:
    """All that plugins brought: ``activities`` and ``functions`` by name, ``described`` and ``problems`` in
    order of loading; ``secrets`` are who has those; ``telemetry`` is the module ``flowctl.telemetry``, None
    if nobody asked for it."""

    def __init__(self, secrets: SecretSettings | None = None) -> None:
        self.activities: dict[str, Activity] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.described: list[PluginInfo] = []
        self.problems: list[Problem] = []
        self.telemetry: Any = None
        self._owners: dict[str, str] = {}
        self._resolvers: list[Resolver] = []
        self._listeners: list[tuple[str, Callable[..., Any]]] = []
        self.secrets = Secrets(secrets or NO_SETTINGS, os.environ, self._resolvers)

    def resolve_secret(self, name: str) -> str | None:
        """The text of a secret, from the providers of the settings. None if nobody has it. Never raises."""
        return self.secrets.resolve(name)

    @functools.cached_property
    def vocabulary(self) -> Mapping[str, Function]:
        """All functions that expressions may call: the language's own and the plugins'."""
        from flowctl.expressions import extended

        return extended(self.functions)

    @property
    def listens(self) -> bool:
        """Whether any plugin does."""
        return bool(self._listeners)

    def emit(self, event: Mapping[str, Any]) -> None:
        """Tell every plugin that listens. What they raise is logged."""
        for plugin, listener in self._listeners:
            with _contained(plugin, "flowctl_on_event"):
                listener(event=event)


def load(
    dirs: Sequence[Path] = (),
    *,
    entry_points: bool = True,
    objects: Sequence[Any] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    project: str = ".",
    secrets: SecretSettings | None = None,
) -> Plugins:
    """Load all plugins. ``objects`` are modules, other objects with hooks, or functions declared with
    ``@activity``. ``settings`` are what ``flowctl.toml`` tells plugins, by name; ``project`` is its
    folder. ``secrets`` says where secrets are to be had."""
    loading = _Loading(settings or {}, project, secrets)
    for module in modules(os.environ):
        loading.add(_importable(module, module.rpartition(".")[2], module, None))
    for point in _entry_points() if entry_points else ():
        loading.add(_Source(f"{GROUP}:{point.name}", point.name, _version(point), point.value, point.load))
    for thing in objects:
        loading.add(_object(thing))
    for folder in dirs:
        for source in loading.files(folder):
            loading.add(source)
    loading.plugins.telemetry = loading.loaded(TELEMETRY)
    loading.report_settings_of_nobody()
    return loading.plugins


class _Loading:
    """Loads one plugin after another into ``plugins``."""

    def __init__(
        self, settings: Mapping[str, Mapping[str, Any]], project: str, secrets: SecretSettings | None
    ) -> None:
        import pluggy

        from flowctl import hookspecs

        self.plugins = Plugins(secrets)
        self._settings = settings
        self._project = project
        self._told: set[str] = set()
        self._manager: PluginManager = pluggy.PluginManager("flowctl")
        self._manager.add_hookspecs(hookspecs)

    def files(self, folder: Path) -> Iterator[_Source]:
        """The plugins of a folder."""
        try:
            files = sorted(file for file in folder.iterdir() if file.suffix == ".py" and file.is_file())
        except OSError as error:
            reason = error.strerror or str(error)
            self.plugins.problems.append(
                Problem(folder.name, str(folder), f"the folder cannot be read: {reason}")
            )
            return
        for file in files:
            if not file.name.startswith("_"):
                yield _Source(str(file.resolve()), file.stem, None, str(file), partial(import_file, file))

    def add(self, source: _Source) -> None:
        """Load one plugin and register what it brings."""
        if self._manager.has_plugin(source.key):
            return
        with self._reported(source), contextlib.redirect_stdout(sys.stderr):
            plugin = source.load()
            hooks = self._hooks(plugin, source)
            registration = _Registration(self.plugins, source)
            if "flowctl_configure" in hooks:
                self._told.add(source.name)
                settings = dict(self._settings.get(source.name, {}))
                hooks["flowctl_configure"](settings=settings, folder=self._project)
                registration.told(hooks["flowctl_configure"], settings, self._project)
            registration.everything(plugin, hooks)

    def loaded(self, key: str) -> Any:
        """The plugin of that key, if there is one and all is well with it."""
        broken = {problem.plugin for problem in self.plugins.problems}
        return None if key.rpartition(".")[2] in broken else self._manager.get_plugin(key)

    def report_settings_of_nobody(self) -> None:
        """A setting that is silently ignored is worse than none."""
        from flowctl.expressions.hints import did_you_mean

        broken = {problem.plugin for problem in self.plugins.problems}
        for name in sorted(self._settings.keys() - self._told - broken):
            error = f"[plugins.{name}] is for no plugin that takes settings"
            if self._told:
                error = f"{error}; {did_you_mean(name, self._told)}"
            self.plugins.problems.append(Problem(name, "flowctl.toml", error))

    def _hooks(self, plugin: Any, source: _Source) -> dict[str, partial[Any]]:
        """The hooks that a plugin implements, by name. pluggy has checked their parameters."""
        if self._manager.is_registered(plugin):  # one module under two names
            return {}
        self._manager.register(plugin, source.key)
        hooks: dict[str, partial[Any]] = {}
        for caller in self._manager.get_hookcallers(plugin) or []:
            (implementation,) = (each for each in caller.get_hookimpls() if each.plugin is plugin)
            if caller.spec is not None:
                hooks[caller.name] = partial(_call, implementation)
            elif not implementation.optionalhook:
                self._report(source, source.origin, f"there is no hook called {caller.name!r}")
        return hooks

    @contextlib.contextmanager
    def _reported(self, source: _Source) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._report(source, _place(error, source.origin), f"{type(error).__name__}: {safe_text(error)}")

    def _report(self, source: _Source, place: str, text: str) -> None:
        self.plugins.problems.append(Problem(source.name, place, text))


class _Registration:
    """What one plugin registers."""

    def __init__(self, plugins: Plugins, source: _Source) -> None:
        self._plugins = plugins
        self._source = source
        self._activities: list[str] = []
        self._functions: list[str] = []
        self._resources: dict[str, Resource] = {}
        self._takes_settings = False
        self._configure: Configure | None = None

    def told(self, hook: partial[Any], settings: Mapping[str, Any], folder: str) -> None:
        """The plugin was told its settings; its child processes will be."""
        [implementation] = hook.args
        self._takes_settings = True
        self._configure = Configure.of(implementation.function, implementation.argnames, settings, folder)

    def everything(self, plugin: Any, hooks: Mapping[str, Callable[..., Any]]) -> None:
        """Ask the plugin for all it has. What was registered before a hook raised stays."""
        source, plugins = self._source, self._plugins
        try:
            self._resources.update(_module_resources(plugin))
            if "flowctl_register_resources" in hooks:
                hooks["flowctl_register_resources"](register=self.resource)
            for found in _module_activities(plugin):
                self._add_activity(found)
            for name, register in (
                ("flowctl_register_activities", self.activity),
                ("flowctl_register_functions", self.function),
            ):
                if name in hooks:
                    hooks[name](register=register)
        finally:
            brought = tuple(self._activities), tuple(self._functions)
            plugins.described.append(PluginInfo(source.name, source.version, source.origin, *brought))
        for name, callers in (
            ("flowctl_resolve_secret", plugins._resolvers),
            ("flowctl_on_event", plugins._listeners),
        ):
            if name in hooks:
                callers.append((source.name, hooks[name]))

    def activity(self, thing: Any) -> None:
        """``register`` of ``flowctl_register_activities``."""
        found = thing if isinstance(thing, Activity) else declared(thing)
        if found is None:
            raise TypeError(f"register() takes functions declared with @activity, not {thing!r:.100}")
        self._add_activity(found)

    def resource(self, name: str, function: Callable[..., Any]) -> None:
        """``register`` of ``flowctl_register_resources``."""
        found = declared_resource(function)
        if found is None or not isinstance(name, str) or not name.isidentifier():
            raise TypeError(
                f"register() takes the name of a parameter and a function declared with @resource,"
                f" not {name!r:.100}, {function!r:.100}"
            )
        if self._resources.setdefault(name, found).function is not function:
            raise UsageError(f"the plugin has two resources called {name!r}", hint="rename one of them")

    def function(self, name: str, function: Callable[..., Any]) -> None:
        """``register`` of ``flowctl_register_functions``."""
        if not isinstance(name, str) or not FUNCTION_NAME.match(name) or not callable(function):
            raise TypeError(f"register() takes a name such as 'vat' and a function, not {name!r:.100}")
        known = self._plugins.functions.get(name)
        if known is None:
            self._plugins.functions[name] = function
            self._plugins._owners[f"{name}()"] = self._source.name
            self._functions.append(name)
        elif known is not function:
            self._taken(f"the function {name!r}", f"{name}()", self._source.origin)

    def _add_activity(self, found: Activity) -> None:
        known = self._plugins.activities.get(found.name)
        if known is not None:
            # of one origin: the same one, imported by a sibling too, or registered by a hook as well
            if known.origin != found.origin:
                self._taken(f"the activity {found.name!r}", found.name, found.origin)
            return
        resources = named_by(found.function, self._resources)
        if resources and found.isolation == "process":
            raise UsageError(
                f"{found.name}: a child process cannot be given the resource {min(resources)!r}",
                hint="open what it needs in the function, or leave isolation='process' out",
            )
        if found.isolation == "process" and self._takes_settings and self._configure is None:
            raise UsageError(
                f"{found.name}: a child process cannot be told the settings of this plugin",
                hint="have flowctl_configure at the top level of a module, or leave isolation='process' out",
            )
        added = dataclasses.replace(
            found, plugin=self._source.name, resources=resources, configure=self._configure
        )
        _ = added.binding  # refuses what cannot be called by name
        self._plugins.activities[found.name] = added
        self._plugins._owners[found.name] = self._source.name
        self._activities.append(found.name)

    def _taken(self, what: str, key: str, origin: str) -> None:
        owner = self._plugins._owners[key]
        error = f"{what} is registered by plugin {owner} already, which keeps it; rename one of them"
        self._plugins.problems.append(Problem(self._source.name, origin, error))


def _call(implementation: HookImpl, **arguments: Any) -> Any:
    """Call the hook of one plugin, not of all; it may take fewer parameters than there are."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _module_activities(plugin: Any) -> Iterable[Activity]:
    things = vars(plugin).values() if isinstance(plugin, ModuleType) else (plugin,)
    return [found for found in map(declared, things) if found is not None]


def _module_resources(plugin: Any) -> Mapping[str, Resource]:
    """By the name that they have in the module, not the one they were defined with."""
    things = vars(plugin).items() if isinstance(plugin, ModuleType) else ()
    return {name: found for name, thing in things if (found := declared_resource(thing)) is not None}


def _importable(module: str, name: str, origin: str, version: str | None) -> _Source:
    from importlib import import_module

    return _Source(module, name, version, origin, lambda: import_module(module))


def _object(thing: Any) -> _Source:
    found = declared(thing)
    name = found.name if found is not None else getattr(thing, "__name__", type(thing).__name__)
    origin = found.origin if found is not None else "given"
    return _Source(f"object:{id(thing)}", name, None, origin, lambda: thing)


def _entry_points() -> list[EntryPoint]:
    if not any(map(_may_announce, sys.path)):
        return []
    from importlib.metadata import entry_points

    return sorted(set(entry_points(group=GROUP)), key=lambda point: (point.name, point.value))


def _may_announce(folder: str) -> bool:
    """Whether a distribution in a folder of ``sys.path`` may have entry points for us.

    Looked up by hand: most installations have none, and ``importlib.metadata``, which brings a parser of
    emails and zipfile along, takes longer to import than all plugins take to load.
    """
    try:
        with os.scandir(folder or ".") as entries:
            distributions = [entry.path for entry in entries if entry.name.lower().endswith("-info")]
    except NotADirectoryError:
        return True  # an archive: only importlib.metadata can tell
    except OSError:
        return False
    return any(map(_has_section, distributions))


def _has_section(distribution: str) -> bool:
    try:
        with open(os.path.join(distribution, "entry_points.txt"), "rb") as file:
            return b"[%s]" % GROUP.encode() in file.read()
    except OSError:
        return False


def _version(point: EntryPoint) -> str | None:
    return point.dist.version if point.dist is not None else None


def _place(error: BaseException, origin: str) -> str:
    """``origin``, with the line if the error comes from that file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    file = os.path.realpath(origin)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    return f"{origin}:{lines[-1]}" if lines else origin


@contextlib.contextmanager
def _contained(plugin: str, hook: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _log.warning("plugin %s: %s raised %s: %s", plugin, hook, type(error).__name__, safe_text(error))
