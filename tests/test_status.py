"""The status document and the history, folded from facts as the machine records them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from flowctl.journal import Entry, Fact, Run
from flowctl.status import SecretPaths, fact_line, history_lines, status_document, summary

T = 1_800_000_000_000
AT_0 = "2027-01-15T08:00:00.000Z"
ERROR: dict[str, Any] = {
    "type": "Declined",
    "types": ["Declined"],
    "message": "no",
    "details": None,
    "step": "charge",
    "attempt": 1,
    "cause": None,
}
SAGA: dict[str, list[str]] = {"undone": [], "failed": [], "in_doubt": [], "not_undone": [], "skipped": []}

Told = tuple[str, str, int, dict[str, Any]]


def fact(path: str, kind: str, attempt: int = 0, **data: Any) -> Told:
    return path, kind, attempt, data


def started(path: str, attempt: int = 1, **data: Any) -> Told:
    return fact(path, "started", attempt, verb="activity", name="shop.do", input={"n": 1}, digest="d", **data)


def completed(path: str, output: Any = None, attempt: int = 1) -> Told:
    return fact(path, "completed", attempt, output=output)


def entries(*told: Told) -> list[Entry]:
    """One entry a fact, a second apart."""
    return [
        Entry(Fact(path, kind, T + 1000 * i, attempt, 0, data), [], seq=10 + i)
        for i, (path, kind, attempt, data) in enumerate(told)
    ]


def run(**columns: Any) -> Run:
    row: dict[str, Any] = {
        "id": "order-1",
        "workflow_id": "order-1",
        "workflow": "order",
        "version": 2,
        "digest": "sha256:0",
        "input": {"a": 1},
        "created_at": T,
        "deadline": T + 10**9,
        "status": "running",
        "started_at": T,
    }
    return Run(**(row | columns))


def document(*told: Told, **columns: Any) -> dict[str, Any]:
    return status_document(run(**columns), entries(*told))


def steps(*told: Told, **columns: Any) -> dict[str, dict[str, Any]]:
    return {step["path"]: step for step in document(*told, **columns)["steps"]}


def ended(status: str, saga: Mapping[str, Sequence[str]] | None = None) -> Told:
    return fact("", "ended", status=status, output=None, error=None, saga=SAGA | dict(saga or {}))


# --- the document


def test_the_document_has_the_keys_of_the_interface_in_their_order() -> None:
    keys = (
        "id workflow_id workflow version digest parent_id status input output error current_steps waiting_for"
        " blocked attributes memo principal trace_id saga created_at started_at completed_at attempt"
        " history_length history_size step_counts steps"
    )
    assert list(document()) == keys.split()


def test_a_completed_step_shows_everything_about_its_call() -> None:
    assert steps(started("charge"), completed("charge", {"id": 7}))["charge"] == {
        "path": "charge",
        "kind": "activity",
        "name": "shop.do",
        "status": "completed",
        "attempt": 1,
        "input": {"n": 1},
        "output": {"id": 7},
        "error": None,
        "started_at": AT_0,
        "completed_at": "2027-01-15T08:00:01.000Z",
        "compensation": None,
    }


def test_data_that_is_still_encoded_is_shown_as_json() -> None:
    raw = fact("a", "started", 1, verb="activity", name="x", input=msgspec.Raw(b'{"n":2}'), digest="d")
    step = steps(raw, fact("a", "completed", 1, output=msgspec.Raw(b"[3]")))["a"]
    assert (step["input"], step["output"]) == ({"n": 2}, [3])


def test_riders_count_as_facts_and_not_as_entries() -> None:
    told = [Entry(Fact("a", "completed", T, 1, 0, {"output": 1}), [Fact("b", "started", T, 1)], seq=3)]
    result = status_document(run(), told)
    assert result["history_length"] == 1
    assert [step["path"] for step in result["steps"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ([fact("a", "condition", verb="activity", value=True)], "pending"),
        ([fact("a", "condition", verb="activity", value=False)], "skipped"),
        ([started("a")], "running"),
        ([started("a"), fact("a", "failed", 1, error=ERROR, retry_at=T + 5000)], "retrying"),
        ([started("a"), fact("a", "failed", 1, error=ERROR, retry_at=T), fact("a", "started", 2)], "running"),
        ([started("a"), fact("a", "failed", 1, error=ERROR)], "failed"),
        ([started("a"), fact("a", "cancelled", 1)], "cancelled"),
        ([started("a"), fact("a", "lost", 1, count=1)], "running"),
        ([fact("a", "deadline", until=T), fact("a", "started", verb="sleep", until=T)], "waiting"),
        ([fact("a", "started", verb="wait_for_signal", names=["go"], until=None)], "waiting"),
        ([fact("a", "started", verb="steps")], "running"),
        ([fact("a", "case", verb="switch", case=None)], "running"),
        ([fact("a", "completed", verb="set", output={"x": 1})], "completed"),
        ([fact("a", "failed", verb="fail", error=ERROR)], "failed"),
    ],
)
def test_the_facts_of_a_step_make_its_status(told: list[Told], status: str) -> None:
    result = document(*told)
    assert result["steps"][0]["status"] == status
    assert result["step_counts"] == {status: 1}


def test_a_wait_whose_time_is_up_goes_on_with_null_unless_it_fails() -> None:
    wait = fact("a", "started", verb="wait_for_signal", names=["go", "stop"], until=T)
    step = steps(wait, fact("a", "timed_out"))["a"]
    assert (step["status"], step["output"], step["name"]) == ("completed", None, "go, stop")
    assert steps(wait, fact("a", "timed_out"), fact("a", "failed", error=ERROR))["a"]["status"] == "failed"


def test_an_attempt_that_follows_keeps_the_last_error_until_the_step_completes() -> None:
    told = [started("a"), fact("a", "failed", 1, error=ERROR, retry_at=T), fact("a", "started", 2)]
    step = steps(*told)["a"]
    assert (step["attempt"], step["error"], step["input"]) == (2, ERROR, {"n": 1})
    assert steps(*told, completed("a", attempt=2))["a"]["error"] is None


def test_a_reshaped_output_takes_the_place_of_the_result() -> None:
    assert steps(started("a"), completed("a", 1), fact("a", "output", output="one"))["a"]["output"] == "one"


def test_current_steps_are_the_innermost_in_progress() -> None:
    told = [fact("each", "started", verb="foreach"), fact("each[0].pack", "started", verb="steps")]
    assert document(*told, started("each[0].pack.wrap"))["current_steps"] == ["each[0].pack.wrap"]


def test_a_blocked_step_is_current_although_nothing_is_recorded_of_it() -> None:
    blocked = {"code": "UnknownActivity", "reason": "not there", "path": "ship"}
    result = document(completed("a"), status="blocked", blocked=blocked)
    assert (result["current_steps"], result["blocked"]) == (["ship"], blocked)


def test_what_a_run_waits_for_has_its_moment_as_text() -> None:
    waiting = [{"path": "a", "kind": "signal", "names": ["go"], "until": T}]
    assert document(waiting_for=waiting)["waiting_for"] == [waiting[0] | {"until": AT_0}]


def test_a_return_completes_the_blocks_it_leaves() -> None:
    told = [fact("b", "started", verb="steps"), fact("b._return1", "completed", verb="return", output=1)]
    assert document(*told, ended("completed"))["step_counts"] == {"completed": 2}


def test_what_did_not_end_when_the_run_did_was_cancelled() -> None:
    told = [started("a"), fact("a", "failed", 1, error=ERROR, retry_at=T + 9000)]
    assert steps(*told, ended("cancelled"))["a"]["status"] == "cancelled"
    assert document(*told, ended("completed"))["current_steps"] == []


def test_the_last_steps_are_shown_or_those_asked_for() -> None:
    told = entries(*(completed(f"s{i}") for i in range(5)))

    def shown(**page: Any) -> list[str]:
        return [step["path"] for step in status_document(run(), told, **page)["steps"]]

    assert shown(count=2) == ["s3", "s4"]
    assert shown(first=2, count=2) == ["s1", "s2"]
    assert shown(first=5, count=9) == ["s4"]
    assert shown(count=0) == []


# --- compensation


def undoing(*more: Told) -> list[Told]:
    return [started("charge"), completed("charge", 7), fact("", "compensating", error=ERROR), *more]


def test_a_compensation_is_a_part_of_the_step_it_undoes() -> None:
    result = document(*undoing(started("charge.undo")), status="compensating")
    [step] = result["steps"]
    assert (step["status"], step["output"]) == ("compensating", 7)
    assert step["compensation"] == {
        "status": "compensating",
        "attempt": 1,
        "error": None,
        "completed_at": None,
    }
    assert (result["current_steps"], result["error"]) == (["charge.undo"], ERROR)


def test_a_compensated_step_keeps_when_it_completed_and_counts_as_compensated() -> None:
    result = document(*undoing(started("charge.undo"), completed("charge.undo")), status="compensating")
    [step] = result["steps"]
    assert step["completed_at"] == "2027-01-15T08:00:01.000Z"
    assert step["compensation"]["completed_at"] == "2027-01-15T08:00:04.000Z"
    assert (result["step_counts"], result["saga"]["undone"]) == ({"compensated": 1}, ["charge"])


def test_a_failed_compensation_shows_its_error_beside_that_of_the_step() -> None:
    undo = [started("charge.undo"), fact("charge.undo", "failed", 1, error=ERROR)]
    step = steps(*undoing(*undo))["charge"]
    assert (step["status"], step["error"]) == ("compensation_failed", None)
    assert step["compensation"]["error"] == ERROR


def test_steps_inside_a_compensation_are_steps_and_the_saga_says_how_it_ended() -> None:
    inside = [started("charge.undo.call"), completed("charge.undo.call")]
    result = steps(*undoing(*inside))
    assert list(result) == ["charge", "charge.undo.call"]
    assert result["charge"]["status"] == "compensating"
    end = ended("compensated", {"undone": ["charge"]})
    assert steps(*undoing(*inside, end))["charge"]["status"] == "compensated"


def test_a_run_that_is_being_undone_lists_what_was_undone_in_the_order_in_which_it_was() -> None:
    begun = [started("a"), completed("a"), started("a.undo"), started("charge.undo")]
    told = [*undoing(*begun), completed("charge.undo"), completed("a.undo")]
    assert document(*told, status="compensating")["saga"] == SAGA | {"undone": ["charge", "a"]}
    told += [fact("b", "not_undone"), fact("c", "undo_skipped")]
    listed = SAGA | {"undone": ["charge", "a"], "not_undone": ["b"], "skipped": ["c"]}
    assert document(*told, status="compensating")["saga"] == listed


def test_a_step_of_which_some_cannot_be_undone_is_not_undone() -> None:
    undo = [started("charge.undo"), completed("charge.undo", "some of it"), fact("charge", "not_undone")]
    for told in (undo, [*undo, ended("failed", {"not_undone": ["charge"]})]):
        result = document(*undoing(*told), status="compensating")
        [step] = result["steps"]
        assert (step["status"], step["compensation"]) == ("completed", None)
        assert result["saga"] == SAGA | {"not_undone": ["charge"]}


def test_a_run_that_goes_forward_again_has_nothing_that_is_not_undone() -> None:
    told = undoing(fact("charge", "not_undone"), ended("failed", {"not_undone": ["charge"]}))
    assert document(*told, fact("", "reopened"))["saga"] == SAGA


def test_a_run_that_compensates_leaves_no_step_in_progress() -> None:
    told = [started("a"), fact("a", "failed", 1, error=ERROR, retry_at=T), *undoing()]
    assert steps(*told)["a"]["status"] == "cancelled"


# --- secrets


def test_a_reference_to_a_secret_is_shown_where_its_text_goes() -> None:
    references = {"/headers/0/a~1b": ["Bearer ", "${{ secrets.TOKEN }}"]}
    given = {"headers": [{"a/b": None}]}
    told = fact("a", "started", 1, verb="activity", name="x", input=given, digest="d", secrets=references)
    assert steps(told)["a"]["input"] == {"headers": [{"a/b": "Bearer ${{ secrets.TOKEN }}"}]}
    line = list(history_lines(run(), entries(told)))[1]
    assert line["input"] == {"headers": [{"a/b": "Bearer ${{ secrets.TOKEN }}"}]}
    assert "secrets" not in line
    assert given == {"headers": [{"a/b": None}]}, "the journal's own data was changed"


SECRET = [
    started("a", secret=True),
    completed("a", "hush"),
    fact("a", "output", output="hush"),
    fact("a.undo", "started", 1, verb="activity", name="y", input={"was": "hush"}, digest="d"),
]


def test_a_secret_step_shows_no_data() -> None:
    step = steps(*SECRET)["a"]
    assert (step["input"], step["output"], step["name"]) == (None, None, "shop.do")


def test_the_history_of_a_secret_step_and_of_its_compensation_shows_no_data() -> None:
    assert "hush" not in repr(list(history_lines(run(), entries(*SECRET))))


def test_what_is_inside_of_a_secret_block_is_secret() -> None:
    told = [fact("b", "started", verb="steps", secret=True), started("b.c"), completed("b.c", "hush")]
    assert steps(*told)["b.c"]["output"] is None


def test_lines_made_one_by_one_remember_what_is_secret() -> None:
    secret = SecretPaths()
    lines = [fact_line(run(), entry.fact, entry.seq, secret) for entry in entries(*SECRET)]
    assert "hush" not in repr(lines)


# --- history and list


def test_the_history_begins_with_the_creation_and_has_a_line_for_each_fact() -> None:
    told = [Entry(Fact("a", "completed", T, 1, 0, {"output": 1}), [Fact("b", "started", T, 1)], seq=3)]
    lines = list(history_lines(run(principal="ann"), told))
    assert [(line["seq"], line["path"], line["kind"]) for line in lines] == [
        (0, "", "created"),
        (3, "a", "completed"),
        (3, "b", "started"),
    ]
    assert (lines[0]["input"], lines[0]["principal"]) == ({"a": 1}, "ann")
    assert lines[1] == {"seq": 3, "at": AT_0, "path": "a", "kind": "completed", "attempt": 1, "output": 1}


def test_moments_in_the_history_are_text() -> None:
    told = entries(
        fact("a", "started", verb="sleep", until=T), fact("b", "failed", 1, error=ERROR, retry_at=T)
    )
    _, sleep, failed = history_lines(run(), told)
    assert (sleep["until"], failed["retry_at"]) == (AT_0, AT_0)


def test_a_summary_leaves_out_data_and_steps() -> None:
    full, short = document(started("a")), summary(run(), entries(started("a")))
    assert list(short) == [key for key in full if key not in ("input", "output", "steps")]
    assert short["step_counts"] == {"running": 1}


def test_a_summary_of_the_row_alone_owns_up_to_what_it_did_not_look_at() -> None:
    waiting: list[dict[str, Any]] = [{"path": "a", "kind": "timer", "names": [], "until": None}]
    short = summary(run(waiting_for=waiting))
    assert (short["step_counts"], short["current_steps"]) == (None, ["a"])
