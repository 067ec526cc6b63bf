"""What a plugin may do: one function per hook, with its contract.

A plugin is a module, installed under the entry point group ``flowctl`` or lying in a plugins folder. It
implements the hooks it cares about, marked with ``@hookimpl``, and may take only the parameters it needs
(there are no wrappers: each plugin is called for itself). Activities at the top level of the module are
registered without any hook.

A hook that raises is reported by its plugin's name and never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("flowctl")
hookimpl = pluggy.HookimplMarker("flowctl")


@hookspec
def flowctl_configure(settings: Mapping[str, Any], folder: str) -> None:
    """The plugin's own table of ``flowctl.toml``, ``[plugins.NAME]``, as TOML has it; empty without one.
    ``folder`` is the project's, that paths are relative to.

    Called before all other hooks. Raise for what makes no sense, unknown keys included: then nothing of the
    plugin is registered, and the message is shown wherever plugins are loaded.
    """


@hookspec
def flowctl_register_activities(register: Callable[[Any], None]) -> None:
    """Register activities: ``register(function)`` for functions declared with ``@activity``.

    For those that are not at the top level of the plugin's module, or made in a loop.
    """


@hookspec
def flowctl_register_resources(register: Callable[[str, Any], None]) -> None:
    """Register resources: ``register("http", function)`` for functions declared with ``@resource``.

    For those that are not at the top level of the plugin's module. They are given to the plugin's own
    activities, where a parameter has the name.
    """


@hookspec
def flowctl_register_functions(register: Callable[[str, Callable[..., Any]], None]) -> None:
    """Register functions for expressions: ``register("vat", function)``.

    They must be pure: JSON in, JSON out, the same for the same arguments. Their results are recorded only as
    part of what uses them, so after a crash they are asked again.
    """


@hookspec
def flowctl_resolve_secret(name: str) -> str | None:
    """The text of a secret, or None if this plugin does not have it; the first that does is taken.

    Asked right before each attempt that needs it, on the event loop: answer fast, or from a cache.
    """


@hookspec
def flowctl_on_event(event: Mapping[str, Any]) -> None:
    """Something happened in the life of a run or a step. ``event`` is a CloudEvent: ``specversion id source
    type subject time datacontenttype data``; see ``engine.events`` for the types.

    Told after it became durable, in a thread of its own, one event after the other: no run waits for it. The
    same event always has the same ``id``.
    """
