"""From text to an ``Expression``: parsed once, evaluated as often as one likes.

Expressions are a total subset of Python's expression grammar over JSON: no statement, no attribute of an
object, no method, no loop without end, nothing to import. ``tokens`` reads the text first, Python's ``ast``
finds its structure, ``compiler`` turns that into closures; text is never executed.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from typing import Any

from flowctl.errors import ExpressionError
from flowctl.expressions import lookup
from flowctl.expressions.compiler import SECRETS, Compiler
from flowctl.expressions.frame import Absent, Code, Frame, Names
from flowctl.expressions.function import Functions
from flowctl.expressions.functions import FUNCTIONS
from flowctl.expressions.lookup import Steps
from flowctl.expressions.places import Place
from flowctl.expressions.tokens import MAX_LENGTH, WORDS, Scan, scan
from flowctl.values import MAX_BYTES, kind_of, weigh

OPEN, CLOSE = "${{", "}}"

MAX_KEYS = 50
"""Keys of a path that is read without a parser."""

PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
"""A name with keys after dots."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Two are equal if their texts are.

    ``references`` are the roots and constant keys it reads, such as ``("steps", "ship", "output")``: what a
    document can be checked for, and all that an engine needs to have at hand. A computed subscript or an
    index ends one.
    """

    source: str
    references: frozenset[tuple[str, ...]] = dataclasses.field(compare=False)
    _code: Code = dataclasses.field(compare=False, repr=False)
    _slots: int = dataclasses.field(compare=False, repr=False)
    _builds: bool = dataclasses.field(compare=False, repr=False)

    @property
    def has_secrets(self) -> bool:
        """Whether its value may be a ``SecretRef``."""
        return any(reference[0] == SECRETS for reference in self.references)

    def evaluate(self, names: Names) -> Any:
        """Its value: JSON, or a ``SecretRef``. ExpressionError says what is wrong and where in ``source``."""
        try:
            slots = self._slots
            value = self._code(Frame(names, [None] * slots) if slots else Frame(names))
        except Absent as absent:
            raise absent.explain() from None
        if self._builds and type(value) in (list, dict):
            self._refuse_bombs(value)
        return value

    def test(self, names: Names) -> bool:
        """Its value as a condition: true or false, and an ExpressionError for anything else."""
        value = self.evaluate(names)
        if value is True or value is False:
            return bool(value)
        raise ExpressionError(
            f"the condition is {kind_of(value)}, not true or false",
            source=self.source,
            offset=0,
            hint="compare it, for example with '==' or '>'",
        )

    def _refuse_bombs(self, value: Any) -> None:
        """Lists that hold each other many times are quick to make, and endless to write."""
        weight = weigh(value, MAX_BYTES)
        if not 0 <= weight <= MAX_BYTES:
            problem = "nests too deep" if weight < 0 else f"is over the limit of {MAX_BYTES:,} bytes"
            raise ExpressionError(f"the value of the expression {problem}", source=self.source, offset=0)


def parse(text: str, functions: Functions = FUNCTIONS, scanned: Scan | None = None) -> Expression:
    """Parse a bare expression. ``functions`` is the whole table it may call: see ``functions.extended``;
    ``scanned`` what ``scan`` has found already, in a text that begins where the expression does.

    ExpressionError with source, offset and a hint for whatever is not in the language; wrong names of
    functions and wrong numbers of arguments are found here, wrong names of data when the expression is
    evaluated.
    """
    source = text.strip()
    if PATH.fullmatch(source) and len(source) <= MAX_LENGTH:
        simple = _path(source, functions)
        if simple is not None:
            return simple
    scanned = scanned or scan(source)
    if not scanned.shadow.strip():
        raise ExpressionError("the expression is empty", source=source, offset=0)
    compiler = Compiler(source, scanned, functions)
    code = compiler.compile_whole(_tree(source, scanned))
    return Expression(source, frozenset(compiler.references), code, compiler.slots, compiler.builds)


def _path(source: str, functions: Functions) -> Expression | None:
    """A name with keys after dots, which most expressions are: read without a parser. None if the name is
    not one, or that of the secrets.
    """
    root, *keys = source.split(".")
    if root in WORDS or root == SECRETS or len(keys) > MAX_KEYS:
        return None
    ends = itertools.accumulate((len(key) + 1 for key in keys), initial=len(root))
    steps: Steps = list(zip(keys, itertools.islice(ends, 1, None), strict=True))
    code = lookup.from_root(root, Place(source, 0, len(root)), steps, functions)
    return Expression(source, frozenset({(root, *keys)}), code, 0, False)


def _tree(source: str, scanned: Scan) -> ast.expr:
    try:
        return ast.parse(f"({scanned.shadow})", mode="eval").body
    except SyntaxError as error:
        raise _misread(source, error) from None
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ):  # the caps of ``tokens`` make these unreachable; belt and braces
        raise ExpressionError("the expression is too complex", source=source, offset=0) from None


_SYNTAX_HINTS = {
    "expected 'else'": "write 'x if condition else y'",
    "forgot a comma": "is an operator or a comma missing?",
}
"""What to say where Python knows more than the place of a mistake; its own words may speak of the shadow."""


def _misread(source: str, error: SyntaxError) -> ExpressionError:
    offset = min(max((error.offset or 1) - 2, 0), len(source))
    rest = source[offset:].split()
    message = f"invalid syntax at {rest[0][:40]!r}" if rest else "the expression is not complete"
    hint = next((hint for words, hint in _SYNTAX_HINTS.items() if words in str(error.msg)), None)
    return ExpressionError(message, source=source, offset=offset, hint=hint)


def condition(text: str, functions: Functions = FUNCTIONS) -> Expression:
    """The expression of ``if``, ``while``, ``until`` and ``foreach``: bare, or wrapped in ``${{ }}`` as a
    whole.

    Text around the wrapper is an error: it would make a text, and a text is never a condition. Secrets are
    refused.
    """
    source = text.strip()
    if source.startswith(OPEN):
        end = scan(source, len(OPEN), embedded=True).end
        if source[end + len(CLOSE) :]:
            raise ExpressionError(
                "there is text around '${{ }}'",
                source=source,
                offset=end + len(CLOSE),
                hint="write the whole without '${{ }}'",
            )
        source = source[len(OPEN) : end]
    expression = parse(source, functions)
    refuse_secrets(expression)
    return expression


def refuse_secrets(expression: Expression) -> None:
    """ExpressionError if the expression refers to a secret, for the places where none may stand."""
    if expression.has_secrets:
        raise ExpressionError(
            "secrets can be used only in 'with'",
            source=expression.source,
            offset=max(expression.source.find(SECRETS), 0),
            hint="pass the secret to the activity that needs it",
        )
