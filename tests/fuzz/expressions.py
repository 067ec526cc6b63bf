"""Expressions by chance: most from the grammar of the language, some from nothing at all."""

# ruff: noqa: E501 - some texts are read by the line
from __future__ import annotations

import random
from collections.abc import Callable

from flowctl.expressions import FUNCTIONS, SPECIAL_FORMS

Chance = random.Random

_NAMES = [
    "input",
    "input.n",
    "input.text",
    "input.list",
    "input.deep.a.b",
    "input['text']",
    "input.none",
    "input.missing",
    "steps.a.output",
]
_NAMES += [
    "vars.x",
    "now",
    "run.id",
    "run.elapsed",
    "step.key",
    "x",
    "item",
    "secrets.TOKEN",
    "result",
    "args",
    "error.type",
    "loop.index",
]
_LITERALS = [
    "0",
    "1",
    "-1",
    "2",
    "7.5",
    "1e300",
    "1e-300",
    "9223372036854775807",
    "9223372036854775808",
    "10**18",
    "''",
    "'a'",
    "'é\\n'",
]
_LITERALS += [
    "'\\ud800'",
    "'\\x00'",
    "'2026-01-01T00:00:00Z'",
    "'1h30m'",
    "'%Y'",
    "'(a+)+$'",
    "'a.b[0]'",
    "true",
    "false",
    "null",
    "True",
]
_LITERALS += [
    "None",
    "[]",
    "{}",
    "[1, 2, 3]",
    "{'a': 1}",
    "'x' * 1000",
    "range(1000)",
    "'eyJhIjoxfQ=='",
    "'{\"a\": [1]}'",
]
_BINARY = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
_NOISE = [
    "&&",
    "||",
    "!",
    "lambda x: x",
    "x.y()",
    "__import__('os')",
    ":=",
    "f'{x}'",
    "b'x'",
    "...",
    "@",
    "~",
    "^",
    "<<",
    "|",
    "&",
    "is",
]
_NOISE += [
    "}}",
    "${{",
    "'",
    '"',
    "'''",
    "\\",
    "\n",
    "\t",
    "\0",
    "#",
    ";",
    "$",
    "`",
    "\u00a0",
    "\u202e",
    "é",
    "\U0001f4a9",
    "\ud800",
    "await",
]
_NOISE += [
    "(" * 250,
    "[" * 250,
    "not " * 300,
    "-" * 300,
    "a." * 500,
    "9" * 5000,
    "0x",
    "1_0",
    "1j",
    "1if 1else 2",
    "*x",
    "**x",
    "x for",
    "del",
]


def expression(chance: Chance, depth: int = 4) -> str:
    """One from the grammar. That it evaluates is another matter."""
    if depth == 0 or chance.random() < 0.2:
        return chance.choice((chance.choice(_NAMES), chance.choice(_LITERALS)))
    return chance.choice(_PRODUCTIONS)(chance, depth - 1)


def broken_expression(chance: Chance) -> str:
    """One that is probably not in the language."""
    if chance.random() < 0.2:
        return "".join(
            chr(chance.choice((chance.randrange(128), chance.randrange(0x11000))))
            for _ in range(chance.randrange(60))
        )
    text = expression(chance)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(_NOISE) + text[place + chance.choice((0, 0, 1, 4)) :]
    return text


def _binary(chance: Chance, depth: int) -> str:
    return f"({expression(chance, depth)} {chance.choice(_BINARY)} {expression(chance, depth)})"


def _unary(chance: Chance, depth: int) -> str:
    return f"{chance.choice(('-', '+', 'not '))}{expression(chance, depth)}"


def _call(chance: Chance, depth: int) -> str:
    name = chance.choice((*FUNCTIONS, *SPECIAL_FORMS))
    arguments = ", ".join(expression(chance, depth) for _ in range(chance.choice((1, 1, 2, 2, 3, 0))))
    return f"{name}({arguments})"


def _choice(chance: Chance, depth: int) -> str:
    return f"({expression(chance, depth)} if {expression(chance, depth)} else {expression(chance, depth)})"


def _subscript(chance: Chance, depth: int) -> str:
    index = chance.choice(("0", "-1", "1:", ":2", "::-1", "::0", "'a'", expression(chance, depth)))
    return f"{expression(chance, depth)}[{index}]"


def _member(chance: Chance, depth: int) -> str:
    return f"{expression(chance, depth)}.{chance.choice(('a', 'class', 'import', 'output', '__class__', 'items'))}"


def _list(chance: Chance, depth: int) -> str:
    return "[" + ", ".join(expression(chance, depth) for _ in range(chance.randrange(4))) + "]"


def _dict(chance: Chance, depth: int) -> str:
    items = (f"{expression(chance, 0)}: {expression(chance, depth)}" for _ in range(chance.randrange(3)))
    return "{" + ", ".join(items) + "}"


def _comprehension(chance: Chance, depth: int) -> str:
    body, source = expression(chance, depth), expression(chance, depth)
    filtered = f" if {expression(chance, depth)}" if chance.random() < 0.4 else ""
    nested = f" for y in {expression(chance, depth)}" if chance.random() < 0.3 else ""
    loop = f"for x in {source}{filtered}{nested}"
    return f"[{body} {loop}]" if chance.random() < 0.7 else f"{{x: {body} {loop}}}"


def _big(chance: Chance, depth: int) -> str:
    """Work without end, as far as a short text can ask for it."""
    inner = expression(chance, depth)
    return chance.choice(
        (
            f"[{inner} for x in range(10**6) for y in range(10**6)]",
            f"range({inner} + 10**12)",
            f"('a' * 10**9) + {inner}",
            f"[[{inner}] * 10**6] * 10**6",
            "9**9**9**9",
            f"join([str(x) for x in range(10**5)], {inner})",
            f"replace('a' * 10**5, 'a', 'b' * 10**5 + {inner})",
            "matches('a' * 10**5 + 'b', '(a*)*$')",
            f"sorted([{inner} for x in range(10**5)])",
            f"merge({inner}, {inner})",
        )
    )


_PRODUCTIONS: list[Callable[[Chance, int], str]] = [
    _binary, _binary, _unary, _call, _call, _call, _choice, _subscript, _member, _list, _dict, _comprehension, _big,
]  # fmt: skip
