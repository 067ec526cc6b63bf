"""The first look at an expression's text: refuses what Python's parser must never see.

Python's parser is fast and right about precedence, but its errors, its memory and even its life depend on
what it is fed. So the text is read here first, in one pass that is linear and never recursive. The pass knows
words, literals, operators and brackets, and writes a **shadow** of the text for the parser, of the same
length, in ASCII, on one line, in which every literal is the digit ``1`` and every word after a dot is a plain
name. Therefore

- a place in Python's tree is a place in the author's text, and keys are read from there, keywords included;
- literals mean what this module says, on every version of Python;
- length, nesting and the number of words are bounded before anything recursive runs.
"""

from __future__ import annotations

import keyword
import re
from typing import Any

import msgspec

from flowctl.errors import ExpressionError
from flowctl.values import MAX_INT

MAX_LENGTH = 4_096
"""Characters in one expression."""

MAX_BRACKETS = 40
"""How deep brackets may nest."""

MAX_TOKENS = 1_500
"""Words, literals and operators in one expression: keeps Python's trees within Python's stack."""

MAX_PREFIXES = 20
"""``not`` and signs in a row: each is a level of the parser's stack that no bracket shows."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<raw>[rR](?:"[^"\n]*"|'[^'\n]*'))
    |(?P<prefixed>(?:[bBuUfF][rR]?|[rR][bBfF])["'])
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%<>.,:](?!=))
    |(?P<equals>=)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_KEYWORDS = {"and", "or", "not", "in", "if", "else", "for"}
WORDS = frozenset({*_CONSTANTS, *keyword.kwlist})
"""Words that are not names."""

_PREFIXES = {"not", "-", "+"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)

_HINTS = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=": "to compare, write '=='",
    ":=": "expressions assign nothing; use a 'set' step",
    "?": "write 'x if condition else y'",
    "|": "functions are called: write f(x), not x | f",
    "&": "write 'and'",
    "$": "inside an expression names stand as they are, without '${{ }}'",
    "`": "text stands in quotes",
    "^": "a power is written '**'",
    "@": "text stands in quotes",
    "#": "expressions have no comments; in YAML, write the comment on a line of its own",
    ";": "an expression is one value",
    "\\": "text stands in quotes",
}
"""What is not in the language, and how it is said here. The longest that fits speaks."""

_KEYWORD_HINTS = {
    "is": "write '=='",
    "lambda": "there are no functions of your own; use a comprehension",
    "import": "expressions import nothing; a plugin can add functions",
    "await": "an activity awaits; an expression only computes",
    "async": "an activity awaits; an expression only computes",
    "yield": "write a comprehension",
}


class Scan(msgspec.Struct, frozen=True):
    """What the pass found: the shadow, and the index at which the expression ends.

    ``literals`` are values by offset; ``ends`` maps the end of each in the shadow to its end in the text.
    """

    shadow: str
    literals: dict[int, Any]
    ends: dict[int, int]
    end: int


def scan(text: str, start: int = 0, *, embedded: bool = False) -> Scan:
    """Read the expression that begins at ``start``; ExpressionError with its offset in ``text`` otherwise.

    ``embedded``: in a template, where the expression ends at the first ``}}`` outside its own brackets and
    strings. That is the first one at which it can parse: before it a bracket or a string is open, after it
    one too many closes.
    """
    return _Scanner(text, start, embedded).run()


class _Scanner:
    def __init__(self, text: str, start: int, embedded: bool) -> None:
        self.text = text
        self.at = self.start = start
        self.limit = min(len(text), start + MAX_LENGTH)
        self.embedded = embedded
        self.shadow: list[str] = []
        self.literals: dict[int, Any] = {}
        self.ends: dict[int, int] = {}
        self.brackets: list[tuple[str, int]] = []
        self.last = ""
        self.prefixes = 0
        self.count = 0

    def run(self) -> Scan:
        while self.at < self.limit and not self._ends():
            match = _TOKEN.match(self.text, self.at, self.limit)
            if match is None:
                raise self._unreadable()
            kind, token = str(match.lastgroup), match.group()
            self.shadow.append(_READERS[kind](self, token))
            self.at = match.end()
            if kind != "space":
                self._count(token)
        if self.at >= self.limit < len(self.text) and not self._ends():
            raise self._too_long()
        if self.brackets:
            bracket, opened = self.brackets[-1]
            raise self._error(f"{bracket!r} is never closed", at=opened)
        if self.embedded and self.at >= len(self.text):
            raise self._error("'${{' is never closed", "end it with '}}', or write '$${{' for the text '${{'")
        return Scan("".join(self.shadow), self.literals, self.ends, self.at)

    def _ends(self) -> bool:
        return self.embedded and not self.brackets and self.text.startswith("}}", self.at)

    def _count(self, token: str) -> None:
        self.last = token
        self.count += 1
        self.prefixes = self.prefixes + 1 if token in _PREFIXES else 0
        if self.prefixes > MAX_PREFIXES:
            raise self._error(f"more than {MAX_PREFIXES} signs or 'not' in a row")
        if self.count > MAX_TOKENS:
            raise self._too_long()

    def space(self, token: str) -> str:
        return " " * len(token)  # a line break would end the expression for Python

    def word(self, token: str) -> str:
        if self.last == ".":
            return "_" * len(token)
        if token in _CONSTANTS:
            return self._literal(token, _CONSTANTS[token])
        if not token.isascii():
            raise self._error(f"the name {token!r} has letters outside a to z")
        if keyword.iskeyword(token) and token not in _KEYWORDS:
            hint = _KEYWORD_HINTS.get(
                token, "it is a reserved word of Python, whose grammar expressions follow"
            )
            raise self._error(f"{token!r} is not part of the language", hint)
        return token

    def number(self, token: str) -> str:
        following = self.text[self.at + len(token) : self.at + len(token) + 1]
        if following.isalnum() or following == "_":
            raise self._error(
                f"{token + following!r} is not a number", "names begin with a letter; text is in quotes"
            )
        if not token.isdigit():
            value = float(token)
            if value == float("inf"):
                raise self._error("the number is too large")
            return self._literal(token, value)
        if len(token) > 1 and token[0] == "0":
            raise self._error("a number does not begin with 0", f"for text, write {token[:40]!r}")
        if len(token) > 19 or int(token) > MAX_INT + (
            self.last == "-"
        ):  # the least number has no positive twin
            raise self._error("the number is beyond 64 bits")
        return self._literal(token, int(token))

    def string(self, token: str) -> str:
        body = token[1:-1]
        return self._literal(token, _ESCAPE.sub(self._unescape, body) if "\\" in body else body)

    def raw(self, token: str) -> str:
        return self._literal(token, token[2:-1])

    def prefixed(self, token: str) -> str:
        raise self._error(
            f"strings have no prefix {token[:-1]!r}", "write plain quotes, or r'…' for a pattern"
        )

    def _unescape(self, match: re.Match[str]) -> str:
        *codes, character = match.groups()
        if character is not None:
            if character not in _ESCAPES:
                raise self._error(f"unknown escape '\\{character}'", "write '\\\\' for a backslash, or r'…'")
            return _ESCAPES[character]
        code = int(next(code for code in codes if code), 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"{match.group()} is not a character")
        return chr(code)

    def open(self, token: str) -> str:
        self.brackets.append((token, self.at))
        if len(self.brackets) > MAX_BRACKETS:
            raise self._error(f"brackets nest more than {MAX_BRACKETS} deep")
        return token

    def close(self, token: str) -> str:
        if not self.brackets or _CLOSING[self.brackets.pop()[0]] != token:
            raise self._error(f"{token!r} closes nothing")
        return token

    def operator(self, token: str) -> str:
        return token

    def equals(self, token: str) -> str:
        if not self.brackets or self.brackets[-1][0] != "(":  # there it names an argument
            raise self._unreadable()
        return token

    def _literal(self, token: str, value: Any) -> str:
        if self.last == "." or (
            self.shadow and (self.shadow[-1][-1].isalnum() or self.shadow[-1][-1] == "_")
        ):
            raise self._error(
                f"{token[:40]} cannot stand here", "is an operator or a space missing before it?"
            )
        if isinstance(value, str) and not value.isascii():
            self._refuse_surrogates(value)
        offset = self.at - self.start
        self.literals[offset] = value
        self.ends[offset + 1] = offset + len(token)
        return "1" + " " * (len(token) - 1)

    def _refuse_surrogates(self, value: str) -> None:
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
            raise self._error("the text has a lone surrogate")

    def _unreadable(self) -> ExpressionError:
        if self.limit < len(self.text) and self.text[self.at] in "\"'":  # cut off by the limit, or by nobody
            return self._too_long()
        rest = self.text[self.at : self.at + 2]
        if rest[0] in "\"'":
            return self._error("the text is never closed", f"end it with {rest[0]} on the same line")
        for sign in (rest, rest[0]):
            if sign in _HINTS:
                return self._error(f"{sign!r} is not part of the language", _HINTS[sign])
        return self._error(f"{rest[0]!r} is not part of the language")

    def _too_long(self) -> ExpressionError:
        return self._error(
            "the expression is too long", f"the limits are {MAX_LENGTH:,} characters and {MAX_TOKENS:,} words"
        )

    def _error(self, message: str, hint: str | None = None, at: int | None = None) -> ExpressionError:
        return ExpressionError(message, source=self.text, offset=self.at if at is None else at, hint=hint)


_READERS = {name: getattr(_Scanner, name) for name in _TOKEN.groupindex}
