"""Where two runs differ."""

from __future__ import annotations

from typing import Any

import pytest

from flowctl.backends.difference import difference, merged

Step = dict[str, Any]


def at(second: int) -> str:
    return f"2030-01-01T00:00:{second:02}.000Z"


def step(path: str, *, begins: int = 0, takes: int | None = 1, **changes: Any) -> Step:
    plain: Step = {"path": path, "kind": "activity", "name": "shop.do", "status": "completed", "attempt": 1}
    plain |= {"input": {}, "output": None, "error": None, "compensation": None, "started_at": at(begins)}
    return plain | {"completed_at": None if takes is None else at(begins + takes)} | changes


def run(id: str, *steps: Step, **changes: Any) -> dict[str, Any]:
    plain = {"id": id, "workflow": "order", "version": 1, "digest": "sha256:0", "status": "completed"}
    plain |= {"input": {}, "output": None, "error": None, "started_at": at(0), "completed_at": at(9)}
    return plain | {"steps": list(steps)} | changes


def error(message: str, step: str | None) -> dict[str, Any]:
    return {"type": "Declined", "types": ["Declined"], "message": message, "step": step, "attempt": 1}


def found(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    return [
        (each["path"], each["what"] + each["where"], *each["values"])
        for each in difference(left, right)["differences"]
    ]


def test_a_run_does_not_differ_from_itself() -> None:
    one = run("a", step("charge", input={"n": [1, {"x": None}]}, error=error("no", "charge")))
    assert found(one, one) == []


def test_data_is_compared_leaf_by_leaf() -> None:
    left = run("a", input={"n": 1, "list": [1, 2], "same": "x", "a/b": 1})
    right = run("b", input={"n": 2, "list": [1], "same": "x", "a/b": True, "more": 0})
    assert found(left, right) == [
        ("", "input/n", 1, 2),
        ("", "input/list/1", 2, None),
        ("", "input/a~1b", 1, True),
        ("", "input/more", None, 0),
    ]


def test_what_is_missing_counts_as_null() -> None:
    assert found(run("a", input={"n": None}), run("b", input={})) == []


def test_a_runs_own_id_is_no_difference() -> None:
    left = run("order-1", step("charge", input={"key": "order-1/charge"}))
    assert found(left, run("order-2", step("charge", input={"key": "order-2/charge"}))) == []
    other = run("order-2", step("charge", input={"key": "order-3/charge"}))
    assert found(left, other) == [("charge", "input/key", "order-1/charge", "order-3/charge")]


def test_what_only_one_run_reached_is_listed_once() -> None:
    left = run("a", step("route"), step("route.case_1.pack"), step("route.case_1.ship"), step("each[0].x"))
    right = run("b", step("route"), step("route.else.mail"), step("each[0].x"), step("each[1].x"))
    assert found(left, right) == [
        ("route.else", "reached", False, True),
        ("route.case_1", "reached", True, False),
        ("each[1]", "reached", False, True),
    ]


def test_steps_differ_in_how_they_went() -> None:
    left = run("a", step("charge", attempt=2, output={"id": 1}))
    right = run("b", step("charge", status="failed", error=error("no", "charge"), name="shop.pay"))
    assert found(left, right) == [
        ("charge", "name", "shop.do", "shop.pay"),
        ("charge", "status", "completed", "failed"),
        ("charge", "attempt", 2, 1),
        ("charge", "output", {"id": 1}, None),
        ("charge", "error", None, error("no", "charge")),
    ]


def test_an_error_is_listed_where_it_happened() -> None:
    why = error("no", "block.charge")
    left = run("a", step("block"), step("block.charge"))
    right = run(
        "b", step("block", status="failed", error=why), step("block.charge", status="failed", error=why)
    )
    assert [path for path, what, *_ in found(left, right) if what == "error"] == ["block.charge"]


def test_the_errors_of_two_compensations_are_compared() -> None:
    def undone(message: str | None) -> Step:
        why = error(message, "charge.undo") if message else None
        return step("charge", compensation={"status": "compensation_failed", "attempt": 1, "error": why})

    assert found(run("a", undone("no")), run("b", undone("no"))) == []
    [(path, what, _, _)] = found(run("a", undone("no")), run("b", undone("never")))
    assert (path, what) == ("charge.undo", "error")
    assert found(run("a", step("charge")), run("b", undone(None))) == []


def test_times_are_listed_apart() -> None:
    left, right = run("a", step("charge", takes=1)), run("b", step("charge", takes=None), completed_at=None)
    assert difference(left, right)["times"] == [
        {"path": "", "milliseconds": [9_000, None]},
        {"path": "charge", "milliseconds": [1_000, None]},
    ]


ORDERS = {
    "alike": ("abc", "abc", "abc"),
    "one more at the beginning": ("ab", "xab", "xab"),
    "one more in the middle": ("abc", "axybc", "axybc"),
    "one more at the end": ("ab", "abx", "abx"),
    "others": ("ab", "xy", "xyab"),
    "another order": ("abc", "cba", "abc"),
    "nothing": ("", "ab", "ab"),
}


@pytest.mark.parametrize(("left", "right", "both"), ORDERS.values(), ids=ORDERS)
def test_steps_stand_in_the_order_in_which_they_began(left: str, right: str, both: str) -> None:
    assert "".join(merged(list(left), list(right))) == both
