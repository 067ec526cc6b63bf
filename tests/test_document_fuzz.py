"""No bytes do more than raise ``InvalidDocument``: a short, seeded form of a long search."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from flowctl import activity
from flowctl.activities import declared
from flowctl.document import World, load
from flowctl.document.diagnostics import Diagnostic
from flowctl.errors import InvalidDocument
from tests.test_document_schema import EVERY_VERB


@activity("x.y")
def called(n: int, *, names: list[str] | None = None) -> dict[str, list[int]]:
    """Something with a signature, so that there is one that arguments do not fit."""
    return {name: [n] for name in names or []}


WORLD = World({"x.y": declared(called)})
BASE = EVERY_VERB.encode()
COUNT = 700

WORDS = [
    b"${{ ", b" }}", b"$${{", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: ", b"!!str ", b"|\n", b">-\n", b"# ", b"'", b'"',
    b"\t", b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"---\n", b"...\n", b"%YAML 1.1\n", b"? ", b"null", b"~", b".inf", b"1e999", b"9" * 30,
    b"0x", b"steps", b"id: a\n", b"$ref", b"'#'", b"pattern: '('", b"result", b"steps.a.output", b"secrets.TOKEN", b"(" * 50, b"{a: " * 70,
]  # fmt: skip


def _cut(random: random.Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + data[start + random.randrange(1, 40) :]


def _insert(random: random.Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + random.choice(WORDS) + data[place:]


def _replace(random: random.Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]


def _move(random: random.Random, data: bytes) -> bytes:
    """Put one line, or what stands on it, somewhere else: shapes that are YAML and mean something else."""
    lines = data.split(b"\n")
    line = lines.pop(random.randrange(len(lines)))
    lines.insert(random.randrange(len(lines) + 1), line.strip() if random.random() < 0.5 else line)
    return b"\n".join(lines)


def _swap(random: random.Random, data: bytes) -> bytes:
    """Exchange two values: right types in wrong places."""
    words = data.split(b" ")
    one, two = random.randrange(len(words)), random.randrange(len(words))
    words[one], words[two] = words[two], words[one]
    return b" ".join(words)


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [_cut, _insert, _replace, _move, _swap]


def mistakes(data: bytes) -> list[Diagnostic]:
    """The errors of a document, [] if it is right; whatever else is raised, is raised."""
    try:
        load(data, "f.yaml", world=WORLD)
    except InvalidDocument as error:
        return error.diagnostics or [pytest.fail("invalid, and nobody knows why")]
    return []


@pytest.mark.parametrize("seed", range(5))
def test_mutated_documents_are_right_or_invalid_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    right = 0
    for _ in range(COUNT):
        data = BASE
        for _ in range(chance.choice((1, 1, 2, 5))):
            data = chance.choice(MUTATIONS)(chance, data)
        found = mistakes(data)
        assert all(one.render() and one.line >= 1 and one.column >= 1 for one in found)
        right += not found
    assert right < COUNT
