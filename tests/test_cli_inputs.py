"""Data from outside: what ``-i``, ``--input`` and ``--payload`` make of any text."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from flowctl.cli import inputs
from flowctl.cli.inputs import json_argument, run_input
from flowctl.errors import FlowctlError, InvalidInput

SCHEMA = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string"},
        "amount": {"type": "number"},
        "count": {"type": "integer"},
        "express": {"type": "boolean"},
        "items": {"type": "array"},
        "address": {"type": "object"},
        "note": {"type": ["string", "null"]},
        "limit": {"type": ["integer", "null"]},
        "anything": {},
        "always": True,
    },
}

CONVERTED = {
    "order_id=0012": "0012",
    "order_id=": "",
    "order_id=a=b": "a=b",
    "order_id=[1]": "[1]",
    "order_id= x ": " x ",
    "note=null": "null",
    "amount=120": 120,
    "amount=1.5e3": 1500.0,
    "amount=-1": -1,
    "count=0012": 12,
    "count=3.0": 3.0,
    "express=true": True,
    "items=[]": [],
    'items=["lamp", {"a": 1}]': ["lamp", {"a": 1}],
    'address={"city": "Ghent"}': {"city": "Ghent"},
    "limit=null": None,
    "limit=7": 7,
    "anything=12": 12,
    "anything=no": "no",
    "anything=1:30": "1:30",
    "always=true": True,
    "undeclared=true": True,
    "undeclared=[1]": "[1]",
    "undeclared=": None,
    "undeclared=0x10": 16,
}


@pytest.mark.parametrize(("pair", "value"), CONVERTED.items(), ids=CONVERTED)
def test_a_value_is_converted_by_the_type_that_is_declared_for_it(pair: str, value: Any) -> None:
    key = pair.partition("=")[0]
    converted = run_input(None, [pair], SCHEMA)
    assert converted == {key: value}
    assert type(converted[key]) is type(value)


REFUSED = {
    "no equals sign": "amount",
    "no key": "=1",
    "a word for a number": "amount=much",
    "a boolean for a number": "count=true",
    "yes for a boolean": "express=yes",
    "a word for a list": "items=lamp",
    "a mapping for a list": 'items={"a": 1}',
    "half a list": "items=[1",
    "NaN in JSON": "items=[NaN]",
    "a key twice": 'address={"a": 1, "a": 2}',
    "an infinite number": "amount=1e999",
    "YAML's infinity": "amount=.inf",
    "an integer beyond 64 bits": "count=99999999999999999999",
    "a number without end": "count=" + "9" * 100_000,
    "a nest without end": "items=" + "[" * 100_000,
    "half a surrogate": r'items=["\ud800"]',
}


@pytest.mark.parametrize("pair", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_name_and_briefly(pair: str) -> None:
    with pytest.raises(FlowctlError) as caught:
        run_input(None, [pair], SCHEMA)
    assert caught.value.exit_code == 2
    assert pair[:5] in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_pair_wins_over_the_input_and_a_later_one_over_an_earlier() -> None:
    assert run_input('{"count": 1, "amount": 1}', ["count=2", "count=3"], SCHEMA) == {"count": 3, "amount": 1}


def test_without_a_schema_values_are_scalars() -> None:
    assert run_input(None, ["a=1", "b=x"], None) == {"a": 1, "b": "x"}


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"'])
def test_the_input_of_a_run_is_a_mapping(text: str) -> None:
    with pytest.raises(InvalidInput, match="--input is"):
        run_input(text, [], None)


def test_data_comes_from_the_argument_a_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.json").write_text('{"a": 1}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    for text in ('{"a": 1}', f"@{tmp_path / 'data.json'}", "-"):
        assert json_argument(text, "--payload") == {"a": 1}


BAD_DATA = {
    "nothing": b"",
    "not JSON": b"{a: 1}",
    "two documents": b"{} {}",
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "a number too large": b"1e999",
    "half a surrogate": rb'"\udfff"',
    "not UTF-8": b'"\xff"',
    "binary": bytes(range(256)),
    "a nest without end": b"[" * 200_000,
    "more than can be read": b" " * (inputs.MAX_BYTES + 1),
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_bad_data_is_refused_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, way: str
) -> None:
    (tmp_path / "data").write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(FlowctlError, match="--payload") as caught:
        json_argument(f"@{tmp_path / 'data'}" if way == "file" else "-", "--payload")
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "too long"])
def test_what_is_not_an_ordinary_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    name = {"device": "/dev/zero", "too long": "x" * 10_000}.get(kind, str(tmp_path / kind))
    with pytest.raises(FlowctlError, match="--input") as caught:
        json_argument(f"@{name}", "--input")
    assert caught.value.exit_code == 2


def test_closed_standard_input_is_an_error_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(FlowctlError, match="no standard input"):
        json_argument("-", "--input")
