"""Documents: from a text to a ``Workflow``, and everything that can be wrong on the way.

The way of a document, one module each::

    source       bytes → text               all that one needs that is known already
    loader       text → data with places    YAML on the event stream; ``syntax`` explains what is not YAML
    schema       its shape                  the JSON Schema, verb by verb; ``sentences`` says what it finds
    checks       its meaning                ids, attributes, compensations; ``verb_checks`` each verb,
                                            ``policy_checks`` durations, ``effect_checks`` what attempts leave
                                            behind; ``subject`` what they share
    flow_checks  its course                 what never runs, and what never ends
    references   its expressions            every name is there (``names``), comes before (``scopes``), and
                                            fits (``types``, ``inference``, ``arguments``, ``signatures``)
    usage                                   what is declared and never used
    build        data → model               what the interpreter walks; ``policies`` limits and retries
    closure                                 all documents that a run can need
    inputs       the schemas it brings      defaults, and what input, payloads and output must be
    quick                                   finds the values that surely fit, at no cost
    json_schema                             applies the schemas, and comes to an end on anything it is given

``examination`` runs the checks, ``fixes`` mends what they are certain of, ``editor_schema`` is for editors.
``structure`` holds the tables of verbs that all of them walk by; ``diagnostics`` what a mistake looks like,
``vocabulary`` and ``spelling`` which word was meant. ``world`` is what is known besides the document.
Everything imports YAML and JSON Schema only when it comes to that: a stored document needs neither.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowctl import values
from flowctl.document.build import assemble, build, signals
from flowctl.document.world import NOWHERE, REGISTRY, World
from flowctl.errors import InvalidDocument
from flowctl.expressions import FUNCTIONS, Function
from flowctl.model import Signal, Workflow

if TYPE_CHECKING:
    from flowctl.document.diagnostics import Diagnostic

__all__ = [
    "NOWHERE",
    "REGISTRY",
    "Loaded",
    "World",
    "build",
    "digest_of",
    "load",
    "problems",
    "read",
    "rewrite",
    "scalar",
    "signals_of",
    "stored",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A document that was read and is right. ``source`` is its text as it was written."""

    workflow: Workflow
    warnings: list[Diagnostic]
    source: str


def load(
    source: bytes | str,
    name: str,
    *,
    functions: Mapping[str, Function] = FUNCTIONS,
    world: World = NOWHERE,
) -> Loaded:
    """Read and check a document. ``name`` is what messages call its file.

    ``functions`` are all that expressions may call (``expressions.extended`` adds those of plugins). Raises
    ``InvalidDocument`` with every mistake, in the order of the document.
    """
    from flowctl.document.examination import examine

    examined = examine(source, name, functions, world)
    examined.report.raise_errors()
    workflow = assemble(examined.data, digest_of(examined.data), examined.texts)
    return Loaded(workflow, examined.report.warnings, examined.text)


def problems(
    source: bytes | str,
    name: str,
    *,
    functions: Mapping[str, Function] = FUNCTIONS,
    world: World = NOWHERE,
) -> list[Diagnostic]:
    """All mistakes and warnings of a document, in its order."""
    from flowctl.document.examination import examine

    try:
        return examine(source, name, functions, world).report.everything
    except InvalidDocument as error:
        return list(error.diagnostics)


def read(path: Path) -> str:
    """The text of a file. ``UsageError`` if it cannot be read, ``InvalidDocument`` if it is no text."""
    from flowctl.document.files import read_file
    from flowctl.document.source import text_of

    return text_of(read_file(path), str(path))


def rewrite(path: Path, text: str) -> None:
    """Put another text in a file that holds a document. ``UsageError`` if it cannot be written."""
    from flowctl.document.files import write_file

    write_file(path, text)


def stored(body: bytes | str, digest: str, functions: Mapping[str, Any] = FUNCTIONS) -> Workflow:
    """The workflow of a stored document: the canonical JSON of its body, as ``load`` accepted it once.
    ``ExpressionError`` if it calls a function that is none of these.
    """
    return build(values.decode(body, "the stored document"), digest, functions)


@functools.lru_cache(maxsize=256)
def signals_of(body: bytes) -> Mapping[str, Signal]:
    """The signals of a stored document. Whoever sends one need not have the functions of its expressions."""
    return signals(values.decode(body, "the stored document"))


def digest_of(body: Mapping[str, Any]) -> str:
    """What a run pins: ``sha256:`` and the hash of the canonical JSON of a document."""
    return f"sha256:{values.digest(body)}"


def scalar(text: str) -> Any:
    """The value of a plain YAML scalar: ``true`` is a boolean, ``12`` a number, ``no`` a text.
    ``InvalidInput``.
    """
    from flowctl.document.scalars import core

    return core(text)
