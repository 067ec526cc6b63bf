"""Ways of spoiling a document: by bytes, by lines, by tokens, and by its structure.

Each takes a source of chance and a document, and gives another one. None of them knows the language: what
is wrong with the result, if anything, is for the loader to say.
"""

# ruff: noqa: E501 - lists of fragments are read by the line
from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

from tests.fuzz.expressions import broken_expression, expression

Chance = random.Random

FRAGMENTS = [
    b"${{ ", b" }}", b"${{ input }}", b"$${{", b"${{ }}", b"${{ '}}' }}", b"${{ {1: 2}}}", b": ", b"- ", b"? ", b"[", b"]", b"{", b"}",
    b"&a ", b"*a", b"<<: *a", b"!!python/object:os.system ", b"!!str ", b"!x ", b"|\n", b">-\n", b"|9\n", b"# ", b"'", b'"', b"\t", b"\0",
    b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xf4\x90\x80\x80", b"---\n", b"...\n", b"%YAML 1.1\n", b"\r",
    b"null", b"~", b".inf", b".nan", b"-.inf", b"1e999", b"9" * 30, b"9" * 5000, b"0x" + b"f" * 99, b"0o7", b"1_000", b"1:30", b"2026-01-01",
    b"no", b"true", b"steps: ", b"id: a\n", b"if: ", b"$ref: '#'", b"pattern: '(a+)+$'", b"{$ref: '#/properties/a'}", b"steps.a.output",
    b"secrets.TOKEN", b"result", b"(" * 120, b"[" * 120, b"{a: " * 120, b"- " * 120, b"\xf0\x9f\x92\xa9", "\u202e".encode(), "é".encode(),
    b"1h", b"1e9d", b"PT1H", b"9999999999999d", b"-1s", b"compensate: none\n", b"catch: ", b"timeout: 0s\n",
]  # fmt: skip
"""What is put in at random: words of YAML, of the language, and of neither."""

SCALARS: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, float("inf"), float("nan"), "", " ", "a",
    "a" * 300, "A", "\0", "\x85", "\u2028", "\u202e", "é", "e\u0301", "\U0001f4a9", "\ud800", "null", "true", "~", "1", "1h", "1h30m", "PT1H",
    "9" * 40 + "d", "-1s", "0s", "${{ input.x }}", "${{ steps.a.output }}", "${{ secrets.TOKEN }}", "${{", "}}", "$${{ x }}", "${{ 1/0 }}",
    "${{ now }}", "#/$defs/a", "http://example.invalid/schema", "(a+)+$", "[", "none", "hold", "compensate", "case_1", "undo", "_sleep1",
    "__class__", "../../etc/passwd", "a.b.c", [], {}, [[]], [{}], {"": ""}, [None], {"if": "true", "steps": []},
]  # fmt: skip
"""Values that are hostile where they are not expected."""


def spoiled(chance: Chance, document: bytes, tree: Any) -> bytes:
    """The document with one to a few mistakes; ``tree`` is its data, for mistakes of structure."""
    if chance.random() < 0.45:
        data = copy.deepcopy(tree)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            data = _spoil_structure(chance, data)
        document = written(data)
        if chance.random() < 0.7:
            return document
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        document = chance.choice(TEXTUAL)(chance, document) if document else b"\n"
    return document


def written(data: Any) -> bytes:
    """Data as text that YAML reads: JSON, as far as the data are JSON."""
    return json.dumps(data, indent=1, default=str).encode("utf-8", "backslashreplace")


# --- bytes, lines and tokens


def _flip(chance: Chance, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def _cut(chance: Chance, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice((1, 1, 3, 20, 200)) :]


def _insert(chance: Chance, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(FRAGMENTS) + data[place:]


def _repeat(chance: Chance, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    piece = data[start : start + chance.choice((1, 5, 40))]
    return data[:start] + piece * chance.choice((2, 3, 50, 500)) + data[start:]


def _move_line(chance: Chance, data: bytes) -> bytes:
    lines = data.split(b"\n")
    line = lines.pop(chance.randrange(len(lines)))
    line = chance.choice((line, line.strip(), b"  " + line, b"- " + line.lstrip()))
    lines.insert(chance.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _double_line(chance: Chance, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at:at] = [lines[at]] * chance.choice((1, 1, 30))
    return b"\n".join(lines)


def _drop_line(chance: Chance, data: bytes) -> bytes:
    lines = data.split(b"\n")
    del lines[chance.randrange(len(lines))]
    return b"\n".join(lines)


def _indent(chance: Chance, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at] = chance.choice((b"  ", b" ", b"\t", b" " * 80)) + lines[at]
    return b"\n".join(lines)


_TOKEN = re.compile(rb"[A-Za-z0-9_.]+|\$\{\{|\}\}|[^A-Za-z0-9_.\s]|\s+")


def _swap_tokens(chance: Chance, data: bytes) -> bytes:
    tokens = _TOKEN.findall(data) or [data]
    one, two = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    tokens[one], tokens[two] = tokens[two], tokens[one]
    return b"".join(tokens)


def _replace_token(chance: Chance, data: bytes) -> bytes:
    tokens = _TOKEN.findall(data) or [data]
    tokens[chance.randrange(len(tokens))] = chance.choice((*FRAGMENTS, chance.choice(tokens)))
    return b"".join(tokens)


def _splice_expression(chance: Chance, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    make = chance.choice((expression, broken_expression))
    return data[:place] + b"${{ " + make(chance).encode("utf-8", "surrogatepass") + b" }}" + data[place:]


TEXTUAL: list[Callable[[Chance, bytes], bytes]] = [
    _flip, _cut, _insert, _insert, _repeat, _move_line, _double_line, _drop_line, _indent, _swap_tokens, _replace_token, _splice_expression,
]  # fmt: skip


# --- structure


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Every container of the tree with every key in it."""
    found, left = [], [data]
    while left:
        container = left.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in items:
            found.append((container, key))
            if isinstance(value, dict | list):
                left.append(value)
    return found


def _spoil_structure(chance: Chance, data: Any) -> Any:
    places = _places(data) if isinstance(data, dict | list) else []
    if not places:
        return hostile(chance)
    chance.choice(STRUCTURAL)(chance, places)
    return data


def hostile(chance: Chance) -> Any:
    """A value that is trouble."""
    made = chance.random()
    if made < 0.15:
        return "${{ " + expression(chance) + " }}"
    if made < 0.2:
        return _deep(chance)
    return copy.deepcopy(chance.choice(SCALARS))


def _deep(chance: Chance) -> Any:
    value: Any = copy.deepcopy(chance.choice(SCALARS))
    for _ in range(chance.choice((3, 30, 90, 300))):
        value = [value] if chance.random() < 0.5 else {chance.choice(("steps", "a", "with", "if")): value}
    return value


def _set_value(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    container, key = chance.choice(places)
    container[key] = hostile(chance)


def _delete(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    container, key = chance.choice(places)
    del container[key]


def _swap_values(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    (one, first), (two, second) = chance.choice(places), chance.choice(places)
    one[first], two[second] = copy.deepcopy(two[second]), copy.deepcopy(one[first])


def _duplicate(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    container, key = chance.choice(places)
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[f"{key}2"] = copy.deepcopy(container[key])


def _rename(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    mappings = [place for place in places if isinstance(place[0], dict)]
    if mappings:
        (container, key), (_, other) = chance.choice(mappings), chance.choice(mappings)
        strange = ("", "then", "run", "maxAttempts", "$ref", "a b", "\0", "é", "x" * 200)
        container[chance.choice((other, other, *strange))] = container.pop(key)


def _wrap(chance: Chance, places: list[tuple[Any, Any]]) -> None:
    container, key = chance.choice(places)
    value = container[key]
    container[key] = chance.choice(([value], {"steps": value}, {"id": "a", "steps": [value]}, [value] * 40))


STRUCTURAL: list[Callable[[Chance, list[tuple[Any, Any]]], None]] = [
    _set_value, _set_value, _set_value, _delete, _swap_values, _swap_values, _duplicate, _rename, _wrap,
]  # fmt: skip
