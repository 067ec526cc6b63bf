"""Plain scalars by the core schema of YAML 1.2, as far as JSON has a word for them.

``no``, ``on``, ``1:30`` and dates are texts, ``0o17`` is a number and ``017`` is seventeen. Infinities and
integers beyond 64 bits are refused: they would not survive the first journal entry.
"""

from __future__ import annotations

import re
from typing import Any

from flowctl.document.diagnostics import shown
from flowctl.values import MAX_INT, MIN_INT, NotJson

WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
NUMBER_STARTS = frozenset("-+.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o(?P<octal>[0-7]+)\Z|0x(?P<hex>[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


def core(text: str) -> Any:
    """The value of a plain scalar, by the core schema of YAML 1.2. ``NotJson`` for what JSON lacks."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in NUMBER_STARTS:
        return text
    if _INTEGER.match(text):
        return _integer(text, 10)
    if based := _BASED.match(text):
        return _integer(text[2:], 8 if based["octal"] else 16)
    if _FLOAT.match(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise NotJson(f"the number {shown(text)} is too large")
        return value
    if _NOT_FINITE.match(text):
        raise NotJson(f"{shown(text)} is not a number of JSON")
    return text


def _integer(digits: str, base: int) -> int:
    # Python refuses to convert very long decimals, and leading zeros count as digits: both end here.
    significant = digits.lstrip("+-").lstrip("0")
    value = int(digits, base) if len(significant) <= 40 and len(digits) <= 400 else MAX_INT + 1
    if not MIN_INT <= value <= MAX_INT:
        raise NotJson(f"the integer {shown(digits)} is beyond 64 bits")
    return value
