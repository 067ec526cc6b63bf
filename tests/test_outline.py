"""Where the steps of a document stand."""

from __future__ import annotations

from typing import Any

from flowctl.outline import BRANCH, CLAUSE, outline
from flowctl.path import Path
from tests.versions_helpers import workflow_of


def steps(*ids: str) -> list[dict[str, Any]]:
    return [{"id": name, "activity": "t.a"} for name in ids]


DOCUMENT = [
    {"id": "x", "parallel": {"l": steps("a", "b"), "r": steps("a")}, "compensate": {"steps": steps("u")}},
    {"id": "y", "try": steps("c"), "catch": {"steps": [{"sleep": "1s"}]}, "finally": steps("d")},
    {"id": "z", "foreach": "[1]", "steps": [{"switch": [{"if": "true", "steps": steps("e")}]}]},
    {"id": "b", "steps": steps("f")},
]


def test_places_are_numbered_in_document_order() -> None:
    places = outline(workflow_of(DOCUMENT))
    assert " ".join(places) == (
        "x x.l x.l.a x.l.b x.r x.r.a x.undo.u "
        "y y.try y.try.c y.catch_1 y.catch_1._sleep1 y.finally y.finally.d "
        "z z._switch1 z._switch1.case_1 z._switch1.case_1.e "
        "b b.f"
    )
    assert [place.number for place in places.values()] == list(range(len(places)))


def test_branches_and_clauses_have_no_step() -> None:
    places = outline(workflow_of(DOCUMENT))
    assert [(places[at].verb, places[at].step) for at in ("x.l", "y.try")] == [(BRANCH, None), (CLAUSE, None)]
    assert [places[at].verb for at in ("x", "x.undo.u", "y.catch_1._sleep1")] == [
        "parallel",
        "activity",
        "sleep",
    ]


def test_a_path_is_at_its_place_whichever_the_iteration() -> None:
    assert Path("each[2].pack.undo").place == "each.pack.undo"
    assert Path("each[12]").place == "each"
    assert Path("_run3.each[0].a").place == "each.a"
