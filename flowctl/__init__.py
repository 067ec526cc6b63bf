"""flowctl: durable workflows from YAML documents and Python activities.

The public names are imported on first use. So ``import flowctl`` costs nothing, a plugin that needs
``activity`` does not pay for the engine, and ``flowctl --help`` for neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowctl.activities import (
        Activity,
        ActivityContext,
        ActivityError,
        activity,
        replace_resource,
        resource,
    )
    from flowctl.errors import FlowctlError
    from flowctl.hookspecs import hookimpl

    __version__: str

_HOMES = {
    "Activity": "flowctl.activities",
    "ActivityContext": "flowctl.activities",
    "ActivityError": "flowctl.activities",
    "FlowctlError": "flowctl.errors",
    "activity": "flowctl.activities",
    "hookimpl": "flowctl.hookspecs",
    "replace_resource": "flowctl.activities",
    "resource": "flowctl.activities",
}
"""The module that each public name lives in."""

__all__ = [
    "Activity",
    "ActivityContext",
    "ActivityError",
    "FlowctlError",
    "__version__",
    "activity",
    "hookimpl",
    "replace_resource",
    "resource",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("flowctl")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
