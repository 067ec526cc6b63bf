"""From Python's tree to closures: what of Python's grammar is in the language, and what each part does.

Each kind of node has one method in ``_COMPILERS``; what is not in that table is not in the language. A method
returns a closure that takes a frame and gives a value. No user text ever becomes Python code, and no closure
holds more than keys, numbers and other closures, so there is nothing to escape into.

A secret may stand only at the end of an expression (all of it, or a branch of ``x if c else y``), so
``compile_whole`` alone knows secrets, and every other place refuses them before anything runs.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import Any, NoReturn

from flowctl.expressions import lookup, loops, operators
from flowctl.expressions.frame import ABSENT, Absent, Code, Frame, Problem, SecretRef
from flowctl.expressions.function import Function, Functions, cost, plugin_function
from flowctl.expressions.functions import SPECIAL_FORMS
from flowctl.expressions.hints import nearest
from flowctl.expressions.places import Place
from flowctl.expressions.tokens import Scan
from flowctl.values import kind_of

KEYS = 4
"""Keys of a path that cost as much as one node."""

MAX_NESTING = 60
"""How deep an expression's tree may be; evaluation needs about as many levels of Python's stack."""

SECRETS = "secrets"


class Compiler:
    """Compiles one expression, whose tree comes from the shadow that ``scanned`` holds."""

    def __init__(self, source: str, scanned: Scan, functions: Functions) -> None:
        self.source = source
        self.literals = scanned.literals
        self.ends = scanned.ends
        self.functions = functions
        self.references: set[tuple[str, ...]] = set()
        self.builds = False
        self.slots = 0
        self._locals: dict[str, int] = {}
        self._nodes = 0
        self._depth = 0

    def compile_whole(self, node: ast.expr) -> Code:
        """A whole expression, or the end of one, where a secret may stand."""
        if isinstance(node, ast.IfExp) and self._depth < MAX_NESTING:
            self._depth += 1
            branches = self._choose(
                self._truth(node.test), self.compile_whole(node.body), self.compile_whole(node.orelse)
            )
            self._depth -= 1
            return branches
        base, steps = self._path_of(node)
        if isinstance(base, ast.Name) and base.id == SECRETS and len(steps) == 1 and type(steps[0][0]) is str:
            self.references.add((SECRETS, steps[0][0]))
            secret = SecretRef(steps[0][0])
            return lambda frame: secret
        return self.compile(node)

    def compile(self, node: ast.expr) -> Code:
        """A part of an expression, which yields JSON."""
        method = _COMPILERS.get(type(node))
        if method is None:
            self._refuse(node, *_REFUSED.get(type(node), ("this is not part of the language", None)))
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._refuse(
                node, f"the expression nests more than {MAX_NESTING} deep", "split it with a 'set' step"
            )
        code = method(self, node)
        self._depth -= 1
        return code

    # names and paths

    def _path(self, node: ast.expr) -> Code:
        base, steps = self._path_of(node)
        place = self._place(base)
        self._nodes += len(steps) // KEYS
        if not isinstance(base, ast.Name):
            return lookup.from_value(self.compile(base), place, steps)
        if base.id in self._locals:
            slot = self._locals[base.id]
            return lookup.from_value(lambda frame: frame.slots[slot], place, steps)
        if base.id == SECRETS:
            self._refuse(
                base, "a secret stands alone or in text, and is not computed with", _HINT_AT_TEMPLATE
            )
        words = itertools.takewhile(lambda key: type(key) is str, (key for key, _ in steps))
        self.references.add((base.id, *map(str, words)))
        return lookup.from_root(base.id, place, steps, self.functions)

    def _path_of(self, node: ast.expr) -> tuple[ast.expr, lookup.Steps]:
        """The expression that a path starts from, and its constant keys."""
        steps: lookup.Steps = []
        while True:
            end = self._end(node)
            if isinstance(node, ast.Attribute):
                steps.append((self.source[end - len(node.attr) : end], end))
            elif isinstance(node, ast.Subscript) and (key := self._constant_key(node.slice)) is not None:
                steps.append((key, end))
            else:
                return node, steps[::-1]
            node = node.value

    def _constant_key(self, node: ast.expr) -> str | int | None:
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -1, node.operand
        key = self.literals.get(_start(node)) if isinstance(node, ast.Constant) else None
        if type(key) is int:
            return sign * key
        return key if type(key) is str and sign == 1 else None

    def _constant(self, node: ast.Constant) -> Code:
        if _start(node) not in self.literals:
            self._refuse(node, "'...' is not part of the language")
        value = self.literals[_start(node)]
        return lambda frame: value

    def _subscript(self, node: ast.Subscript) -> Code:
        if isinstance(node.slice, ast.Slice):
            return self._slice(node, node.slice)
        if self._constant_key(node.slice) is not None:
            return self._path(node)
        if isinstance(node.value, ast.Name) and node.value.id == SECRETS:
            self._refuse(node, "the name of a secret is written out", _HINT_AT_TEMPLATE)
        container, key = self.compile(node.value), self.compile(node.slice)
        place, end = self._place(node.value), self._end(node)
        return lambda frame: lookup.index(container(frame), key(frame), place, end)

    def _slice(self, node: ast.Subscript, bounds: ast.Slice) -> Code:
        null: Code = lambda frame: None  # noqa: E731
        value = self.compile(node.value)
        start, stop, step = (
            self.compile(b) if b else null for b in (bounds.lower, bounds.upper, bounds.step)
        )
        self.builds = True
        return self._place(node).guard(
            lambda frame: operators.cut(frame, value(frame), start(frame), stop(frame), step(frame))
        )

    # operators

    def _binary(self, node: ast.BinOp) -> Code:
        apply = operators.ARITHMETIC.get(type(node.op))
        if apply is None:
            self._refuse(node, "this operator is not part of the language")
        left, right = self.compile(node.left), self.compile(node.right)
        self.builds = True
        return self._place(node).guard(lambda frame: apply(frame, left(frame), right(frame)))

    def _unary(self, node: ast.UnaryOp) -> Code:
        if isinstance(node.op, ast.Not):
            condition = self._truth(node.operand)
            return lambda frame: not condition(frame)
        operand = self.compile(node.operand)
        if isinstance(node.op, ast.USub):
            return self._place(node).guard(lambda frame: operators.negative(operand(frame)))
        return self._place(node).guard(lambda frame: operators.negative(operators.negative(operand(frame))))

    def _compare(self, node: ast.Compare) -> Code:
        tests = [operators.COMPARISONS[type(op)] for op in node.ops]
        first, *others = [self.compile(operand) for operand in (node.left, *node.comparators)]
        if len(tests) == 1:
            test, second = tests[0], others[0]
            return self._place(node).guard(lambda frame: test(frame, first(frame), second(frame)))

        def chain(frame: Frame) -> bool:
            left = first(frame)
            for test, operand in zip(tests, others, strict=True):
                right = operand(frame)
                if not test(frame, left, right):
                    return False
                left = right
            return True

        return self._place(node).guard(chain)

    def _logic(self, node: ast.BoolOp) -> Code:
        parts = [self._truth(value) for value in node.values]
        decisive = isinstance(node.op, ast.Or)

        def logic(frame: Frame) -> Any:
            for part in parts:
                if part(frame) is decisive:
                    return decisive
            return not decisive

        return logic

    def _truth(self, node: ast.expr) -> Code:
        """A condition, which must yield true or false."""
        code = self.compile(node)
        if isinstance(node, ast.Compare | ast.BoolOp):
            return code
        place = self._place(node)
        text = place.text
        return place.guard(lambda frame: operators.truth(code(frame), text))

    def _conditional(self, node: ast.IfExp) -> Code:
        return self._choose(self._truth(node.test), self.compile(node.body), self.compile(node.orelse))

    @staticmethod
    def _choose(test: Code, body: Code, otherwise: Code) -> Code:
        return lambda frame: body(frame) if test(frame) else otherwise(frame)

    # displays and comprehensions

    def _list(self, node: ast.List) -> Code:
        parts = [self.compile(element) for element in node.elts]
        self.builds = True
        return lambda frame: [part(frame) for part in parts]

    def _dict(self, node: ast.Dict) -> Code:
        pairs: list[tuple[Code, Code]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                self._refuse(value, "'**' does not copy a mapping here", "write merge(…, …)")
            pairs.append((self._key(key), self.compile(value)))
        self.builds = True
        return lambda frame: {key(frame): value(frame) for key, value in pairs}

    def _key(self, node: ast.expr) -> Code:
        code = self.compile(node)

        def key(frame: Frame) -> Any:
            value = code(frame)
            if type(value) is not str:
                raise Problem(f"the key of a mapping is a string, not {kind_of(value)}")
            return value

        return self._place(node).guard(key)

    def _list_comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> Code:
        run = self._loops(node.generators, lambda: (_nothing, self.compile(node.elt)))

        def comprehend(frame: Frame) -> Any:
            made: list[Any] = []
            run(frame, lambda key, value: made.append(value))
            return made

        return self._place(node).guard(comprehend)

    def _dict_comprehension(self, node: ast.DictComp) -> Code:
        run = self._loops(node.generators, lambda: (self._key(node.key), self.compile(node.value)))

        def comprehend(frame: Frame) -> Any:
            made: dict[str, Any] = {}
            run(frame, made.__setitem__)
            return made

        return self._place(node).guard(comprehend)

    def _loops(
        self, clauses: list[ast.comprehension], compile_element: Callable[[], tuple[Code, Code]]
    ) -> Callable[[Frame, loops.Emit], None]:
        """The loops of a comprehension. Each sees the names of those before it; none is seen outside."""
        outer, self.builds = dict(self._locals), True
        parts: list[tuple[Code, loops.Bind, tuple[Code, ...], int]] = []
        for clause in clauses:
            elements, nodes = self._elements(clause.iter), self._nodes
            bind = self._bind(clause.target)
            parts.append((elements, bind, tuple(self._truth(test) for test in clause.ifs), nodes))
        key, value = compile_element()
        made = [
            loops.Loop(elements, bind, tests, self._nodes - nodes) for elements, bind, tests, nodes in parts
        ]
        self._locals = outer
        return lambda frame, emit: loops.run(made, key, value, frame, emit)

    def _elements(self, node: ast.expr) -> Code:
        source = self.compile(node)
        return self._place(node).guard(lambda frame: operators.elements(frame, source(frame)))

    def _bind(self, target: ast.expr) -> loops.Bind:
        if isinstance(target, ast.Tuple | ast.List):
            return loops.bind_each([self._bind(part) for part in target.elts])
        if not isinstance(target, ast.Name):
            self._refuse(target, "after 'for' stand names")
        if target.id == SECRETS:
            self._refuse(target, f"{SECRETS!r} cannot be the name of a variable")
        slot = self._locals[target.id] = self.slots
        self.slots += 1
        self._nodes += 1
        return loops.bind_name(slot)

    # calls

    def _call(self, node: ast.Call) -> Code:
        if isinstance(node.func, ast.Attribute):
            self._refuse(node, "values have no methods", self._method_hint(node.func))
        if not isinstance(node.func, ast.Name):
            self._refuse(node, "only functions of the language can be called")
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                self._refuse(argument, "'*' does not spread arguments here")
        name = node.func.id
        if name in SPECIAL_FORMS:
            return self._special_form(node, name)
        found = self.functions.get(name)
        if found is None:
            close = nearest(name, [*self.functions, *SPECIAL_FORMS])
            self._refuse(node, f"unknown function {name!r}", f"did you mean {close!r}?" if close else None)
        function = found if isinstance(found, Function) else plugin_function(name, found)
        if function.reads:
            self.references.add(function.reads)
        return self._apply(node, function)

    def _apply(self, node: ast.Call, function: Function) -> Code:
        named: dict[str, Code] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(keyword.value, "'**' does not spread arguments here")
            named[keyword.arg] = self.compile(keyword.value)
        misfit = function.misfit(len(node.args), set(named))
        if misfit:
            self._refuse(node, misfit, f"it is {function.signature}")
        codes = [self._argument(argument) for argument in node.args]
        call, framed, instant, price = function.call, function.framed, function.instant, function.price
        self.builds = self.builds or not instant

        def apply(frame: Frame) -> Any:
            arguments = [code(frame) for code in codes]
            options = {key: code(frame) for key, code in named.items()} if named else {}
            frame.spend(price if instant else price + sum(map(cost, arguments)))
            result = call(frame, *arguments, **options) if framed else call(*arguments, **options)
            if not instant:
                frame.spend(cost(result))
            return result

        return self._place(node).guard(apply)

    def _argument(self, node: ast.expr) -> Code:
        """As in Python, ``sum(x.price for x in items)`` needs no brackets of its own."""
        return self._list_comprehension(node) if isinstance(node, ast.GeneratorExp) else self.compile(node)

    def _special_form(self, node: ast.Call, name: str) -> Code:
        if node.keywords or len(node.args) != SPECIAL_FORMS[name]:
            self._refuse(
                node,
                f"{name} takes {SPECIAL_FORMS[name]} arguments",
                "write default(value, otherwise) or has(value)",
            )
        value, *otherwise = [self.compile(argument) for argument in node.args]

        def present(frame: Frame) -> Any:
            try:
                return value(frame)
            except Absent:
                frame.spend(ABSENT)
                return None

        if name == "has":
            return self._place(node).guard(lambda frame: present(frame) is not None)
        (fallback,) = otherwise

        def default(frame: Frame) -> Any:
            found = present(frame)
            return fallback(frame) if found is None else found

        return self._place(node).guard(default)

    def _method_hint(self, func: ast.Attribute) -> str:
        name = self.source[self._end(func) - len(func.attr) : self._end(func)]
        close = name if name in self.functions else nearest(name, self.functions)
        return f"write {close}({self._place(func.value).text})" if close else "write function(value)"

    # places

    def _place(self, node: ast.expr) -> Place:
        return Place(self.source, _start(node), self._end(node))

    def _end(self, node: ast.expr) -> int:
        end = min((node.end_col_offset or 0) - 1, len(self.source))
        return self.ends.get(end, end)

    def _refuse(self, node: ast.expr, message: str, hint: str | None = None) -> NoReturn:
        raise self._place(node).error(message, hint)


def _start(node: ast.expr) -> int:
    return max(node.col_offset - 1, 0)  # the parser saw the text in parentheses


def _nothing(frame: Frame) -> None:
    return None


_HINT_AT_TEMPLATE = "write ${{ secrets.NAME }}, alone or with text around it"

_COMPILERS: dict[type[ast.expr], Callable[[Compiler, Any], Code]] = {
    ast.Constant: Compiler._constant,
    ast.Name: Compiler._path,
    ast.Attribute: Compiler._path,
    ast.Subscript: Compiler._subscript,
    ast.BinOp: Compiler._binary,
    ast.UnaryOp: Compiler._unary,
    ast.Compare: Compiler._compare,
    ast.BoolOp: Compiler._logic,
    ast.IfExp: Compiler._conditional,
    ast.List: Compiler._list,
    ast.Dict: Compiler._dict,
    ast.ListComp: Compiler._list_comprehension,
    ast.DictComp: Compiler._dict_comprehension,
    ast.Call: Compiler._call,
}
"""The grammar: every node of Python's that the language has."""

_REFUSED: dict[type[ast.expr], tuple[str, str | None]] = {
    ast.Tuple: ("there are no tuples", "write a list, [a, b]"),
    ast.Set: ("there are no sets", "write a list, [a, b]"),
    ast.SetComp: ("there are no sets", "write a list, [x for x in …]"),
    ast.Starred: ("'*' does not spread a list here", "write a + b"),
    ast.GeneratorExp: ("there are no generators", "write a list, [x for x in …]"),
}
