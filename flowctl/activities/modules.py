"""Importing a plugin's file, the same way here and in a child process.

A file ``shop.py`` in a plugins folder becomes the module ``shop`` of a private package made from the folder's
path. So two folders may both have a ``shop.py``, and none can take the place of an installed module. What an
author expects holds all the same: ``from . import prices`` finds a sibling, and so does ``import prices``,
because the folder is also appended to ``sys.path``; appended, so that a plugin called ``email.py`` breaks
nobody.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "flowctl_plugins_"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
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


def _package(folder: str) -> str:
    name = PREFIX + hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"The plugins in {folder}.")
        package.__path__ = [folder]
        sys.modules[name] = package
        if folder not in sys.path:
            sys.path.append(folder)
    return name
