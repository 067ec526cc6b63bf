from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowctl import values
from flowctl.errors import ExpressionError
from flowctl.expressions import FUNCTIONS, SPECIAL_FORMS
from tests.expression_helpers import evaluate, refused

NAMES = """
len sum min max abs round any all sorted reversed range enumerate zip keys values items str int float bool
type lower upper strip split join replace startswith endswith contains matches get first last unique flatten
merge pick omit json from_json base64 from_base64 sha256 uuid timestamp duration format_time default has
"""

CASES: list[tuple[str, Any]] = [
    ("len('äb')", 2),
    ("len([1, 2, 3])", 3),
    ("len({'a': 1})", 1),
    ("sum([1, 2.5])", 3.5),
    ("sum([], 1)", 1),
    ("sum([1], start=2)", 3),
    ("sum([0.1, 0.2, 0.3])", 0.1 + 0.2 + 0.3),
    ("min(3, 1.5)", 1.5),
    ("min(['b', 'a'])", "a"),
    ("max([[1, 2], [1, 3]])", [1, 3]),
    ("max([5])", 5),
    ("abs(-2)", 2),
    ("round(2.5)", 2),
    ("round(2.567, 2)", 2.57),
    ("round(1234, -2)", 1200),
    ("round(1234, -999999999)", 0),
    ("round(1.5, ndigits=999999999)", 1.5),
    ("any([false, true])", True),
    ("any([])", False),
    ("all([])", True),
    ("all(x > 0 for x in [1, 0])", False),
    ("sorted([3, 1.5, 2])", [1.5, 2, 3]),
    ("sorted(['b', 'B', 'ä'])", ["B", "b", "ä"]),
    ("sorted([[2, 'a'], [1, 'b'], [1, 'a']])", [[1, "a"], [1, "b"], [2, "a"]]),
    ("sorted([1, 2, 3], reverse=true)", [3, 2, 1]),
    ("[x.sku for x in sorted(input.items, key='price', reverse=true)]", ["b", "a"]),
    ("sorted({'b': 1, 'a': 2})", ["a", "b"]),
    ("sorted([])", []),
    ("reversed([1, 2])", [2, 1]),
    ("range(3)", [0, 1, 2]),
    ("range(1, 4)", [1, 2, 3]),
    ("range(3, 0, -2)", [3, 1]),
    ("range(3, 0)", []),
    ("enumerate(['a', 'b'])", [[0, "a"], [1, "b"]]),
    ("enumerate(['a'], start=1)", [[1, "a"]]),
    ("zip([1, 2, 3], ['a', 'b'])", [[1, "a"], [2, "b"]]),
    ("zip()", []),
    ("keys({'b': 1, 'a': 2})", ["a", "b"]),
    ("values({'b': 1, 'a': 2})", [2, 1]),
    ("items({'b': 1, 'a': 2})", [["a", 2], ["b", 1]]),
    ("str('a')", "a"),
    ("str(1.0)", "1.0"),
    ("str(true)", "true"),
    ("str(null)", "null"),
    ("str({'b': [1], 'a': 'ä'})", '{"a":"ä","b":[1]}'),
    ("int('-12 ')", -12),
    ("int(3.9)", 3),
    ("int(true)", 1),
    ("float('1e3')", 1000.0),
    ("float(1)", 1.0),
    ("bool('')", False),
    ("bool([0])", True),
    (
        "[type(x) for x in [null, true, 1, 1.5, 'a', [], {}]]",
        ["null", "boolean", "integer", "number", "string", "array", "object"],
    ),
    ("lower('ÄB') + upper('ß')", "äbSS"),
    ("strip('  a ') + strip('xax', 'x')", "aa"),
    ("split(' a  b ')", ["a", "b"]),
    ("split('a,b,,c', ',')", ["a", "b", "", "c"]),
    ("split('a,b,c', ',', maxsplit=1)", ["a", "b,c"]),
    ("join(['a', 'b'], '-')", "a-b"),
    ("join([], '-')", ""),
    ("replace('aXbX', 'X', '--')", "a--b--"),
    ("replace('ab', '', '.')", ".a.b."),
    ("startswith('abc', 'ab')", True),
    ("endswith('abc', 'ab')", False),
    ("contains('abc', 'b')", True),
    ("contains([1, 2], true)", False),
    ("contains({'a': 1}, 'a')", True),
    ("matches('order-12', '[0-9]+')", True),
    ("matches('order', r'^\\d+$')", False),
    ("get({'a': {'b': [1, 2]}}, 'a.b[1]')", 2),
    ("get({'a': {'b': [1, 2]}}, 'a.b[-1]')", 2),
    ("get({'a': {'b': [1, 2]}}, 'a.b[2]', 'none')", "none"),
    ("get({'a': null}, 'a.b', default=1)", 1),
    ("get({'a': 5}, 'a.b')", None),
    ("get({'a-b': {'ü c': 1}}, 'a-b.ü c')", 1),
    ("get([[1]], '[0][0]')", 1),
    ("get([7], 0)", 7),
    ("get(5, '')", 5),
    ("first([1, 2])", 1),
    ("last([1, 2])", 2),
    ("first([])", None),
    ("default(last([]), 'none')", "none"),
    ("unique([3, 1, 3, 1.0, true, [1], [1.0], {'a': 1}, {'a': 1}])", [3, 1, True, [1], {"a": 1}]),
    ("flatten([[1], [2, [3]], 4])", [1, 2, [3], 4]),
    ("merge({'a': 1, 'b': 1}, {'b': 2})", {"a": 1, "b": 2}),
    ("merge()", {}),
    ("pick({'a': 1, 'b': 2, 'c': 3}, 'a', ['c', 'z'])", {"a": 1, "c": 3}),
    ("omit({'a': 1, 'b': 2}, 'a', 'z')", {"b": 2}),
    ("json({'b': 'ä', 'a': [true, null]})", '{"a":[true,null],"b":"ä"}'),
    ("from_json('{\"a\": [1.0]}')", {"a": [1.0]}),
    ("base64('hé')", "aMOp"),
    ("from_base64('aMOp')", "hé"),
    ("sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("timestamp('1970-01-01T00:01:00Z')", 60),
    ("timestamp(now) % 1 > 0", True),
    ("duration('1h30m')", 5400),
    ("duration('250ms')", 0.25),
    ("format_time(0)", "1970-01-01T00:00:00.000Z"),
    ("format_time(timestamp(now) + duration('2h'))", "2026-11-21T09:08:25.123Z"),
    ("format_time(now, '%Y-%m-%d %H:%M:%S.%f %%')", "2026-11-21 07:08:25.123000 %"),
    ("format_time('2026-01-01T01:00:00+02:00', format='%d.%m.')", "31.12."),
]


@pytest.mark.parametrize(("text", "value"), CASES)
def test_a_function_means_what_it_means_in_python(text: str, value: Any) -> None:
    found = evaluate(text)
    assert values.equal(found, value), found
    assert type(found) is type(value)


def test_the_table_is_the_one_of_the_language_and_every_function_has_a_case() -> None:
    assert sorted([*FUNCTIONS, *SPECIAL_FORMS]) == sorted(NAMES.split())
    tried = " ".join(text for text, _ in CASES)
    assert [name for name in FUNCTIONS if f"{name}(" not in tried] == ["uuid"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("len(1)", "a number has no length"),
        ("sum(['a'])", "cannot add a number and a string"),
        ("sum(1)", "sum takes a list, not a number"),
        ("sum([1], 'a')", "sum adds numbers"),
        ("sum([9223372036854775807, 1])", "beyond 64 bits"),
        ("min([])", "min of an empty list"),
        ("max([{}])", "cannot order a mapping"),
        ("max(1, 'a')", "cannot order"),
        ("abs(-9223372036854775808)", "beyond 64 bits"),
        ("abs('a')", "abs takes a number"),
        ("round(1e300)", "beyond 64 bits"),
        ("round(1.5, 'a')", "round takes a whole number as ndigits"),
        ("any([1])", "not true or false"),
        ("all(['a'])", "not true or false"),
        ("sorted([1, 'a'])", "cannot order"),
        ("sorted([true, false])", "cannot order a boolean"),
        ("sorted([1], reverse=1)", "not true or false"),
        ("reversed('ab')", "reversed takes a list"),
        ("range(1.5)", "range takes a whole number"),
        ("range(1, 2, 0)", "cannot be 0"),
        ("enumerate([1, 2], 9223372036854775807)", "beyond 64 bits"),
        ("zip(1)", "zip takes a list"),
        ("keys([1])", "keys takes a mapping, not a list"),
        ("int('1.5')", "'1.5' is not a whole number"),
        ("int('٣')", "is not a whole number"),
        ("int('99999999999999999999')", "is not a whole number"),
        ("int(1e300)", "beyond 64 bits"),
        ("int(null)", "int cannot convert null"),
        ("float('nan')", "is not a number"),
        ("float('1e999')", "not a finite number"),
        ("sorted(1)", "cannot go through a number"),
        ("lower(1)", "lower takes a string"),
        ("split('a', '')", "separator that is not empty"),
        ("join([1], ',')", "join takes a list of strings"),
        ("replace('a', 'b', 1)", "replace takes a string"),
        ("startswith('a', ['a'])", "startswith takes a string as prefix"),
        ("contains(1, 1)", "'in' looks into"),
        ("matches('a', '(')", "'(' is not a pattern"),
        ("matches('a', '(?=a)')", "is not a pattern"),
        ("matches('a', 'a' * 2000)", "over 1,000 characters"),
        ("matches('a', '((a{1000}){1000}){1000}')", "is not a pattern"),
        ("get({}, 'a..b')", "is not a path"),
        ("get({}, '.a')", "is not a path"),
        ("get({}, 'a[x]')", "is not a path"),
        ("get({}, [1])", "get takes a string as path"),
        ("get({}, 'a' * 2000)", "over 1,000 characters"),
        ("first('ab')", "first takes a list"),
        ("unique({})", "unique takes a list"),
        ("merge({}, [])", "merge takes a mapping, not a list"),
        ("pick({}, 1)", "pick takes a string as key"),
        ('from_json(\'{"a":1,"a":2}\')', "'a' twice"),
        ("from_json('NaN')", "is not JSON"),
        ("from_base64('?')", "not base64"),
        ("from_base64('/w==')", "not base64 of UTF-8"),
        ("sha256(1)", "sha256 takes a string"),
        ("timestamp('2026-01-01')", "is not a timestamp"),
        ("timestamp(5)", "timestamp takes a string"),
        ("duration('5')", "no unit"),
        ("format_time(1e300)", "outside the years"),
        ("format_time(0, '%A')", "does not know '%A'"),
    ],
)
def test_what_a_function_does_not_take_is_refused(text: str, says: str) -> None:
    assert says in refused(text).message


def test_a_uuid_is_derived_from_run_and_name() -> None:
    first = evaluate("uuid('card')")
    assert str(uuid.UUID(first)) == first
    assert evaluate("uuid('card')") == first
    assert evaluate("uuid('other')") != first
    assert evaluate("uuid('card')", run={"id": "order-2"}) != first
    assert evaluate("uuid('b/c')", run={"id": "a"}) != evaluate("uuid('c')", run={"id": "a/b"})


def test_a_uuid_needs_a_run() -> None:
    assert "derived from the run" in refused("uuid('card')", word=1).message


@settings(deadline=None)
@given(st.lists(st.integers(-100, 100) | st.floats(-100, 100)))
def test_aggregates_agree_with_python(numbers: list[float]) -> None:
    assert evaluate("sorted(n)", n=numbers) == sorted(numbers)
    assert evaluate("[n[i] for i in range(len(n))]", n=numbers) == numbers
    if numbers:
        assert evaluate("[min(n), max(n)]", n=numbers) == [min(numbers), max(numbers)]


@settings(deadline=None)
@given(st.text(), st.text(max_size=3))
def test_texts_agree_with_python(text: str, part: str) -> None:
    assert evaluate("part in text", text=text, part=part) is (part in text)
    assert evaluate("from_base64(base64(text))", text=text) == text
    assert evaluate("from_json(json(text))", text=text) == text
    if part:
        assert evaluate("split(text, part)", text=text, part=part) == text.split(part)
        assert evaluate("join(split(text, part), part)", text=text, part=part) == text


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_pattern_matches_or_is_refused(text: str, pattern: str) -> None:
    try:
        assert evaluate("matches(text, pattern)", text=text, pattern=pattern) in (True, False)
    except ExpressionError:
        refused("matches(text, pattern)", text=text, pattern=pattern)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.lists(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("a.[0]%Y1", max_size=6)
        | st.lists(st.integers(0, 3) | st.text("ab", max_size=2), max_size=3)
        | st.dictionaries(st.text("ab", max_size=2), st.integers(0, 3), max_size=2),
        max_size=4,
    ),
)  # fmt: skip
def test_any_arguments_give_json_or_an_expression_error(name: str, arguments: list[Any]) -> None:
    text = f"{name}({', '.join(f'a[{at}]' for at in range(len(arguments)))})"
    roots = {"a": arguments, "run": {"id": "r"}}
    try:
        values.check(evaluate(text, **roots), "the result")
    except ExpressionError:
        refused(text, **roots)
