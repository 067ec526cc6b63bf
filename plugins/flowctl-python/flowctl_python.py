"""Any importable function as an activity of flowctl, if the project allows it.

Rules:

1. Only what ``[plugins.python] functions`` in ``flowctl.toml`` names is called, as ``module:function``; or,
   with ``module:*``, what a module itself defines at its top level under a public name. What it imports is
   not its own.
2. Nothing is imported before the name has been found in that list.
3. Arguments and results are JSON, as they are. A coroutine is run to its end.
4. A function is called once: nobody knows whether it may be repeated but the author of the step, whose
   ``retry`` says so.

A function that is written for workflows is better off as an activity of its own, with types and an
idempotency key; this is for those that are there already.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowctl import activity, hookimpl

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|\*)\Z", re.ASCII)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.python]``. ``functions`` are what may be called; ``path`` are folders of the project to
    import from, behind all that is installed."""

    functions: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


class NotAllowed(Exception):
    """``flowctl.toml`` does not allow the function."""


class NoSuchFunction(Exception):
    """It is allowed, and not there, or no function."""


_settings = Settings()


@hookimpl
def flowctl_configure(settings: Mapping[str, Any], folder: str) -> None:
    """Take ``[plugins.python]``."""
    global _settings
    found = msgspec.convert(settings, Settings)
    for name in found.functions:
        if not NAME.match(name):
            raise ValueError(f"functions: {name!r} is not module:function, or module:*")
    for each in found.path:
        place = os.path.abspath(os.path.join(folder, each))
        if place not in sys.path:
            sys.path.append(place)
    _settings = found


@activity("python.call", timeout="5m", retry=False)
def call(function: str, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None) -> Any:
    """Call a function, ``module:function``, and return what it returns.

    ``args`` are arguments by place, ``kwargs`` by name.
    """
    result = _find(function)(*(args or []), **(kwargs or {}))
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result


def _find(name: str) -> Callable[..., Any]:
    """The function of that name. ``NotAllowed``, ``NoSuchFunction``."""
    module, _, path = name.partition(":")
    whole = f"{module}:*" in _settings.functions
    if not NAME.match(name) or path == "*" or (name not in _settings.functions and not whole):
        known = ", ".join(_settings.functions) or "none"
        raise NotAllowed(
            f"{name!r} is not among [plugins.python] functions in flowctl.toml, which has {known}"
        )
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NoSuchFunction(f"there is no {name}: {error}") from None
    if name not in _settings.functions and not _is_own(found, module, path):
        raise NotAllowed(f"{name} is private, or not {module}'s own; name it by itself in flowctl.toml")
    if not callable(found):
        raise NoSuchFunction(f"{name} is no function")
    return found  # type: ignore[no-any-return]


def _is_own(found: Any, module: str, path: str) -> bool:
    """Whether a module itself defines it, at its top level, for others."""
    return not path.startswith("_") and "." not in path and getattr(found, "__module__", None) == module
