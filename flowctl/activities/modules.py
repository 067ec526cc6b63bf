"""Importing a plugin's file, the same way here and in a child process.

A file ``shop.py`` in a plugins folder becomes the module ``shop`` of a private package made from the folder's
path. So two folders may both have a ``shop.py``, and none can take the place of an installed module. What an
author expects holds all the same: ``from . import prices`` finds a sibling, and so does ``import prices``,
because the folder is also in ``sys.path``: behind all that is installed, so that a plugin called ``email.py``
breaks nobody, and before the folders loaded earlier, whose own ``prices`` keeps serving those who imported
it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

PREFIX = "flowctl_plugins_"


_folders: list[str] = []


class Source(msgspec.Struct, frozen=True):
    """Where a function can be found again: a module's name, the folder it is to be imported from (None: the
    ordinary way), and the function's place in it."""

    module: str
    folder: str | None
    qualname: str


def import_file(file: Path) -> ModuleType:
    """The module of a plugin's file, imported once. Raises whatever the file raises."""
    return importlib.import_module(f"{_package(str(file.resolve().parent))}.{file.stem}")


def source_of(function: Callable[..., Any]) -> Source:
    """Where another process finds ``function``, which is at the top level of a module."""
    module, qualname = function.__module__, function.__qualname__
    if module == "__main__":  # a script: there it has its file's name
        script = Path(sys.modules[module].__file__ or "").resolve()
        return Source(script.stem, str(script.parent), qualname)
    package, _, rest = module.partition(".")
    if package.startswith(PREFIX):
        return Source(rest, sys.modules[package].__path__[0], qualname)
    return Source(module, None, qualname)


def find(source: Source) -> Any:
    """The object at a source, importing its module."""
    name = source.module if source.folder is None else f"{_package(source.folder)}.{source.module}"
    found: Any = importlib.import_module(name)
    for part in source.qualname.split("."):
        found = getattr(found, part)
    return found


def search_path(source: Source) -> list[str]:
    """``sys.path`` for another process that is to find ``source``: as it is here, but its own folder before
    others.
    """
    own = [source.folder] if source.folder is not None else []
    others = [folder for folder in _folders if folder not in own]
    return [entry for entry in sys.path if entry not in _folders and entry not in own] + own + others


def _package(folder: str) -> str:
    name = PREFIX + hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"The plugins in {folder}.")
        package.__path__ = [folder]
        sys.modules[name] = package
        _enter(folder)
    return name


def _enter(folder: str) -> None:
    """Have absolute imports find the folder's modules, also where another plugins folder has one of that
    name.
    """
    for name, module in list(sys.modules.items()):
        if not os.path.dirname(getattr(module, "__file__", None) or "").startswith(tuple(_folders)):
            continue  # before the file system is asked: this is so for nearly all of them
        top = name.partition(".")[0]
        if any(os.path.exists(os.path.join(folder, top + suffix)) for suffix in ("", ".py")):
            del sys.modules[name]
    if folder not in sys.path:
        places = [sys.path.index(other) for other in _folders if other in sys.path]
        sys.path.insert(min(places, default=len(sys.path)), folder)
    _folders.append(folder)
