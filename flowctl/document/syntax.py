"""What a YAML parser's complaint means, said to an author.

PyYAML has two parsers with two wordings, both about tokens and productions. ``_MEANINGS`` maps what they say
to what is usually wrong; the first pattern that fits speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from flowctl.document.places import Place

Explanation = tuple[str, Place, str | None]
"""Message, place, hint."""


def explain(error: Any, lines: Sequence[str]) -> Explanation:
    """What is wrong and where, for a ``yaml.MarkedYAMLError``."""
    problem = str(error.problem or error)
    here = _place(error.problem_mark, lines)
    opened = _place(error.context_mark, lines) if error.context_mark is not None else here
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, problem):
            return meaning(here, opened, lines)
    return f"not YAML: {problem}", here, None


def _place(mark: Any, lines: Sequence[str]) -> Place:
    if mark is None:
        return len(lines), 1
    return mark.line + 1, mark.column + 1


def _says(message: str, hint: str) -> Callable[[Place, Place, Sequence[str]], Explanation]:
    def meaning(here: Place, opened: Place, lines: Sequence[str]) -> Explanation:
        return message, here, hint

    return meaning


def _unclosed_flow(here: Place, opened: Place, lines: Sequence[str]) -> Explanation:
    """In ``{a: ${{ x }}}`` the braces of the expression are braces of YAML."""
    line = lines[here[0] - 1] if here[0] <= len(lines) else ""
    if "${{" in line[: here[1] + 3]:
        column = line.rfind("${{", 0, here[1] + 3) + 1
        message = "an expression inside '{ }' or '[ ]' must stand in quotes"
        return message, (here[0], column), 'write "${{ … }}"'
    bracket = lines[opened[0] - 1][opened[1] - 1 : opened[1]] if opened[0] <= len(lines) else ""
    if here[0] >= len(lines):
        return f"the '{bracket}' is never closed", opened, None
    closing = {"{": "}", "[": "]"}.get(bracket, "}")
    return (
        f"here a ',' or the closing '{closing}' is missing",
        here,
        "a text with brackets or commas stands in quotes",
    )


def _bad_start(here: Place, opened: Place, lines: Sequence[str]) -> Explanation:
    line = lines[here[0] - 1] if here[0] <= len(lines) else ""
    character = line[here[1] - 1 : here[1]]
    if character == "\t" or not character:
        return "a tab where YAML wants spaces", here, "indent with spaces"
    return f"a value cannot begin with '{character}'", here, "write it in quotes"


def _unclosed_quote(here: Place, opened: Place, lines: Sequence[str]) -> Explanation:
    return "the quote is never closed", opened, None


_MEANINGS: tuple[tuple[str, Callable[[Place, Place, Sequence[str]], Explanation]], ...] = (
    (r"expected ',' or '[}\]]'", _unclosed_flow),
    (r"cannot start any token", _bad_start),
    (
        r"mapping values are not allowed",
        _says("a ': ' that cannot stand here", "check the indentation; quote a text that contains ': '"),
    ),
    (
        r"sequence entries are not allowed",
        _says("a list item cannot stand here", "begin it on a line of its own"),
    ),
    (r"unexpected end of stream|document separator", _unclosed_quote),
    (r"tab character", _says("a tab where YAML wants spaces", "indent with spaces")),
    (
        r"unknown escape",
        _says("an unknown escape in double quotes", "write '\\\\' for a backslash, or use single quotes"),
    ),
    (
        r"invalid Unicode character escape",
        _says("an escape that is no character", "write the character itself"),
    ),
    (
        r"<document start>",
        _says("text after the end of the document", "check the indentation, and quotes that end too early"),
    ),
    (
        r"expected (key|'-' indicator)|<block end>",
        _says(
            "this line does not fit the ones around it",
            "check the indentation; what begins with a quote must end with it",
        ),
    ),
    (r"node content", _says("a value is missing here", "a text with brackets stands in quotes")),
    (r"could not find expected ':'", _says("here a ':' after a key is missing", "check the indentation")),
)
