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
    from flowctl.building import Steps, Workflow, expr
    from flowctl.embedding import Engine, Handle, run
    from flowctl.errors import (
        FlowctlError,
        InvalidDocument,
        InvalidInput,
        RunCancelled,
        RunCompensated,
        RunCompensationFailed,
        RunError,
        RunFailed,
        RunTerminated,
        RunUnfinished,
    )
    from flowctl.hookspecs import hookimpl
    from flowctl.server import serve_app

    __version__: str

_HOMES = {
    "Activity": "flowctl.activities",
    "ActivityContext": "flowctl.activities",
    "ActivityError": "flowctl.activities",
    "Engine": "flowctl.embedding",
    "FlowctlError": "flowctl.errors",
    "Handle": "flowctl.embedding",
    "InvalidDocument": "flowctl.errors",
    "InvalidInput": "flowctl.errors",
    "RunCancelled": "flowctl.errors",
    "RunCompensated": "flowctl.errors",
    "RunCompensationFailed": "flowctl.errors",
    "RunError": "flowctl.errors",
    "RunFailed": "flowctl.errors",
    "RunTerminated": "flowctl.errors",
    "RunUnfinished": "flowctl.errors",
    "Steps": "flowctl.building",
    "Workflow": "flowctl.building",
    "activity": "flowctl.activities",
    "expr": "flowctl.building",
    "hookimpl": "flowctl.hookspecs",
    "replace_resource": "flowctl.activities",
    "resource": "flowctl.activities",
    "run": "flowctl.embedding",
    "serve_app": "flowctl.server",
}
"""The module that each public name lives in."""

__all__ = [
    "Activity",
    "ActivityContext",
    "ActivityError",
    "Engine",
    "FlowctlError",
    "Handle",
    "InvalidDocument",
    "InvalidInput",
    "RunCancelled",
    "RunCompensated",
    "RunCompensationFailed",
    "RunError",
    "RunFailed",
    "RunTerminated",
    "RunUnfinished",
    "Steps",
    "Workflow",
    "__version__",
    "activity",
    "expr",
    "hookimpl",
    "replace_resource",
    "resource",
    "run",
    "serve_app",
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
