"""Documents: from a text to a ``Workflow``, and everything that can be wrong on the way.

The way of a document, one module each::

    source       bytes → text               all that one needs that is known already
    loader       text → data with places    YAML on the event stream; ``syntax`` explains what is not YAML
    schema       its shape                  the JSON Schema, verb by verb; ``sentences`` says what it finds
    checks       its meaning                ids, signals, durations, contradictions
    references   its expressions            every name is there, and comes before
    build        data → model               what the interpreter walks
    inputs       the schemas it brings      defaults, and what input, payloads and output must be
    quick                                   finds the values that surely fit, at no cost
    json_schema                             applies the schemas, and comes to an end on anything it is given

``structure`` holds the tables of verbs that all of them walk by; ``diagnostics`` what a mistake looks like.
Everything imports YAML and JSON Schema only when it comes to that: a stored document needs neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowctl import values
from flowctl.document.build import assemble, build
from flowctl.document.texts import Texts
from flowctl.expressions import FUNCTIONS, Function
from flowctl.model import Workflow

if TYPE_CHECKING:
    from flowctl.document.diagnostics import Diagnostic

__all__ = ["Loaded", "build", "digest_of", "load", "read", "scalar", "stored"]


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
    activities: Collection[str] | None = None,
    functions: Mapping[str, Function] = FUNCTIONS,
) -> Loaded:
    """Read and check a document. ``name`` is what messages call its file.

    ``activities`` are the registered names, None if they are not known; ``functions`` all that expressions
    may call (``expressions.extended`` adds those of plugins). Raises ``InvalidDocument`` with every mistake,
    in the order of the document.
    """
    from flowctl.document.checks import check_meaning
    from flowctl.document.diagnostics import Enough, Report
    from flowctl.document.loader import read_tree
    from flowctl.document.references import check_references
    from flowctl.document.schema import check_shape
    from flowctl.document.source import text_of

    text = text_of(source, name)
    tree, refused = read_tree(text, name)
    report, texts = Report(tree, refused), Texts(functions)
    with contextlib.suppress(Enough):
        check_shape(tree.data, report)
        if isinstance(tree.data, dict):
            check_meaning(tree.data, report, activities)
            check_references(tree.data, report, texts)
    report.raise_errors()
    return Loaded(assemble(tree.data, digest_of(tree.data), texts), report.warnings, text)


def read(path: Path) -> str:
    """The text of a file. ``UsageError`` if it cannot be read, ``InvalidDocument`` if it is no text."""
    from flowctl.document.files import read_file
    from flowctl.document.source import text_of

    return text_of(read_file(path), str(path))


def stored(body: bytes | str, digest: str, functions: Mapping[str, Any] = FUNCTIONS) -> Workflow:
    """The workflow of a stored document: the canonical JSON of its body, as ``load`` accepted it once."""
    return build(values.decode(body, "the stored document"), digest, functions)


def digest_of(body: Mapping[str, Any]) -> str:
    """What a run pins: ``sha256:`` and the hash of the canonical JSON of a document."""
    return f"sha256:{values.digest(body)}"


def scalar(text: str) -> Any:
    """The value of a plain YAML scalar: ``true`` is a boolean, ``12`` a number, ``no`` a text.
    ``InvalidInput``.
    """
    from flowctl.document.scalars import core

    return core(text)
