"""New projects and plugins, from the templates beside this module.

A template is a folder of files, ``NAME.tmpl`` each, that become what they are without the suffix. In names
and texts, ``@NAME@``, ``@MODULE@`` and ``@PREFIX@`` stand for what the folder's own name makes of a package:
of ``flowctl-acme``, the distribution of that name, the module ``flowctl_acme``, activities ``acme.…``.

Nothing is ever overwritten: one file that is there already, and none is written.
"""

from __future__ import annotations

import dataclasses
import keyword
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from flowctl.errors import Conflict, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIX = ".tmpl"

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "project": (
        "flowctl validate order.yaml",
        "flowctl test --every-failure --coverage",
        "flowctl run order.yaml -i item=lamp -i amount=20",
        "flowctl run order.yaml -i item=lamp -i amount=20 -i card=declined",
        "flowctl status @last",
        "python -m pytest",
    ),
    "plugin": (
        "python -m pip install -e '.[dev]'",
        "flowctl activities @PREFIX@.greet",
        "flowctl run greeting.yaml -i name=Ada",
        "flowctl test",
        "python -m pytest",
    ),
}
"""Each template, and what to do with what it makes, one after the other."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@dataclasses.dataclass(frozen=True)
class Made:
    """What was made: the files, relative to ``folder``, and the commands to go on with."""

    folder: str
    template: str
    files: list[str]
    commands: list[str]


def make(folder: str, template: str) -> Made:
    """Write a template's files into a folder, made if it is not there.

    ``Conflict`` if one of them is there, ``UsageError`` for a folder that cannot be written, or whose name
    cannot be a package's.
    """
    root = Path(folder).resolve()
    words = _words(root.name) if template == "plugin" else {}
    source = files(__package__) / "templates" / template
    texts = {_fill(name, words): _fill(text, words) for name, text in sorted(_texts(source))}
    there = [name for name in texts if os.path.lexists(root / name)]
    if there:
        raise Conflict(
            f"nothing was written: {folder} has {', '.join(there)} already",
            hint="give another folder; nothing is ever overwritten",
        )
    try:
        for name, text in texts.items():
            _write(root / name, text)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    return Made(str(root), template, list(texts), [_fill(command, words) for command in COMMANDS[template]])


def _texts(folder: Traversable, inside: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, f"{inside}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield inside + entry.name.removesuffix(SUFFIX), entry.read_text(encoding="utf-8")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "x", encoding="utf-8") as stream:  # somebody may have been quicker
        stream.write(text)


def _fill(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _words(folder: str) -> dict[str, str]:
    """What a package in a folder of this name is called. ``UsageError``."""
    name = re.sub(r"[-_. ]+", "-", folder).lower()
    module, prefix = name.replace("-", "_"), name.removeprefix("flowctl-").replace("-", "_")
    taken = {"flowctl", *sys.stdlib_module_names}
    if not _NAME.match(name) or module in taken or keyword.iskeyword(module) or not prefix[0].isalpha():
        raise UsageError(
            f"a package cannot be called {folder!r}",
            hint="name the folder as the package shall be called, such as flowctl-acme",
        )
    return {"@NAME@": name, "@MODULE@": module, "@PREFIX@": prefix}
