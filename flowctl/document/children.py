"""Child workflows in files: whether they are there, what they take and what they give.

A reference such as ``./ship.yaml`` is beside the document that says so. Only as much of a child is read as
its parent must know; what is wrong inside it is said when it is checked itself. A name is looked up in a
registry, which nobody has here: it is not judged. What is deployed has nothing beside it: a version once
deployed is taken for ever, so one that refers to a file, and could never be started, is a mistake.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowctl.document.files import read_file
from flowctl.document.inference import template_type
from flowctl.document.inputs import Gate, with_defaults
from flowctl.document.names import input_type
from flowctl.document.signatures import Parameter, Signature
from flowctl.document.spelling import closest
from flowctl.document.types import UNKNOWN, Type, of_schema
from flowctl.document.world import World
from flowctl.errors import InvalidDocument, UsageError

FILE = re.compile(r"\.(ya?ml|json)\Z")
"""How a reference ends that is a file."""


class Missing(NamedTuple):
    """A child that cannot be read: why, and what to write instead, if that is certain."""

    message: str
    hint: str | None = None
    instead: str | None = None


class Children:
    """The children of a document in a world. Where nobody knows its folder, nothing is known of them."""

    def __init__(self, world: World) -> None:
        self._folder = world.folder
        self._deployed = world.deployed
        self._found: dict[str, Signature | Missing | None] = {}

    def signature(self, reference: Any) -> Signature | None:
        """How a child is called; None if that is not known."""
        found = self._find(reference)
        return found if isinstance(found, Signature) else None

    def missing(self, reference: Any) -> Missing | None:
        """Why a child cannot be read; None if it can, or is none that is in a file."""
        found = self._find(reference)
        return found if isinstance(found, Missing) else None

    def _find(self, reference: Any) -> Signature | Missing | None:
        if not isinstance(reference, str) or not FILE.search(reference):
            return None
        if self._deployed:
            return _not_deployable(reference)
        if self._folder is None:
            return None
        if reference not in self._found:
            self._found[reference] = _read(reference, self._folder)
        return self._found[reference]


def _not_deployable(reference: str) -> Missing:
    hint = "deploy the child too, and refer to it by its name"
    return Missing(f"the child {reference!r} is a file, and a deployed workflow has no folder", hint)


def _read(reference: str, folder: Path) -> Signature | Missing:
    from flowctl.document.loader import load_yaml

    path = folder / reference
    try:
        data = load_yaml(read_file(path), reference)
    except UsageError as error:
        if path.exists():
            return Missing(f"the child cannot be read: {error.message}")
        return _lost(reference, path)
    except InvalidDocument as error:
        first = error.diagnostics[0]
        return Missing(f"the child {reference!r} is no document: {first.message}, on line {first.line}")
    if not isinstance(data, dict) or not isinstance(data.get("steps"), list):
        return Missing(f"the child {reference!r} is no workflow", "it has no 'steps'")
    return signature_of(reference, data)


def _lost(reference: str, path: Path) -> Missing:
    try:
        beside = [file.name for file in path.parent.iterdir() if FILE.search(file.name)]
    except OSError:
        beside = []
    close = closest(path.name, beside)
    around = reference.removesuffix(path.name)
    hint = f"did you mean {around + close[0]!r}?" if close else "it is looked for beside this document"
    instead = around + close[0] if len(close) == 1 else None
    return Missing(f"there is no file {reference!r}", hint, instead)


def signature_of(name: str, workflow: Mapping[str, Any]) -> Signature:
    """What a workflow takes, by its input schema, and gives, by its output's or the output itself."""
    schema = workflow.get("input")
    schema = schema if isinstance(schema, dict) and _is_schema(schema) else {}
    taken = input_type(schema)
    parameters = {
        name: Parameter(
            made(),
            name in taken.required and "default" not in schema["properties"][name],
            functools.partial(_refusal, schema, name),
        )
        for name, made in taken.fields.items()
    }
    return Signature(name, parameters, taken.others != "none", _output(workflow))


def _is_schema(schema: Any) -> bool:
    from flowctl.document.json_schema import schema_problems

    return not schema_problems(schema)


def _refusal(schema: Mapping[str, Any], name: str, value: Any) -> str | None:
    """What a child says of one value of its input."""
    own = schema["properties"][name]
    whole = {**own, "$defs": schema["$defs"]} if isinstance(own, dict) and "$defs" in schema else own
    return Gate(whole, name)(with_defaults(own, value))


def _output(child: Mapping[str, Any]) -> Type:
    if isinstance(child.get("output_schema"), dict):
        return of_schema(child["output_schema"])
    return template_type(child["output"], lambda reference: UNKNOWN) if "output" in child else UNKNOWN
