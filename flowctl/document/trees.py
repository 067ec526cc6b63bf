"""Expressions looked at again, as trees: where the names in them stand, and what may be missing in them.

Most expressions need no second look: an ``Expression`` lists what it refers to. This is for the few of which
more must be said: one that is wrong somewhere, or computes what an activity wants to be of a certain type.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from flowctl.errors import ExpressionError
from flowctl.expressions.parse import CLOSE, OPEN
from flowctl.expressions.tokens import Scan, scan

Reference = tuple[str, ...]

_FORGIVING = frozenset({"default", "has"})
"""Special forms whose first argument may be missing, or null."""


class Step(NamedTuple):
    """One key of a path, and where its word begins in the text."""

    key: str | int
    offset: int


class Path(NamedTuple):
    """A name in an expression and the constant keys after it. ``forgiven``: it may be missing, or null."""

    root: str
    offset: int
    steps: tuple[Step, ...]
    forgiven: bool


class Tree(NamedTuple):
    """A parsed expression, from ``offset`` to ``end`` of a text, blanks at its end included."""

    body: ast.expr
    scanned: Scan
    source: str
    offset: int
    end: int

    def path_of(self, node: ast.expr) -> tuple[ast.expr, tuple[Step, ...]]:
        """The expression that a path starts from, and its constant keys."""
        steps: list[Step] = []
        while True:
            if isinstance(node, ast.Attribute):
                end = self._end(node)
                start = end - len(node.attr)
                steps.append(Step(self.source[start:end], self.offset + start))
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                start = node.slice.col_offset - 1
                key = self.scanned.literals.get(start)
                if type(key) is not str and type(key) is not int:
                    break
                steps.append(Step(key, self.offset + start + (type(key) is str)))
            else:
                break
            node = node.value
        return node, tuple(steps[::-1])

    def literal(self, node: ast.Constant) -> object:
        """The value of a literal."""
        return self.scanned.literals.get(max(node.col_offset - 1, 0))

    def _end(self, node: ast.expr) -> int:
        end = min((node.end_col_offset or 0) - 1, len(self.source))
        return self.scanned.ends.get(end, end)


def tree_of(source: str, offset: int = 0) -> Tree | None:
    """The tree of an expression; None if it does not parse."""
    start, end = len(source) - len(source.lstrip()), offset + len(source)
    source = source.strip()
    try:
        scanned = scan(source)
        body = ast.parse(f"({scanned.shadow})", mode="eval").body
    except (ExpressionError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return Tree(body, scanned, source, offset + start, end)


def trees_in(text: str, *, bare: bool) -> Iterator[Tree]:
    """The expressions in a text: those in ``${{ }}``, or, in a ``bare`` condition without any, all of it."""
    if bare and not text.strip().startswith(OPEN):
        found = tree_of(text)
        if found is not None:
            yield found
        return
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        at = start + len(OPEN)
        if text[start - 1 : start] == "$":
            continue
        try:
            end = scan(text, at, embedded=True).end
        except ExpressionError:
            return
        found = tree_of(text[at:end], at)
        if found is not None:
            yield found
        at = end + len(CLOSE)


def paths_in(text: str, *, bare: bool = False) -> Iterator[Path]:
    """The paths in the expressions of a text, in its order. Names that a comprehension binds are not
    told apart: they are looked for by who knows what is wrong.
    """
    for tree in trees_in(text, bare=bare):
        yield from sorted(_paths(tree, tree.body, False), key=lambda path: path.offset)


def _paths(tree: Tree, node: ast.AST, forgiven: bool) -> Iterator[Path]:
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Name):
        base, steps = tree.path_of(node)
        if isinstance(base, ast.Name):
            yield Path(base.id, tree.offset + base.col_offset - 1, steps, forgiven)
            return
    called = node.func if isinstance(node, ast.Call) else None
    forgiving: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(called, ast.Name) and called.id in _FORGIVING:
        forgiving = node.args[:1]
    for child in ast.iter_child_nodes(node):
        if child is not called or not isinstance(child, ast.Name):
            yield from _paths(tree, child, forgiven or child in forgiving)


def offsets_of(text: str, reference: Reference, index: int, *, bare: bool) -> list[int]:
    """Where the word at ``index`` of a reference stands in a text, each time."""
    found = [
        path.steps[index - 1].offset if index else path.offset
        for path in paths_in(text, bare=bare)
        if (path.root, *itertools.takewhile(_is_text, (step.key for step in path.steps))) == reference
    ]
    return found or [max(text.find(reference[0]), 0)]


def _is_text(key: str | int) -> bool:
    return isinstance(key, str)
