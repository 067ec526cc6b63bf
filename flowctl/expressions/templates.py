"""Values with expressions in them: ``${{ EXPR }}`` in any string of a JSON tree.

A string that is one expression becomes its value, with its type; in any other string results are written as
text, strings as they are and all else as JSON. ``$${{`` stands for the text ``${{``. Substitution happens
once, on the parsed tree: a result is a leaf, and is never read as a template, whatever it contains.

Parts without expressions are found when the template is made and cost nothing when it is rendered. Secrets
never get into the rendered value: where one stands, the value is null, and what belongs there is kept beside
it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import msgspec

from flowctl import values
from flowctl.errors import ExpressionError, PayloadTooLarge
from flowctl.expressions.frame import Names, SecretRef
from flowctl.expressions.function import Functions
from flowctl.expressions.functions import FUNCTIONS
from flowctl.expressions.parse import CLOSE, OPEN, PATH, Expression, parse, refuse_secrets
from flowctl.expressions.tokens import MAX_LENGTH, Scan, scan
from flowctl.values import MAX_BYTES, NotJson

Parts = list[str | SecretRef]
"""A text with secrets in it: joined, once each is resolved."""

_PATH_TO_END = re.compile(rf"\s*{PATH.pattern}\s*(?={CLOSE})", re.ASCII)
"""An expression that is a path: it ends where it plainly does."""

_Render = Callable[[Names, dict[str, Parts]], Any]


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """``value`` is plain JSON, not to be changed in place; it shares its constant parts with the template.

    ``secrets`` maps the JSON pointer of each place where a secret belongs, null in ``value``, to what goes
    there.
    """

    value: Any
    secrets: dict[str, Parts]


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A parsed template, with the ``references`` of all its expressions. Equal if the sources are."""

    source: Any
    references: frozenset[tuple[str, ...]] = dataclasses.field(compare=False)
    constant: bool = dataclasses.field(compare=False)
    _render: _Render = dataclasses.field(compare=False, repr=False)

    def render(self, names: Names) -> Rendered:
        """The value with every expression evaluated; ExpressionError from the first that fails."""
        secrets: dict[str, Parts] = {}
        return Rendered(self._render(names, secrets), secrets)


def template(value: Any, secrets: bool = False, functions: Functions = FUNCTIONS) -> Template:
    """Parse all expressions in a JSON value. ``secrets``: whether they may refer to secrets.

    ExpressionError if one does not parse, or if it refers to a secret and may not.
    """
    maker = _Maker(secrets, functions)
    constant, render = maker.make(value, "")
    references = frozenset(maker.references)
    return Template(value, references, render is None, render or (lambda names, secrets: constant))


class _Maker:
    """Makes each part of a template: ``(value, None)`` if it is constant, else ``(None, render)``."""

    def __init__(self, secrets: bool, functions: Functions) -> None:
        self.secrets = secrets
        self.functions = functions
        self.references: set[tuple[str, ...]] = set()

    def make(self, value: Any, pointer: str) -> tuple[Any, _Render | None]:
        if type(value) is str:
            return self._string(value, pointer) if OPEN in value else (value, None)
        if type(value) is dict:
            return self._mapping(value, pointer)
        return self._list(value, pointer) if type(value) is list else (value, None)

    def _mapping(self, value: dict[str, Any], pointer: str) -> tuple[Any, _Render | None]:
        constants: dict[str, Any] = {}
        rendered: list[tuple[str, _Render]] = []
        for key, item in value.items():
            constants[key], render = self.make(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
            if render is not None:
                rendered.append((key, render))
        if not rendered:
            return constants, None

        def render_mapping(names: Names, secrets: dict[str, Parts]) -> Any:
            made = constants.copy()
            for key, render in rendered:
                made[key] = render(names, secrets)
            return made

        return None, render_mapping

    def _list(self, value: list[Any], pointer: str) -> tuple[Any, _Render | None]:
        made = [self.make(item, f"{pointer}/{at}") for at, item in enumerate(value)]
        constants = [constant for constant, _ in made]
        rendered = [(at, render) for at, (_, render) in enumerate(made) if render is not None]
        if not rendered:
            return constants, None

        def render_list(names: Names, secrets: dict[str, Parts]) -> Any:
            made = constants.copy()
            for at, render in rendered:
                made[at] = render(names, secrets)
            return made

        return None, render_list

    def _string(self, text: str, pointer: str) -> tuple[Any, _Render | None]:
        parts = self._parts(text)
        expressions = [part for part in parts if isinstance(part, Expression)]
        if not expressions:
            return "".join(part for part in parts if isinstance(part, str)), None
        if len(parts) > 1:
            return None, lambda names, secrets: _interpolate(text, parts, pointer, names, secrets)
        (whole,) = expressions
        if not whole.has_secrets:
            return None, lambda names, secrets: whole.evaluate(names)
        return None, lambda names, secrets: _set_aside([whole.evaluate(names)], pointer, secrets)

    def _parts(self, text: str) -> list[str | Expression]:
        """The text cut into plain text and expressions, in order."""
        parts: list[str | Expression] = []
        at = 0
        while (found := text.find(OPEN, at)) >= 0:
            if found > at and text[found - 1] == "$":
                parts.append(text[at : found - 1] + OPEN)
                at = found + len(OPEN)
                continue
            if found > at:
                parts.append(text[at:found])
            end, expression = self._expression(text, found + len(OPEN))
            parts.append(expression)
            at = end + len(CLOSE)
        if at < len(text):
            parts.append(text[at:])
        return parts

    def _expression(self, text: str, start: int) -> tuple[int, Expression]:
        """Where the expression that starts there ends, and what it is."""
        path = _PATH_TO_END.match(text, start)
        if path is not None:
            end, expression = path.end(), parse(path[0], self.functions)
        else:
            while text[start : start + 1].isspace():
                start += 1
            scanned = _scanned(text, start)
            end, expression = scanned.end, parse(text[start : scanned.end], self.functions, scanned)
        if not self.secrets:
            refuse_secrets(expression)
        self.references |= expression.references
        return end, expression


def _scanned(text: str, start: int) -> Scan:
    """The expression that starts there. Errors speak of it, not of the text around it."""
    try:
        return scan(text, start, embedded=True)
    except ExpressionError as error:
        offset = start if error.offset is None else error.offset
        close = text.find(CLOSE, offset)
        written = text[start : close if close >= 0 else len(text)][:MAX_LENGTH]
        source, blank = written.strip(), len(written) - len(written.lstrip())
        place = min(max(0, offset - start - blank), len(source))
        raise ExpressionError(error.message, source=source, offset=place, hint=error.hint) from None


def _interpolate(
    text: str, parts: list[str | Expression], pointer: str, names: Names, secrets: dict[str, Parts]
) -> str | None:
    """The parts as one text, or null and its parts set aside if there is a secret among them."""
    made: Parts = []
    size = 0
    for part in parts:
        value = part if isinstance(part, str) else _as_text(part, part.evaluate(names))
        made.append(value)
        size += len(value) if isinstance(value, str) else 0
        if size > MAX_BYTES:
            raise ExpressionError(
                f"the text is over the limit of {MAX_BYTES:,} bytes", source=text[:MAX_LENGTH]
            )
    result: str | None = _set_aside(made, pointer, secrets)
    return result


def _set_aside(parts: list[Any], pointer: str, secrets: dict[str, Parts]) -> Any:
    """The parts as one value; with a secret among them null, and the parts kept under ``pointer``."""
    if not any(isinstance(part, SecretRef) for part in parts):
        return parts[0] if len(parts) == 1 else "".join(parts)
    secrets[pointer] = parts
    return None


def _as_text(expression: Expression, value: Any) -> str | SecretRef:
    if type(value) is str or isinstance(value, SecretRef):
        return value
    try:
        return values.encode(value).decode()
    except (NotJson, PayloadTooLarge) as error:
        raise ExpressionError(error.message, source=expression.source, offset=0) from None
