"""The schema as editors use it: described, with examples that are right, and with a project's activities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

from flowctl import ActivityContext, activity
from flowctl.activities import declared
from flowctl.activities.describe import describe
from flowctl.document.editor_schema import with_activities
from flowctl.document.schema import schema

PUBLISHED = schema()


# --- descriptions and examples


def parts(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every definition and every property of the schema that is more than a reference, with its path."""
    if isinstance(node, dict):
        if len(path) > 1 and path[-2] in ("properties", "$defs") and node.keys() != {"$ref"}:
            yield "/".join(map(str, path)), node
        for key, inner in node.items():
            if key != "examples":
                yield from parts(inner, (*path, key))
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from parts(inner, (*path, index))


PARTS = dict(parts(PUBLISHED))


def test_everything_in_the_schema_is_described() -> None:
    assert len(PARTS) > 100
    assert [path for path, part in PARTS.items() if not part.get("description")] == []


def test_everything_in_the_schema_has_an_example_and_each_is_right() -> None:
    assert [path for path, part in PARTS.items() if not part.get("examples")] == []
    for path, part in PARTS.items():
        check = Draft202012Validator({**part, "$defs": PUBLISHED["$defs"]})
        assert [(path, error.message) for one in part["examples"] for error in check.iter_errors(one)] == []


# --- activities


@dataclasses.dataclass
class Address:
    street: str
    floor: int


@activity("shop.ship")
def ship(
    to: Address, weights: list[float], ctx: ActivityContext, way: Literal["road", "air"] = "road"
) -> None:
    """Hand it to the carrier.

    At least once.
    """


@activity("shop.note")
def note(**anything: str) -> None:
    raise NotImplementedError


MADE = with_activities(PUBLISHED, [describe(found) for found in map(declared, (ship, note)) if found])
ADDRESS = {"street": "x", "floor": 1}


def misfits(step: dict[str, Any]) -> bool:
    document = {"dsl": 1, "name": "t", "steps": [step]}
    return not Draft202012Validator(MADE).is_valid(document)


def test_the_schema_with_activities_is_a_schema() -> None:
    Draft202012Validator.check_schema(MADE)
    assert with_activities(PUBLISHED, []) == PUBLISHED


def test_names_of_activities_are_completed_with_what_their_author_says() -> None:
    names = MADE["$defs"]["activity_name"]["anyOf"]
    assert [each.get("const") for each in names] == ["shop.note", "shop.ship", None]
    assert names[0]["description"] == "shop.note(…)"
    assert (
        names[1]["description"] == "shop.ship(to, weights, way?)\n\nHand it to the carrier.\n\nAt least once."
    )
    assert MADE["$defs"]["entry"]["properties"]["uses"] == {"$ref": "#/$defs/activity_name"}


ARGUMENTS: dict[str, tuple[Any, bool]] = {
    "all of them": ({"to": ADDRESS, "weights": [1, 2.5], "way": "air"}, True),
    "none of them": ({}, False),
    "one that is missing": ({"to": ADDRESS}, False),
    "one that is not there": ({"to": ADDRESS, "weights": [], "wya": "air"}, False),
    "a wrong type": ({"to": ADDRESS, "weights": ["heavy"]}, False),
    "a wrong type inside": ({"to": {"street": 1, "floor": 1}, "weights": []}, False),
    "a wrong choice": ({"to": ADDRESS, "weights": [], "way": "sea"}, False),
    "expressions": ({"to": "${{ input.to }}", "weights": "${{ input.w }}", "way": "${{ input.way }}"}, True),
    "expressions inside": ({"to": {"street": "x", "floor": "${{ input.n }}"}, "weights": ["${{ 1 }}"]}, True),
    "one expression": ("${{ input }}", True),
    "a text": ("input", False),
}


@pytest.mark.parametrize(("arguments", "fits"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_are_completed_and_checked(arguments: Any, fits: bool) -> None:
    call = {"activity": "shop.ship", "with": arguments}
    assert misfits({"id": "a", **call}) is not fits
    assert misfits({"id": "a", "activity": "shop.note", "compensate": call}) is not fits


def test_what_is_not_installed_here_is_not_forbidden() -> None:
    assert not misfits({"id": "a", "activity": "other.call", "with": {"whatever": 1}})
    assert not misfits({"id": "a", "activity": "shop.note", "with": {"whatever": 1}})
    assert misfits({"id": "a", "activity": "not a name"})
