"""What people see: views of runs, histories and catalogues, in pipes and on terminals."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowctl import render
from flowctl.render.layout import Column, Row, Span, Table, View, line
from flowctl.render.plain import lines
from flowctl.render.signs import SIGNS
from flowctl.render.text import cut, duration, inline, paragraphs, relative, width
from flowctl.state import RunStatus, StepStatus

NOW = 1_800_000_000_000
AT = "2027-01-15T08:00:00.000Z"
ESCAPE_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SAGA = ("undone", "failed", "in_doubt", "not_undone", "skipped")
HOSTILE = "\x1b[2J\x07\u202edrow\x9b1m\n\ud800"


def error(message: str = "no", step: str | None = "charge", **more: Any) -> dict[str, Any]:
    common = {"type": "Declined", "types": ["Declined"], "details": None, "attempt": 1, "cause": None}
    return common | {"message": message, "step": step} | more


def step(path: str, **more: Any) -> dict[str, Any]:
    common = {"kind": "activity", "name": "shop.do", "status": "completed", "attempt": 1, "input": {}}
    common |= {"output": None, "error": None, "started_at": AT, "completed_at": AT, "compensation": None}
    return {"path": path} | common | more


def doc(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A status document, as far as views look at it."""
    common: dict[str, Any] = {
        "id": "order-1",
        "workflow": "order",
        "version": 2,
        "parent_id": None,
        "status": "running",
        "output": None,
        "error": None,
        "waiting_for": [],
        "blocked": None,
        "attributes": {},
        "memo": {},
        "principal": None,
        "saga": {key: [] for key in SAGA},
        "created_at": AT,
        "started_at": AT,
        "completed_at": None,
        "step_counts": {},
        "steps": list(steps),
    }
    return common | more


def text(view: View, columns: int | None = None) -> str:
    return "\n".join(lines(view, columns))


def shown(document: Mapping[str, Any], **more: Any) -> str:
    return text(render.status(document, now=NOW, **more))


def wait(kind: str, *names: str, until: str | None = None) -> dict[str, Any]:
    return {"path": "approval", "kind": kind, "names": list(names), "until": until}


# --- text


def test_text_that_a_terminal_would_obey_is_escaped() -> None:
    assert render.escape(HOSTILE) == r"\x1b[2J\x07\u202edrow\x9b1m\n\ud800"


@pytest.mark.parametrize("harmless", ["Ærøskøbing", "日本 語", "👩\u200d🚀", "a\u00a0b"])
def test_text_of_any_language_stays_as_it_is(harmless: str) -> None:
    assert render.escape(harmless) == harmless


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (420, "420 ms"),
        (1_000, "1 s"),
        (1_290, "1.2 s"),
        (59_999, "59 s"),
        (185_000, "3 m 5 s"),
        (720_000, "12 m"),
        (185_700, "3 m 6 s"),
        (47 * 3_600_000 + 1, "47 h"),
        (48 * 3_600_000 - 70, "2 d"),
        (48 * 3_600_000, "2 d"),
        (76 * 3_600_000, "3 d 4 h"),
        (-5, "0 ms"),
    ],
)
def test_durations_are_in_human_units(milliseconds: int, words: str) -> None:
    assert duration(milliseconds) == words


def test_moments_are_told_from_now() -> None:
    assert (relative(NOW + 60_000, NOW), relative(NOW - 60_000, NOW)) == ("in 1 m", "1 m ago")


def test_text_is_cut_by_columns_not_by_characters() -> None:
    assert (width("日本e\u0301"), cut("日本語", 5), cut("abc", 3)) == (5, "日本…", "abc")


def test_data_is_shown_on_one_line() -> None:
    assert inline({"a": "x\ny\u202e"}) == r'{"a": "x\ny\u202e"}'
    assert len(inline("x" * 1_000_000)) == 200


def test_a_long_message_is_cut_after_some_lines() -> None:
    assert paragraphs("a\nb\x07\nc\nd\ne", limit=2) == ["a", r"b\x07", "…"]
    assert paragraphs("") == [""]


# --- layout


def table(*rows: Iterable[str]) -> Table:
    columns = [Column(flexible=True), Column(), Column(flexible=True, optional=True)]
    return Table(columns, [Row([line(cell) for cell in row]) for row in rows], indent=0)


def test_a_pipe_gets_columns_in_full() -> None:
    rows = [("a" * 40, "b", "c" * 90), ("x", "yy", "z")]
    assert text([table(*rows)]).split("\n") == [
        f"{'a' * 40}  b   {'c' * 90}",
        f"x{' ' * 41}yy  z",
    ]


def test_a_table_fits_the_terminal_by_cutting_from_the_right() -> None:
    assert text([table(("a" * 20, "b", "c" * 90))], 60) == f"{'a' * 20}  b  {'c' * 34}…"
    assert text([table(("a" * 20, "b", "c" * 90))], 30) == f"{'a' * 20}  b"
    assert text([table(("a" * 40, "b", "c" * 90))], 30) == f"{'a' * 26}…  b"


def test_a_line_outside_of_a_table_is_never_cut() -> None:
    assert text([line("x" * 300)], 20) == "x" * 300


# --- a run


@pytest.mark.parametrize("status", [*RunStatus, *StepStatus])
def test_every_state_has_a_symbol(status: str) -> None:
    assert status in SIGNS


@pytest.mark.parametrize("status", list(RunStatus))
def test_a_run_can_be_shown_in_every_state(status: RunStatus) -> None:
    completed_at = AT if status.ended else None
    assert "order-1" in shown(doc(status=str(status), completed_at=completed_at)).split("\n")[0]


@pytest.mark.parametrize("status", list(StepStatus))
def test_a_step_can_be_shown_in_every_state(status: StepStatus) -> None:
    assert "charge" in shown(doc(step("charge", status=str(status), started_at=None, completed_at=None)))


def test_a_completed_run_shows_its_steps_and_its_output() -> None:
    charge = step("charge", output={"id": 7}, attempt=3, completed_at="2027-01-15T08:00:01.200Z")
    done = doc(charge, status="completed", completed_at="2027-01-15T08:00:03.000Z", output={"ok": True})
    assert shown(done).split("\n") == [
        "✓  order-1  completed in 3 s",
        "   order v2 · 2027-01-15 08:00:00 UTC",
        "",
        '  ✓  charge  shop.do  1.2 s · 3 attempts  {"id": 7}',
        "",
        '  output       {"ok": true}',
    ]


def test_steps_stand_beneath_the_block_they_are_in() -> None:
    block = {"kind": "steps", "name": None}
    view = shown(
        doc(step("a", **block), step("b"), step("a.case_1.x"), step("each", **block), step("each[0].y"))
    )
    labels = [row[5:17].rstrip() for row in view.split("\n") if row.startswith("  ✓")]
    assert labels == ["a", "  case_1.x", "b", "each", "  [0].y"]


def test_an_error_is_told_once_at_the_step_that_failed() -> None:
    failure = error("card\nrefused", step="pay.charge", cause=error("HTTP 402"))
    failed = {"status": "failed", "error": failure}
    view = shown(doc(step("pay", kind="steps", name=None, **failed), step("pay.charge", **failed)))
    assert view.count("Declined: card") == 1
    assert "refused" in view
    assert "caused by Declined: HTTP 402" in view


def test_a_compensation_is_shown_at_its_step() -> None:
    undo = {"status": "compensated", "attempt": 2, "error": None, "completed_at": AT}
    assert "undone · 2 attempts" in shown(doc(step("charge", status="compensated", compensation=undo)))
    undo |= {"status": "compensation_failed", "error": error("bank closed")}
    view = shown(doc(step("charge", status="compensation_failed", compensation=undo)))
    assert "undo failed" in view
    assert "undo: Declined: bank closed" in view


def test_the_saga_lists_what_became_of_everything() -> None:
    saga = {"undone": ["b", "a"], "failed": ["c"], "in_doubt": ["d"], "not_undone": ["e"], "skipped": ["f"]}
    view = shown(doc(status="compensation_failed", completed_at=AT, saga=saga))
    found = re.findall(
        r"^  (undone|undo failed|in doubt|not undone|skipped) +([a-f, ]+?)(?:  |$)", view, re.M
    )
    assert found == [
        ("undone", "b, a"),
        ("undo failed", "c"),
        ("in doubt", "d"),
        ("not undone", "e"),
        ("skipped", "f"),
    ]


def test_a_run_that_waits_for_a_signal_shows_the_commands_that_move_it() -> None:
    waiting = [wait("signal", "approve", until="2027-01-17T08:00:00.000Z")]
    view = shown(doc(status="waiting", waiting_for=waiting))
    assert "waits for    signal approve (approval), times out in 2 d" in view
    assert "    flowctl signal order-1 approve   #" in view
    assert "    flowctl resume order-1           #" in view


def test_commands_repeat_the_database_and_are_quoted() -> None:
    view = shown(
        doc(status="waiting", id="order-1/each[0]", waiting_for=[wait("signal", "go")]), db="my runs.db"
    )
    assert "flowctl signal 'order-1/each[0]' go --db 'my runs.db'" in view


def test_a_run_that_waits_long_is_resumed_with_enough_patience() -> None:
    view = shown(doc(status="waiting", waiting_for=[wait("timer", until="2027-01-15T09:30:01.000Z")]))
    assert "flowctl resume order-1 --wait 1h31m" in view
    soon = shown(doc(status="waiting", waiting_for=[wait("retry", until="2027-01-15T08:00:30.000Z")]))
    assert "flowctl resume order-1   #" in soon


def test_a_run_that_somebody_drives_needs_no_command() -> None:
    assert "flowctl" not in shown(doc(), live=True)
    assert "flowctl resume order-1" in shown(doc(), live=False)


def test_a_run_that_a_worker_sees_to_is_left_to_it() -> None:
    waiting = doc(status="waiting", waiting_for=[wait("signal", "approve")])
    assert "flowctl signal order-1 approve" in shown(waiting, live=True)
    assert "flowctl resume" not in shown(waiting, live=True)
    assert shown(doc(status="created"), live=True).endswith("a worker takes it up")


def test_a_blocked_run_says_what_is_missing() -> None:
    view = shown(
        doc(status="blocked", blocked={"code": "X", "reason": "no plugin has shop.do", "path": "ship"})
    )
    assert "blocked      ship: no plugin has shop.do" in view
    assert "flowctl resume order-1" in view


def test_nothing_hostile_leaves_any_view() -> None:
    bad = error(HOSTILE, step=HOSTILE, type=HOSTILE, cause=error(HOSTILE))
    undo = {"status": "compensation_failed", "attempt": 1, "error": bad, "completed_at": None}
    hurt = step(HOSTILE, name=HOSTILE, status="failed", error=bad, output=HOSTILE, compensation=undo)
    run = doc(
        hurt,
        id=HOSTILE,
        workflow=HOSTILE,
        status="waiting",
        error=bad,
        principal=HOSTILE,
        parent_id=HOSTILE,
        blocked={"code": "X", "reason": HOSTILE, "path": HOSTILE},
        waiting_for=[wait("signal", HOSTILE) | {"path": HOSTILE}],
        saga={key: [HOSTILE] for key in SAGA},
    )
    fact = {"seq": 1, "at": AT, "path": HOSTILE, "kind": HOSTILE, "attempt": 1, "data": HOSTILE}
    plugin = {
        "name": HOSTILE,
        "version": HOSTILE,
        "origin": HOSTILE,
        "activities": [HOSTILE],
        "functions": [],
    }
    views = [
        render.status(run, now=NOW),
        render.run_list([run], now=NOW),
        render.history([fact, fact | {"kind": "failed", "error": bad}]),
        render.plugins([plugin], [{"plugin": HOSTILE, "origin": HOSTILE, "error": HOSTILE}]),
        render.doctor([{"name": HOSTILE, "status": "error", "message": HOSTILE, "hint": HOSTILE}]),
        render.error(f"error[X]: {HOSTILE}"),
    ]
    for view in views:
        for each in lines(view):
            assert render.escape(each) == each


def test_a_list_of_runs_is_one_line_each() -> None:
    failed = doc(status="failed", error=error(), completed_at=AT)
    view = text(render.run_list([doc(id="order-2"), failed], now=NOW + 60_000)).split("\n")
    assert [row.split()[1] for row in view[1:]] == ["order-2", "order-1"]
    assert "Declined at charge: no" in view[2]
    assert text(render.run_list([])) == "no runs"


# --- the history


def fact(path: str, kind: str, attempt: int = 0, **data: Any) -> dict[str, Any]:
    return {"seq": 1, "at": AT, "path": path, "kind": kind, "attempt": attempt, "run": "order-1", **data}


FACTS = [
    fact("", "started"),
    fact("charge", "started", 1, verb="activity", name="shop.do", input={"n": 1}),
    fact("charge", "failed", 1, error=error(), retry_at="2027-01-15T08:00:02.000Z"),
    fact("charge", "started", 2),
    fact("charge", "completed", 2, output={"id": 7}),
    fact("approval", "started", verb="wait_for_signal", names=["go"], until="2027-01-17T08:00:00.000Z"),
    fact("", "cancel_requested", reason="no stock", principal="ann"),
    fact("approval", "cancelled", verb="wait_for_signal"),
    fact("", "compensating", error=error()),
    fact("charge.undo", "started", 1, verb="activity", name="shop.undo", input={}),
    fact("charge.undo", "completed", 1, output=None),
    fact("", "ended", status="compensated", error=error(), saga={"undone": ["charge"], "failed": []}),
]


def test_the_history_tells_each_fact_in_a_sentence() -> None:
    told = [re.sub(" {2,}", "  ", each) for each in lines(render.history(FACTS))]
    assert told[0] == "2027-01-15 UTC"
    assert [each.removeprefix("08:00:00.000  ") for each in told[1:]] == [
        "▸  the run begins",
        '▸  charge  shop.do {"n": 1}',
        "↻  charge  attempt 1 failed, again in 2 s: Declined: no",
        "▸  charge #2  attempt 2 begins",
        '✓  charge #2  completed  {"id": 7}',
        "⏳ approval  waits for go until 2027-01-17 08:00:00 (2 d)",
        "⊘  cancellation requested by ann: no stock",
        "⊘  approval  cancelled",
        "↺  compensating, because of Declined: no",
        "▸  charge.undo  shop.undo",
        "↺  charge.undo  undone",
        "↺  the run ended: compensated  Declined: no",
    ]


def test_a_fact_of_an_unknown_kind_is_shown_with_its_data() -> None:
    assert text(render.history([fact("a", "invented", cause=7)])).endswith('invented {"cause": 7}')


def test_the_history_of_a_live_run_is_printed_as_it_comes() -> None:
    stream = io.StringIO()
    seen: list[int] = []

    def follow() -> Iterable[Mapping[str, Any]]:
        for each in FACTS:
            yield each
            seen.append(stream.getvalue().count("\n"))

    render.Output(stream).show(render.history(follow()))
    assert seen == list(range(2, 2 + len(FACTS)))


# --- a moment, and two runs


def test_a_moment_is_told_from_the_beginning_of_the_run_and_has_no_commands() -> None:
    later = AT.replace("08:00:00", "08:00:07")
    document = doc(step("charge", completed_at=later), saga={key: [] for key in SAGA})
    told = text(render.status_before(document, "ship")).splitlines()
    assert told[0] == "▸  order-1  just before ship, 7 s after it began"
    assert any("charge" in each for each in told)
    assert "flowctl" not in " ".join(told)


def test_attributes_and_memo_are_shown_if_there_are_any() -> None:
    told = text(render.status(doc(attributes={"customer": "c-1"}, memo={"note": ["n"]})))
    assert '{"customer": "c-1"}' in told
    assert '{"note": ["n"]}' in told
    assert "attributes" not in text(render.status(doc()))


def difference(*found: tuple[str, str, str, Any, Any], took: tuple[Any, Any] = (1, 1)) -> dict[str, Any]:
    run = {"workflow": "order", "version": 2, "status": "completed", "started_at": AT, "completed_at": AT}
    listed = [
        {"path": path, "what": what, "where": where, "values": values} for path, what, where, *values in found
    ]
    times = [{"path": "ship", "milliseconds": list(took)}]
    runs = [run | {"id": run_id} for run_id in ("r-1", "r-2")]
    return {"runs": runs, "differences": listed, "times": times}


def rows_of(document: Mapping[str, Any]) -> list[str]:
    return [re.sub(" {2,}", "  ", each) for each in lines(render.diff(document))][3:]


def test_two_runs_stand_side_by_side() -> None:
    document = difference(
        ("", "input", "/amount", 10, {"a": 1}),
        ("charge", "status", "", "compensation_failed", "completed"),
        ("charge", "error", "", None, error("no")),
        ("route.else", "reached", "", False, True),
    )
    heading = text(render.diff(document)).splitlines()[:2]
    assert [each.split()[:3] for each in heading] == [["A", "✓", "r-1"], ["B", "✓", "r-2"]]
    assert [each.strip() for each in rows_of(document)] == [
        "A  B",
        'the run  input/amount  10  {"a": 1}',
        "charge  status  compensation failed  completed",
        "charge  error  –  Declined at charge: no",
        "route.else  reached  –  reached",
    ]


@pytest.mark.parametrize(
    ("took", "shown"),
    [((1, 90), False), ((100, 190), False), ((100, 210), True), ((None, 9_000), False), ((9_000, 100), True)],
)
def test_times_are_shown_where_they_tell_something(took: tuple[Any, Any], shown: bool) -> None:
    assert ("ship" in text(render.diff(difference(took=took)))) == shown


def test_two_runs_that_are_alike_say_so_and_many_differences_are_cut() -> None:
    assert rows_of(difference()) == ["no differences"]
    many = difference(*((f"each[{i}]", "reached", "", True, False) for i in range(1_000)))
    assert len(rows_of(many)) < 300
    assert rows_of(many)[-1] == "800 more: --json has them all"


# --- progress


def test_in_a_pipe_progress_is_a_line_for_each_thing_worth_knowing() -> None:
    stream = io.StringIO()
    with render.Output(stream).progress(db="x.db") as progress:
        for each in FACTS:
            progress.observe(each)
        told = [re.sub(" {2,}", "  ", each) for each in stream.getvalue().splitlines()]
        progress.finish(doc(status="waiting", waiting_for=[wait("signal", "go")]))
    assert told == [
        "↻  charge  attempt 1 failed, again in 2 s: Declined: no",
        '✓  charge #2  completed  {"id": 7}  (0 ms)',
        "⏳ approval  waits for go until 2027-01-17 08:00:00 (2 d)",
        "⊘  cancellation requested by ann: no stock",
        "↺  compensating, because of Declined: no",
        "↺  charge.undo  undone  (0 ms)",
    ]
    assert "flowctl signal order-1 go --db x.db" in stream.getvalue()


SIGNAL = {"signal": "go", "payload": {"n": 1}, "received_at": AT, "principal": "ann"}


def test_a_signal_is_told_by_its_name_sender_and_payload() -> None:
    told = text(render.history([fact("approval", "completed", output=SIGNAL, message=1)]))
    assert told.endswith('received go from ann  {"n": 1}')
    bare = SIGNAL | {"payload": None, "principal": None}
    assert text(render.history([fact("approval", "completed", output=bare, message=1)])).endswith(
        "received go"
    )
    shown = text(render.status(doc(step("approval", kind="wait_for_signal", name="go", output=SIGNAL))))
    assert 'go from ann  {"n": 1}' in shown
    assert "received_at" not in shown


def test_what_only_looks_like_a_signal_is_shown_as_it_is() -> None:
    assert "received_at" in text(render.history([fact("a", "completed", 1, output=SIGNAL)]))
    assert '{"by": "ann"}' in text(
        render.status(doc(step("approval", kind="wait_for_signal", name="go", output={"by": "ann"})))
    )


def test_a_step_that_began_before_anybody_looked_has_no_duration() -> None:
    stream = io.StringIO()
    with render.Output(stream).progress() as progress:
        progress.observe(fact("approval", "completed", output=SIGNAL, message=1))
        progress.observe(fact("ship", "started", 1, verb="activity", name="x"))
        progress.observe(fact("ship", "completed", 1, output=None))
        progress.observe(fact("pack", "lost", 1, count=1))
        progress.observe(fact("pack", "completed", 1, output=None))
    timed = [each for each in stream.getvalue().splitlines() if each.endswith("ms)")]
    assert ["ship" in each for each in timed] == [True]


def test_in_a_pipe_a_failure_is_told_where_it_happened_and_not_at_each_block_around() -> None:
    stream = io.StringIO()
    with render.Output(stream).progress() as progress:
        progress.observe(fact("b", "started", verb="steps"))
        progress.observe(fact("b.charge", "started", 1, verb="activity", name="x"))
        progress.observe(fact("b.charge", "failed", 1, error=error(step="b.charge")))
        progress.observe(fact("b", "failed", verb="steps", error=error(step="b.charge")))
    assert stream.getvalue().count("Declined") == 1


def test_on_a_terminal_the_picture_gives_way_to_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    with render.Output(stream, terminal=True, width=80).progress() as progress:
        for each in FACTS:
            progress.observe(each)
        progress.finish(doc(step("charge"), status="completed", completed_at=AT))
    final = ESCAPE_CODES.sub("", stream.getvalue()).rpartition("✓  order-1  completed in 0 ms")
    assert final[1]
    assert "✓  charge  shop.do" in final[2]


def test_in_a_pipe_a_run_that_went_on_before_is_shown_first() -> None:
    stream = io.StringIO()
    with render.Output(stream).progress() as progress:
        progress.begin(doc(step("charge", status="running")), FACTS[:2])
        assert "order-1  running" in stream.getvalue()
        before = len(stream.getvalue())
        progress.observe(fact("charge", "completed", 1, output={"id": 7}))
        progress.finish(doc(step("charge"), status="completed", completed_at=AT))
    told = stream.getvalue()[before:].splitlines()
    assert told[0].startswith("✓  charge")
    assert told[0].endswith("(0 ms)"), "it began among the facts of before"
    assert told[2].startswith("✓  order-1  completed")


def test_in_a_pipe_a_run_that_does_not_go_on_is_shown_once() -> None:
    stream = io.StringIO()
    document = doc(status="waiting", waiting_for=[wait("signal", "go")])
    with render.Output(stream).progress() as progress:
        progress.begin(document, FACTS, live=False)
        progress.finish(document, live=False)
    assert stream.getvalue().splitlines() == text(render.status(document, live=False)).splitlines()


def test_on_a_terminal_a_run_that_went_on_before_is_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    progress = render.Output(stream, terminal=True, width=80).progress()
    progress.__enter__()
    progress.begin(doc(), FACTS[:2])
    progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "charge" in ESCAPE_CODES.sub("", stream.getvalue()).splitlines()[-1]


def test_an_interruption_leaves_the_last_picture_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    progress = render.Output(stream, terminal=True, width=80).progress()
    progress.__enter__()
    progress.observe(FACTS[1])
    progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "charge" in ESCAPE_CODES.sub("", stream.getvalue()).splitlines()[-1]


# --- where it goes


class Stream(io.TextIOWrapper):
    """A stream of an encoding, and what was written to it."""

    def __init__(self, encoding: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding)

    def written(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stream_without_our_symbols_gets_others_of_the_same_width(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Stream("ascii")
    view = render.status(doc(step("a"), step("b", status="waiting", output="日")), now=NOW)
    render.Output(stream, terminal=terminal, width=80).show(view)
    rows = ESCAPE_CODES.sub("", stream.written()).splitlines()
    assert rows[3].startswith("  +  a  shop.do")
    assert rows[4].startswith("  ~  b  shop.do")
    assert r"\u65e5" in rows[4]


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)

    def written(term: str, terminal: bool) -> str:
        monkeypatch.setenv("TERM", term)
        stream = io.StringIO()
        render.Output(stream, terminal=terminal, width=80).show([line(Span("fine", "good"))])
        return stream.getvalue()

    assert "\x1b[32m" in written("xterm-256color", True)
    assert written("dumb", True) == "fine\n"
    assert written("xterm-256color", False) == "fine\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in written("xterm-256color", True)


def test_plain_rendering_imports_no_rich() -> None:
    code = (
        "import io, sys; from flowctl import render; out = render.Output(io.StringIO());"
        "out.show(render.run_list([])); out.progress(); sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- catalogues and problems


class Mistake:
    """A diagnostic."""

    def __init__(self, severity: str) -> None:
        self.severity = severity

    def render(self) -> str:
        return f"{self.severity}[UnknownKey]: no such key (a.yaml:1:3), write 'id'\n    1 | idd: x\n        ^"


def test_diagnostics_are_shown_with_their_places_and_counted() -> None:
    view = text(render.diagnostics([Mistake("error"), Mistake("warning"), Mistake("error")]))
    assert view.startswith(Mistake("error").render())
    assert view.endswith("\n2 errors, 1 warning")


def test_an_activity_is_shown_with_its_parameters() -> None:
    view = text(
        render.activity(
            {
                "name": "shop.do",
                "signature": "shop.do(n: int = 1)",
                "doc": "Do it.\n\n``Really``.",
                "isolation": "thread",
                "parameters": [{"name": "n", "required": False, "default": 1, "schema": {"type": "integer"}}],
                "policy": {"timeout": "10s", "retry": {"attempts": 3}},
                "result": {"type": "string"},
                "resources": ["client", "stock"],
                "plugin": "shop",
                "origin": "shop.py:3",
            }
        )
    )
    for part in (
        "shop.do(n: int = 1)",
        "  Do it.\n\n  `Really`.\n",
        "n  default 1",
        'result     {"type": "string"}',
        "resources  client, stock",
        "timeout    10s",
        "origin     shop.py:3",
    ):
        assert part in view


def test_catalogues_are_tables() -> None:
    item = {"name": "order", "version": 2, "digest": "sha256:abc", "deployed_at": AT, "deprecated": "use 3"}
    assert "deprecated: use 3" in text(render.workflows([item]))
    does = {"name": "shop.do", "doc": "Do it.\nReally.", "plugin": "shop"}
    assert text(render.activities([does])).split("\n")[1] == "shop.do   Do it.  shop"
    plugin = {
        "name": "shop",
        "version": None,
        "origin": "shop.py",
        "activities": ["shop.do"],
        "functions": ["vat"],
    }
    assert "shop.do, vat()" in text(render.plugins([plugin]))


def test_the_doctor_says_what_to_do() -> None:
    checks = [{"name": "database", "status": "error", "message": "read-only", "hint": "chmod u+w it"}]
    assert text(render.doctor(checks)).split("\n") == ["✗  database  read-only", "   chmod u+w it"]


# --- a worker


def test_a_worker_says_how_a_run_ended_on_one_line() -> None:
    ended = doc(status="failed", error=error("no\nmoney"), completed_at="2027-01-15T08:00:02.500Z")
    [said] = text(render.ended(ended)).splitlines()
    assert said.endswith("✗  order-1  failed after 2.5 s, because of Declined at charge: no")
    blocked = doc(status="blocked", blocked={"code": "UnknownActivity", "reason": "no t.a here", "path": ""})
    assert text(render.ended(blocked)).endswith(", no t.a here")


def test_a_worker_sums_up_what_it_did() -> None:
    assert text(render.worked({"completed": 12_000, "compensation_failed": 1})) == (
        "the worker has stopped; runs that ended: 12,000 completed, 1 compensation failed"
    )
    assert text(render.worked({})) == "the worker has stopped; runs that ended: none"


def test_the_dashboard_has_the_tones_of_the_terminal() -> None:
    source = (Path(__file__).parent.parent / "dashboard" / "src" / "parts.tsx").read_text(encoding="utf-8")
    table = source.partition("const TONES")[2].partition("= {")[2].partition("};")[0]
    tones = dict(re.findall(r'(\w+): "(\w+)"', table))
    assert tones == {status: style for status, (_, style) in SIGNS.items() if style != "dim"}
