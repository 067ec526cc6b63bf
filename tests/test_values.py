from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowctl import values
from flowctl.errors import InvalidInput, PayloadTooLarge
from flowctl.values import MAX_BYTES, MAX_DEPTH, MAX_INT, MIN_INT, NotJson

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INT, MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


class Colour(enum.StrEnum):
    RED = "red"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_plain_json_passes_and_is_not_changed() -> None:
    value = {"a": [1, -0.5, None, True], "ü": {"": "\x00\U0001f600"}, "least": MIN_INT, "most": MAX_INT}
    values.check(value, "the input")
    assert values.decode(values.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        (math.nan, "$", "nan is not a JSON number"),
        ({"a": [0, {"b": math.inf}]}, "$.a[1].b", "inf is not a JSON number"),
        ([2**63], "$[0]", "an integer beyond 64 bits"),
        (-(2**63) - 1, "$", "an integer beyond 64 bits"),
        ({"a": "\ud800"}, "$.a", "a lone surrogate"),
        ({"\ud800": 1}, "$", "a key with a lone surrogate"),
        ({"a": {1: 2}}, "$.a", "the key 1 is not a string"),
        ({None: 2}, "$", "the key None is not a string"),
        ((1, 2), "$", "a tuple is not a JSON type"),
        ([{1}], "$[0]", "a set is not a JSON type"),
        ({"a": b"x"}, "$.a", "a bytes is not a JSON type"),
        ({"a": datetime.date(2026, 1, 1)}, "$.a", "a date is not a JSON type"),
        ([decimal.Decimal(1)], "$[0]", "a Decimal is not a JSON type"),
        ([Colour.RED], "$[0]", "a Colour is not a JSON type"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(value: Any, path: str, says: str) -> None:
    with pytest.raises(NotJson) as caught:
        values.check(value, "the input")
    assert caught.value.path == path
    assert caught.value.details == {"path": path}
    assert says in str(caught.value)
    assert "the input" in str(caught.value)


def test_not_json_is_invalid_input_by_name_and_a_value_error_by_nature() -> None:
    with pytest.raises(InvalidInput) as caught:
        values.encode(math.nan)
    assert caught.value.code == "InvalidInput"
    assert isinstance(caught.value, ValueError)


def test_nesting_has_a_limit() -> None:
    values.check(nested(MAX_DEPTH), "the input")
    with pytest.raises(NotJson, match=f"nested more than {MAX_DEPTH} deep"):
        values.check(nested(MAX_DEPTH + 1), "the input")


def test_a_list_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(NotJson, match="contains itself"):
        values.check(loop, "the input")


def test_lists_that_share_elements_are_refused_before_they_are_written_out() -> None:
    bomb: Any = "x"
    for _ in range(50):
        bomb = [bomb] * 1_000
    with pytest.raises(PayloadTooLarge):
        values.encode(bomb)


@given(JSON)
def test_a_value_survives_its_bytes_with_all_its_types(value: Any) -> None:
    back = values.decode(values.encode(value))
    assert values.equal(back, value)
    assert repr(back) == repr(json.loads(json.dumps(value, sort_keys=True)))


@given(JSON)
@example({"\uffff": 1, "\U0001f600": 2, "b": 3, "a": 4})
def test_encoding_is_canonical(value: Any) -> None:
    backwards = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert values.encode(backwards) == values.encode(value)
    if isinstance(value, dict):
        assert list(values.decode(values.encode(value))) == sorted(value)


@given(JSON)
def test_a_value_never_weighs_more_than_its_bytes(value: Any) -> None:
    assert 0 < values.weigh(value) <= len(values.encode(value)) + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "9223372036854775808",
        "1" * 5_000,
        '"\\ud800"',
        '"\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        "[1,]",
        "{'a': 1}",
        "01",
        "1 2",
        "[" * 100_000,
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
    ],
)
def test_text_that_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotJson, match="the payload"):
        values.decode(text, "the payload")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"b": {"x": 0, "a": 1, "a": 2}}',
        '[{"a":":", "a":""}]',
        '{"a": 1, "a": "\\u003a"}',
        '{"a": 1, "\\u0061": 2}',
        '{"a": ' + "1" * 18 + ', "a": 2}',
    ],
)
def test_a_key_given_twice_is_refused_by_name(text: str) -> None:
    with pytest.raises(NotJson, match="has the key 'a' twice"):
        values.decode(text)


@pytest.mark.parametrize(
    "text", ['{"a:b": "c:d"}', '{"a": "\\u003a"}', '{"a": {"a": {"a": ":"}}}', '[{"a":1},{"a":1}]']
)
def test_colons_and_keys_of_other_mappings_are_no_repetition(text: str) -> None:
    assert values.decode(text) == json.loads(text)


@given(st.text() | st.binary())
def test_any_text_is_a_value_or_not_json(text: str | bytes) -> None:
    try:
        value = values.decode(text)
    except NotJson:
        return
    assert values.equal(value, json.loads(text))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, True, False),
        (0, False, False),
        (1, 1.0, True),
        ([1, {"a": True}], [1.0, {"a": True}], True),
        ([1, {"a": True}], [1, {"a": 1}], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        (None, False, False),
        ("1", 1, False),
        ([], {}, False),
        (2**53 + 1, float(2**53), False),
    ],
)
def test_equality_is_that_of_json(one: Any, other: Any, same: bool) -> None:
    assert values.equal(one, other) is same
    assert values.equal(other, one) is same


def test_a_payload_over_the_limit_names_its_largest_key() -> None:
    fitting = "x" * (MAX_BYTES - 2)
    assert len(values.sized(fitting, "the result")) == MAX_BYTES
    with pytest.raises(
        PayloadTooLarge, match=r"the result is over the limit of 1,048,576 bytes; .*'blob'"
    ) as caught:
        values.sized({"small": [1] * 100, "blob": fitting}, "the result")
    assert caught.value.details == {"limit": MAX_BYTES, "largest": "blob"}


def test_the_largest_part_is_named_however_large() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        values.sized(["x", "x" * 20_000_000], "the result")
    assert caught.value.details["largest"] == 1


def test_the_limit_counts_bytes_not_characters() -> None:
    with pytest.raises(PayloadTooLarge):
        values.sized("é" * (MAX_BYTES // 2), "the result")


def test_a_digest_is_of_the_canonical_bytes() -> None:
    assert (
        values.digest({"b": 1, "a": 2}) == values.digest({"a": 2, "b": 1}) == values.digest(b'{"a":2,"b":1}')
    )
    assert values.digest(1) != values.digest(1.0)
