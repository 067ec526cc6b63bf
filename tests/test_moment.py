"""What a run knew just before one of its steps began."""

from __future__ import annotations

from typing import Any

import pytest

from flowctl.backends import moment
from flowctl.errors import NotFound
from flowctl.journal import Entry, Fact, Run
from flowctl.status import status_document

T = 1_800_000_000_000
ERROR: dict[str, Any] = {"type": "Declined", "types": ["Declined"], "message": "no", "step": "ship"}
ERROR |= {"details": None, "attempt": 1, "cause": None}
SAGA = {"undone": ["charge"], "failed": [], "in_doubt": [], "not_undone": [], "skipped": []}
RUN = Run("r", "r", "order", 1, "sha256:0", {"a": 1}, T, T + 10**9, status="compensated", started_at=T)
RUN.completed_at, RUN.error, RUN.saga, RUN.entries = T + 9_000, ERROR, SAGA, 4


def fact(path: str, kind: str, second: int, **data: Any) -> Fact:
    return Fact(path, kind, T + 1_000 * second, int(kind == "started"), 0, data)


def completed(path: str, second: int, output: Any = None) -> Fact:
    return fact(path, "completed", second, output=output)


def started(path: str, second: int, generation: int = 0) -> Fact:
    begun = fact(path, "started", second, verb="activity", name="shop.do", input={})
    begun.generation = generation
    return begun


ENTRIES = [
    Entry(fact("", "started", 0), [started("charge", 0)], 1),
    Entry(
        completed("charge", 1, "C-1"),
        [fact("each", "started", 1, verb="foreach"), started("each[0].pack", 1)],
        2,
    ),
    Entry(completed("each[0].pack", 2), [completed("each", 2), started("ship", 2)], 3),
    Entry(
        fact("ship", "failed", 3, error=ERROR),
        [fact("", "compensating", 3, error=ERROR), started("charge.undo", 3)],
        4,
    ),
    Entry(completed("charge.undo", 4), [fact("", "ended", 4, status="compensated", saga=SAGA)], 5),
]


def at(path: str) -> dict[str, Any]:
    return status_document(*moment.before(RUN, ENTRIES, path))


def states(path: str) -> dict[str, str]:
    return {step["path"]: step["status"] for step in at(path)["steps"]}


def test_only_what_had_happened_is_known() -> None:
    document = at("ship")
    assert [step["path"] for step in document["steps"]] == ["charge", "each", "each[0].pack"]
    assert document["steps"][0]["output"] == "C-1"
    assert (document["status"], document["completed_at"], document["error"]) == ("running", None, None)
    assert (document["input"], document["output"], document["history_length"]) == ({"a": 1}, None, 3)
    assert document["saga"]["undone"] == []


def test_an_entry_is_cut_between_the_end_of_one_step_and_the_start_of_the_next() -> None:
    assert states("each[0].pack") == {"charge": "completed", "each": "running"}
    assert states("each") == {"charge": "completed"}
    assert states("charge") == {}


def test_before_a_compensation_the_run_compensates_for_a_reason() -> None:
    document = at("charge.undo")
    assert (document["status"], document["error"]) == ("compensating", ERROR)
    assert states("charge.undo")["charge"] == "completed"


def test_a_part_without_facts_of_its_own_begins_with_the_first_thing_inside() -> None:
    assert states("each[0]") == states("each[0].pack")


def test_a_path_that_only_begins_alike_is_another_one() -> None:
    with pytest.raises(NotFound, match=r"has not come to 'eac'; did you mean 'each'\?"):
        at("eac")


def test_attributes_are_those_that_were_set_by_then() -> None:
    def describes(path: str, second: int, **values: Any) -> Entry:
        set_then = fact(path, "completed", second, verb="attributes", output=values)
        return Entry(set_then, [], second)

    told = [
        describes("a", 1, search={"x": 1, "y": 1}),
        describes("b", 2, search={"y": 2}, memo={"note": "n"}),
        describes("c", 3, search={"z": 3}),
        Entry(started("d", 4), [], 4),
    ]
    document = status_document(*moment.before(RUN, told, "c"))
    assert (document["attributes"], document["memo"]) == ({"x": 1, "y": 2}, {"note": "n"})
    assert status_document(*moment.before(RUN, told, "a"))["attributes"] == {}


def test_a_step_that_ran_twice_means_the_first_time() -> None:
    again = [*ENTRIES, Entry(fact("", "reopened", 6), [started("ship", 6, generation=1)], 6)]
    run, entries = moment.before(RUN, again, "ship")
    assert (run.generation, len(entries)) == (0, 3)


def test_a_run_that_goes_on_after_a_retry_is_running_again() -> None:
    again = [*ENTRIES, Entry(fact("", "reopened", 6), [started("tell", 6, generation=1)], 6)]
    document = status_document(*moment.before(RUN, again, "tell"))
    assert (document["status"], document["attempt"]) == ("running", 2)


@pytest.mark.parametrize("path", ["nowhere", "", "each.", "ship[0]"])
def test_a_step_that_never_began_has_no_moment(path: str) -> None:
    with pytest.raises(NotFound):
        at(path)
