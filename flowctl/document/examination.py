"""All checks of a document, one after the other, and what they found."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from flowctl import collector
from flowctl.document.checks import check_meaning
from flowctl.document.diagnostics import Diagnostic, Enough, Report
from flowctl.document.flow_checks import check_flow
from flowctl.document.loader import read_tree
from flowctl.document.places import Tree
from flowctl.document.references import check_references
from flowctl.document.schema import check_shape
from flowctl.document.source import text_of
from flowctl.document.subject import Subject
from flowctl.document.texts import Texts
from flowctl.document.usage import check_usage
from flowctl.document.world import World
from flowctl.expressions import Function


class Examined(NamedTuple):
    """A document that was read: its text, its data, its parsed expressions, and what is wrong with it."""

    text: str
    data: Any
    texts: Texts
    report: Report


def examine(source: bytes | str, name: str, functions: Mapping[str, Function], world: World) -> Examined:
    """Read and check a document. ``InvalidDocument`` only if there is nothing that could be checked."""
    text = text_of(source, name)
    return examine_tree(text, *read_tree(text, name), functions, world)


def examine_tree(
    text: str, tree: Tree, refused: list[Diagnostic], functions: Mapping[str, Function], world: World
) -> Examined:
    """Check a document that was read, or made: its text, its data with places, and what is wrong already."""
    report, texts = Report(tree, refused), Texts(functions)
    with contextlib.suppress(Enough), collector.resting():
        check_shape(tree.data, report)
        if isinstance(tree.data, dict):
            subject = Subject(tree.data, report, texts, world)
            check_meaning(subject)
            check_flow(subject)
            check_usage(subject, check_references(subject))
    return Examined(text, tree.data, texts, report)
