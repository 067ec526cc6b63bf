"""Bytes to data: which YAML is read, what it means, and what is refused where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowctl.document import scalar
from flowctl.document.loader import MAX_DEPTH, MAX_NODES, _parser, load_yaml, read_tree
from flowctl.document.source import MAX_BYTES, text_of
from flowctl.errors import InvalidDocument, InvalidInput


def problem(source: bytes | str) -> tuple[str, str]:
    """Code with place, and the message with its hint, of the one mistake in a text."""
    with pytest.raises(InvalidDocument) as caught:
        load_yaml(source, "f.yaml")
    (found,) = caught.value.diagnostics
    hint = f", {found.hint}" if found.hint else ""
    return f"{found.code} {found.line}:{found.column}", found.message + hint


SCALARS: dict[str, Any] = {
    "no": "no",
    "on": "on",
    "y": "y",
    "true": True,
    "False": False,
    "NULL": None,
    "~": None,
    "": None,
    "12": 12,
    "-12": -12,
    "+12": 12,
    "010": 10,
    "0o17": 15,
    "0x1F": 31,
    "0b1": "0b1",
    "1_000": "1_000",
    "1:30": "1:30",
    "1.5": 1.5,
    ".5": 0.5,
    "1e3": 1000.0,
    "2024-01-31": "2024-01-31",
    "2024-01-31T08:00:00Z": "2024-01-31T08:00:00Z",
    "=": "=",
    "-": "-",
    ".": ".",
    "1.2.3": "1.2.3",
    "9223372036854775807": 2**63 - 1,
}


@pytest.mark.parametrize("text", SCALARS)
def test_plain_scalars_are_those_of_yaml_1_2(text: str) -> None:
    assert scalar(text) == SCALARS[text]
    assert type(scalar(text)) is type(SCALARS[text])


@pytest.mark.parametrize("text", ["true", "12", "~", "1.5"])
def test_a_quoted_scalar_is_a_text(text: str) -> None:
    assert load_yaml(f"a: '{text}'", "f") == {"a": text}


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", "1e999", "9223372036854775808", "0x" + "F" * 17, "9" * 9999]
)
def test_a_number_that_json_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        scalar(text)
    assert problem(f"a: {text}")[0] == "NotJson 1:4"


def test_a_json_file_is_read_as_what_it_says() -> None:
    data = {
        "a": [1, 2.5, None, True, {"b:c": "x\ty 😀  # no comment"}],
        "é": "${{ input.x }}",
        "/": "\\ud83d",
    }
    for text in (
        json.dumps(data),
        json.dumps(data, ensure_ascii=False, indent="\t"),
        json.dumps(data, indent=1),
    ):
        assert load_yaml(text, "f.json") == data


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    tree, refused = read_tree(text_of(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", "f"), "f")
    assert (tree.data, refused) == ({"a": 1, "b": "x"}, [])
    assert tree.place(("b",)) == (2, 4)


REFUSED = {
    "anchor": ("a: &x 1", "YamlFeature 1:4"),
    "alias": ("a: 1\nb: *x", "YamlFeature 2:4"),
    "merge key": ("a:\n  <<: {b: 1}", "YamlFeature 2:3"),
    "tag": ("a: !!python/name:os.system x", "YamlFeature 1:4"),
    "tag on a list": ("a: !x [1]", "YamlFeature 1:4"),
    "tag on a key": ("!x a: 1", "YamlFeature 1:1"),
    "second document": ("a: 1\n---\nb: 1", "YamlFeature 2:1"),
    "repeated key": ("a: 1\nb: 2\na: 3", "DuplicateKey 3:1"),
    "number as a key": ("a: {1: x}", "NotJson 1:5"),
    "boolean as a key": ("true: x", "NotJson 1:1"),
    "list as a key": ("? [a]\n: x", "NotJson 1:3"),
    "key with a NUL": (r'"\0a": 1', "NotJson 1:1"),
    "empty": ("", "YamlSyntax 1:1"),
    "only a comment": ("# nothing", "YamlSyntax 1:1"),
    "unclosed list": ("a: [1,\n  2", "YamlSyntax 1:4"),
    "unclosed quote": ("a: 'x\nb: 1", "YamlSyntax 1:4"),
    "colon in a text": ("a: b: c", "YamlSyntax 1:5"),
    "tab as indentation": ("a:\n\tb: 1", "YamlSyntax 2:1"),
    "value that begins with @": ("a: @x", "YamlSyntax 1:4"),
    "wrong indentation": ("a: 1\n b: 2", "YamlSyntax 2:3"),
    "text after a quote": ('if: "x" == y', "YamlSyntax 1:9"),
    "unknown escape": (r'a: "\q"', "YamlSyntax 1:5"),
    "lone surrogate": (r'a: "\ud83d"', "YamlSyntax 1:7"),
    "other YAML version": ("%YAML 3.0\n---\na: 1", "YamlSyntax 1:1"),
    "line separator": ("a: x\u2028", "BadEncoding 1:5"),
    "control character": ("a: \x1b[31m", "BadEncoding 1:4"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str, expected: str) -> None:
    assert problem(text)[0] == expected


ENCODINGS = {
    "UTF-16": ("a: 1".encode("utf-16"), "the file is UTF-16"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), "UTF-16 or binary"),
    "Latin-1": (b"a: 1\nb: caf\xe9", "byte 0xe9 is not UTF-8"),
    "NUL": (b"a: x\0", "U+0000"),
    "lone surrogate": ("a: \ud800", "lone surrogate"),
}


@pytest.mark.parametrize(("source", "expected"), ENCODINGS.values(), ids=ENCODINGS)
def test_what_is_not_utf_8_says_so(source: bytes | str, expected: str) -> None:
    code, message = problem(source)
    assert code.startswith("BadEncoding")
    assert expected in message


HINTS = {
    "expression in a flow mapping": ("with: {a: ${{ input.x }}}", 'write "${{ … }}"'),
    "expression in a flow list": ("with: [a, ${{ input.x }}]", 'write "${{ … }}"'),
    "expression of another language": ("a: {{ x }}", "${{ … }}"),
    "exclamation mark in a condition": ("if: !input.x", "write 'not'"),
    "condition with a colon": ("if: a == 'x: y'", "quote a text that contains ': '"),
    "alias": ("a: *x", "'defaults' and 'activities'"),
    "number as a key": ("1: x", '"1"'),
    "repeated key": ("a: 1\na: 2", "first on line 1"),
}


@pytest.mark.parametrize(("text", "expected"), HINTS.values(), ids=HINTS)
def test_a_refusal_says_what_to_do(text: str, expected: str) -> None:
    assert expected in problem(text)[1]


def test_refused_parts_do_not_hide_each_other() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_yaml("a: *x\nb: !t 1\n<<: {c: 1}\n1: 2\nd: .inf\nd: 2\ne: [", "f.yaml")
    codes = [found.code for found in caught.value.diagnostics]
    assert codes == [
        "YamlFeature",
        "YamlFeature",
        "YamlFeature",
        "NotJson",
        "NotJson",
        "DuplicateKey",
        "YamlSyntax",
    ]


BOMBS = {
    "brackets": "[" * 200_000,
    "braces": "{a: " * 50_000,
    "dashes": "- " * 100_000,
    "question marks": "? " * 100_000,
    "indentation": "\n".join(" " * depth + "a:" for depth in range(900)),
    "nodes": "- 1\n" * 200_000,
    "keys": "{" + ",".join(f"k{number}" for number in range(80_000)) + "}",
    "bytes": "a: " + "x" * MAX_BYTES,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_what_is_too_large_is_refused_before_it_is_built(text: str) -> None:
    assert problem(text)[0].startswith("TooLarge")


def test_what_is_just_within_the_limits_is_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert load_yaml(deep, "f") is not None
    assert len(load_yaml("- 1\n" * (MAX_NODES - 1), "f")) == MAX_NODES - 1
    assert len(load_yaml("x" * MAX_BYTES, "f")) == MAX_BYTES


def test_anchors_cannot_expand() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(InvalidDocument) as caught:
        load_yaml(bomb, "f")
    assert {found.code for found in caught.value.diagnostics} == {"YamlFeature"}


PURE = [*(text for text, _ in REFUSED.values()), *(text for text, _ in HINTS.values()), '"\\UFFFFFFFF": a']


@pytest.mark.parametrize("text", [*PURE, *BOMBS.values(), f"%YAML 1.{'9' * 5000}\n--- a"])
def test_without_libyaml_everything_is_refused_as_well(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yaml.__with_libyaml__", False)
    assert type(_parser("a: 1")).__name__ == "Parser"
    problem(text)


def test_without_libyaml_a_document_is_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, {b: 'x'}]\nc: |\n  two\n  lines\nd: ${{ x }}\n"
    tree, _ = read_tree(text, "f")
    monkeypatch.setattr("yaml.__with_libyaml__", False)
    again, _ = read_tree(text, "f")
    assert again == tree


def test_a_document_full_of_expressions_is_refused_unparsed() -> None:
    assert problem("a: '" + "${{ 1 }}" * 20_001 + "'")[0] == "TooLarge 1:1"
