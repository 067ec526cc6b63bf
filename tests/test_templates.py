from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowctl import values
from flowctl.errors import ExpressionError
from flowctl.expressions import SecretRef, template
from tests.expression_helpers import Scope

TOKEN, USER = SecretRef("TOKEN"), SecretRef("USER")


def render(value: Any, **roots: Any) -> Any:
    rendered = template(value).render(Scope(roots or None))
    assert rendered.secrets == {}
    return rendered.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${{ input.amount }}", 1500),
        ("${{input.express}}", False),
        ("${{ input.customer }}", None),
        ("${{ input.empty }}", []),
        (" ${{ input.amount }}", " 1500"),
        ("Order ${{ input['order-id'] }} of ${{ input.email }}!", "Order 0012 of ann@example.org!"),
        ("${{ 1 }}${{ 2 }}", "12"),
        (
            "a ${{ 1.0 }} ${{ true }} ${{ null }} ${{ [1, 'ä', {'b': 1, 'a': 2}] }}",
            'a 1.0 true null [1,"ä",{"a":2,"b":1}]',
        ),
        ("$${{ x }}", "${{ x }}"),
        ("$$${{ x }}", "$${{ x }}"),
        ("$${{ x }} ${{ 1 }} $${{", "${{ x }} 1 ${{"),
        ("costs $5 {{ x }} }} ${ x }", "costs $5 {{ x }} }} ${ x }"),
        ("${{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("${{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("${{ '}}' }}", "}}"),
        ("${{ '}}' }}}}", "}}}}"),
        ("${{ \"a}}\" + 'b' }} }}", "a}}b }}"),
        ("${{\n  1 +\n  1\n}}", 2),
        ("${{ '${{ input.amount }}' }}", "${{ input.amount }}"),
    ],
)
def test_a_string_is_rendered(text: str, value: Any) -> None:
    found = render(text)
    assert found == value
    assert type(found) is type(value)


def test_expressions_stand_anywhere_in_a_tree_but_not_in_keys() -> None:
    tree = {"a": ["${{ input.amount }}", {"b": "x${{ 1 }}"}], "${{ key }}": None, "c": [1, True, 2.5]}
    assert render(tree) == {"a": [1500, {"b": "x1"}], "${{ key }}": None, "c": [1, True, 2.5]}


def test_rendering_leaves_the_template_as_it_was() -> None:
    tree = {"a": ["${{ n }}", 1], "b": {"c": "${{ n }}"}}
    made = template(tree)
    assert made.render(Scope({"n": 1})).value == {"a": [1, 1], "b": {"c": 1}}
    assert made.render(Scope({"n": 2})).value == {"a": [2, 1], "b": {"c": 2}}
    assert tree == {"a": ["${{ n }}", 1], "b": {"c": "${{ n }}"}}


def test_a_template_without_expressions_is_constant_and_always_the_same() -> None:
    made = template({"a": ["x", 1, "$${{ y }}"]})
    assert made.constant
    assert made.references == frozenset()
    assert made.render(Scope()).value == {"a": ["x", 1, "${{ y }}"]}
    assert made.render(Scope()).value is made.render(Scope()).value


def test_references_are_those_of_all_expressions() -> None:
    made = template({"a": "${{ input.amount }}", "b": ["x ${{ now }} ${{ steps.ship.output }}"]})
    assert made.references == {("input", "amount"), ("now",), ("steps", "ship", "output")}
    assert not made.constant


def test_templates_are_equal_if_their_sources_are() -> None:
    assert template("${{ 1 }}") == template("${{ 1 }}") != template("${{ 2 }}")


@pytest.mark.parametrize(
    ("text", "message", "source", "offset"),
    [
        ("x ${{ a && b }} y", "'&&'", "a && b", 2),
        ("x ${{ a", "never closed", "a", 1),
        ("${{}}", "empty", "", 0),
        ("${{ a b }} and ${{ c }}", "invalid syntax", "a b", 0),
        ("${{ 1 }} ${{ lenn(1) }}", "unknown function", "lenn(1)", 0),
        ("${{ ${{ 1 }} }}", "'$'", "${{ 1", 0),
        ("${{ (1 }}", "'}' closes nothing", "(1", 2),
        ("${{ it's }} x", "never closed", "it's", 2),
        ("${{ " + "a" * 5_000 + " }}", "too long", None, None),
    ],
)
def test_a_mistake_is_placed_in_its_expression(
    text: str, message: str, source: str | None, offset: int | None
) -> None:
    with pytest.raises(ExpressionError) as caught:
        template({"with": [text]})
    assert message in caught.value.message
    if source is not None:
        assert (caught.value.source, caught.value.offset) == (source, offset)


def test_an_error_of_evaluation_speaks_of_the_expression() -> None:
    with pytest.raises(ExpressionError, match="input has no key 'emial'; did you mean 'email'") as caught:
        render("Dear ${{ input.emial }}")
    assert caught.value.source == "input.emial"


def test_secrets_are_kept_beside_the_value() -> None:
    tree = {
        "token": "${{ secrets.TOKEN }}",
        "a/b": [{"~": "Bearer ${{ secrets.TOKEN }}."}],
        "both": "${{ secrets.USER }}:${{ secrets.TOKEN }}",
        "plain": "${{ input.amount }}",
    }
    made = template(tree, secrets=True)
    assert {("secrets", "TOKEN"), ("secrets", "USER")} < made.references
    rendered = made.render(Scope())
    assert rendered.value == {"token": None, "a/b": [{"~": None}], "both": None, "plain": 1500}
    assert rendered.secrets == {
        "/token": [TOKEN],
        "/a~1b/0/~0": ["Bearer ", TOKEN, "."],
        "/both": [USER, ":", TOKEN],
    }


def test_a_whole_template_may_be_one_secret() -> None:
    rendered = template("${{ secrets.TOKEN }}", secrets=True).render(Scope())
    assert (rendered.value, rendered.secrets) == (None, {"": [TOKEN]})


def test_a_secret_that_was_not_chosen_leaves_no_trace() -> None:
    text = "${{ secrets.TOKEN if input.express else 'none' }}"
    rendered = template([text, f"x {text}"], secrets=True).render(Scope())
    assert (rendered.value, rendered.secrets) == (["none", "x none"], {})


@pytest.mark.parametrize(
    "value",
    [
        "${{ secrets.TOKEN }}",
        {"a": ["x ${{ secrets.TOKEN }}"]},
        "${{ 1 if input.express else secrets.TOKEN }}",
    ],
)
def test_secrets_are_refused_where_they_may_not_stand(value: Any) -> None:
    with pytest.raises(ExpressionError, match="secrets can be used only in 'with'"):
        template(value)


@pytest.mark.parametrize("value", ["${{ len(secrets.TOKEN) }}", "${{ [secrets.TOKEN] }}"])
def test_a_secret_is_not_computed_with_even_where_it_may_stand(value: Any) -> None:
    with pytest.raises(ExpressionError, match="not computed with"):
        template(value, secrets=True)


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(ExpressionError, match="over the limit"):
        render("${{ x }}${{ x }}", x="a" * 600_000)


SYNTAX = st.lists(
    st.sampled_from(
        [
            "${{",
            "}}",
            "$${{",
            "$",
            "{",
            "}",
            " input.amount ",
            "secrets.TOKEN",
            "'",
            '"',
            "\\",
            "1",
            "ä",
            "\n",
        ]
    )
).map("".join)


@given(SYNTAX)
def test_data_that_looks_like_a_template_comes_back_verbatim(data: str) -> None:
    assert render("${{ x }}", x=data) == data
    assert render("<${{ x }}>", x=data) == f"<{data}>"
    assert render({"a": ["${{ x }}"]}, x={data: [data]}) == {"a": [{data: [data]}]}


@settings(deadline=None)
@given(st.lists(st.text() | SYNTAX))
def test_escaped_text_comes_back_verbatim(texts: list[str]) -> None:
    escaped = [text.replace("${{", "$${{") for text in texts]
    if not any("$$${{" in text for text in escaped):
        made = template(escaped)
        assert made.constant
        assert made.render(Scope()).value == texts


@settings(deadline=None)
@given(SYNTAX | st.text(), st.booleans())
def test_any_string_is_a_template_or_an_expression_error(text: str, secrets: bool) -> None:
    try:
        rendered = template({"a": text}, secrets=secrets).render(Scope())
    except ExpressionError as error:
        assert error.source is None or len(error.source) <= len(text)  # noqa: PT017  # most texts are no template
        return
    values.check(rendered.value, "the value")
    assert secrets or not rendered.secrets
