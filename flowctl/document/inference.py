"""What an expression yields, as far as its text says: a field's type, a comparison's truth value, a text.

One method per kind of node, as in the compiler of expressions; what has none yields ``UNKNOWN``. Functions
that give the same kind whatever they are given are in a table; what a plugin's function returns is not known.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from flowctl.document.trees import Reference, Tree, trees_in
from flowctl.document.types import (
    BOOLEAN,
    NUMBER,
    TEXT,
    UNKNOWN,
    WHOLE,
    Type,
    either,
    list_of,
    mapping_of,
    of_value,
    plain,
)
from flowctl.expressions.parse import CLOSE, OPEN

Resolve = Callable[[Reference], Type]
"""The type of a name with the keys after it."""

_LIST, _ANY_NUMBER = plain("array"), Type(NUMBER)

_RETURNS: Mapping[str, Type] = {
    name: kind
    for names, kind in (
        ("str type lower upper strip join replace json base64 from_base64 sha256 uuid format_time", TEXT),
        ("bool startswith endswith matches contains any all has", BOOLEAN),
        ("len int", WHOLE),
        ("float duration timestamp", _ANY_NUMBER),
        ("sorted reversed range enumerate zip keys values items split unique flatten", _LIST),
        ("merge pick omit", plain("object")),
    )
    for name in names.split()
}
"""What functions return, whatever they are given."""


_SIMPLE = re.compile(r"\$\{\{\s*([a-z_]\w*(?:\.[a-z_]\w*)*)\s*\}\}\Z")
"""One path, which is what most expressions are: its parts can be read off the text."""

_COMPARISON = re.compile(
    r"\$\{\{(?=[^}]*([=<>]|\b(?:and|or|not|in)\b))(?![^}]*\b(?:if|for)\b)[^}{()\[\]\"']*\}\}\Z"
)
"""One expression without brackets and texts that compares something: nothing binds more loosely."""

_TRUTH = re.compile(r"[=<>]|\b(and|or|not|in)\b")
"""What nearly always yields true or false, so that a condition with it need not be looked at."""


def template_type(value: Any, resolve: Resolve) -> Type:
    """The type of a value with expressions in its texts."""
    if isinstance(value, dict):
        return mapping_of({key: template_type(item, resolve) for key, item in value.items()})
    if isinstance(value, list):
        return list_of(either([template_type(item, resolve) for item in value]))
    if isinstance(value, str) and OPEN in value:
        return _text_type(value, resolve)
    return of_value(value)


def _text_type(text: str, resolve: Resolve) -> Type:
    """A text that is one expression yields its value, any other is a text; a secret may be either."""
    if not (text.startswith(OPEN) and text.endswith(CLOSE)):
        return TEXT
    if simple := _SIMPLE.match(text):
        return resolve(tuple(simple[1].split(".")))
    if _COMPARISON.match(text):
        return BOOLEAN
    for tree in trees_in(text, bare=False):
        whole = tree.end == len(text) - len(CLOSE)
        return _Inference(tree, resolve).of(tree.body) if whole else TEXT
    return UNKNOWN


def condition_type(text: str, resolve: Resolve) -> Type:
    """The type of a bare expression, or of one in ``${{ }}``."""
    if _TRUTH.search(text):
        return UNKNOWN
    for tree in trees_in(text, bare=True):
        return _Inference(tree, resolve).of(tree.body)
    return UNKNOWN


class _Inference:
    def __init__(self, tree: Tree, resolve: Resolve) -> None:
        self.tree = tree
        self.resolve = resolve
        self.bound = {
            name.id
            for clause in ast.walk(tree.body)
            if isinstance(clause, ast.comprehension)
            for name in ast.walk(clause.target)
            if isinstance(name, ast.Name)
        }

    def of(self, node: ast.expr) -> Type:
        method = _METHODS.get(type(node))
        return method(self, node) if method is not None else UNKNOWN

    def path(self, node: ast.expr) -> Type:
        base, steps = self.tree.path_of(node)
        if not isinstance(base, ast.Name) or base.id in self.bound:
            return UNKNOWN
        words: list[str] = []
        for step in steps:
            if not isinstance(step.key, str):
                break
            words.append(step.key)
        found = self.resolve((base.id, *words))
        for step in steps[len(words) :]:
            if isinstance(step.key, str):
                found = found.field(step.key) or UNKNOWN
            else:
                found = found.element() if found.element is not None else UNKNOWN
        return found

    def constant(self, node: ast.Constant) -> Type:
        return of_value(self.tree.literal(node))

    def truth(self, node: ast.expr) -> Type:
        return BOOLEAN

    def unary(self, node: ast.UnaryOp) -> Type:
        return BOOLEAN if isinstance(node.op, ast.Not) else _ANY_NUMBER

    def binary(self, node: ast.BinOp) -> Type:
        left, right = self.of(node.left).kinds, self.of(node.right).kinds
        if left <= NUMBER and right <= NUMBER:
            whole = left == right == WHOLE.kinds and not isinstance(node.op, ast.Div | ast.Pow)
            return WHOLE if whole else _ANY_NUMBER
        same = isinstance(node.op, ast.Add) and left == right and left in (TEXT.kinds, _LIST.kinds)
        return Type(left) if same else UNKNOWN

    def choice(self, node: ast.IfExp) -> Type:
        return either([self.of(node.body), self.of(node.orelse)])

    def list(self, node: ast.List) -> Type:
        return list_of(either([self.of(element) for element in node.elts])) if node.elts else _LIST

    def mapping(self, node: ast.Dict) -> Type:
        fields: dict[str, Type] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            name = self.tree.literal(key) if isinstance(key, ast.Constant) else None
            if not isinstance(name, str):
                return plain("object")
            fields[name] = self.of(value)
        return mapping_of(fields)

    def comprehension(self, node: ast.expr) -> Type:
        return plain("object") if isinstance(node, ast.DictComp) else _LIST

    def call(self, node: ast.Call) -> Type:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "default" and len(node.args) == 2:
            return either([self.of(node.args[0]).not_null(), self.of(node.args[1])])
        return _RETURNS.get(name, UNKNOWN)


_METHODS: Mapping[type[ast.expr], Callable[[_Inference, Any], Type]] = {
    ast.Constant: _Inference.constant,
    ast.Name: _Inference.path,
    ast.Attribute: _Inference.path,
    ast.Subscript: _Inference.path,
    ast.BinOp: _Inference.binary,
    ast.UnaryOp: _Inference.unary,
    ast.Compare: _Inference.truth,
    ast.BoolOp: _Inference.truth,
    ast.IfExp: _Inference.choice,
    ast.List: _Inference.list,
    ast.Dict: _Inference.mapping,
    ast.ListComp: _Inference.comprehension,
    ast.GeneratorExp: _Inference.comprehension,
    ast.DictComp: _Inference.comprehension,
    ast.Call: _Inference.call,
}
