"""Pictures of workflows and runs: what is drawn of each verb, and that every format is what it says it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl import document, render
from flowctl.model import Step, Workflow
from flowctl.render import graph as drawing
from flowctl.render.graph import icons
from flowctl.render.graph.flow import Edge, again, between, edges
from flowctl.render.graph.fonts import measure, wrap
from flowctl.render.graph.mermaid import encode
from flowctl.render.graph.states import URGENCY, States, folded
from flowctl.render.graph.structure import Graph, Node, State, words
from flowctl.render.graph.stylesheet import stylesheet
from flowctl.render.plain import lines
from flowctl.render.signs import SIGNS
from flowctl.state import RunStatus, StepStatus
from tests.cli_helpers import ORDER, SHOP, Flowctl, caller
from tests.document_helpers import accepted
from tests.graph_helpers import (
    HOSTILE,
    any_run,
    any_workflow,
    boxes,
    lanes_of,
    read_dot,
    read_mermaid,
    run_json,
    step_json,
    svg_texts,
    walk,
    workflow,
)

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(file for file in ROOT.glob("examples/*/*.yaml") if "\ndsl: 1\n" in file.read_text("utf-8"))
SIGNALS = "signals: {yes: {}, no: {}}\n"


def drawn(steps: str, run: dict[str, Any] | None = None) -> Graph:
    """The picture of a document with these steps."""
    return drawing.graph(accepted(f"{SIGNALS}steps:\n{steps}").workflow, run)


def only(steps: str) -> Node:
    [node] = drawn(steps).nodes
    return node


def text(graph: Graph) -> str:
    return "\n".join(lines(drawing.text(graph)))


# --- what is drawn of each verb

LEAVES = {
    "{id: a, activity: shop.do}": ("a", "shop.do"),
    "{sleep: 1h}": ("sleep", "1h"),
    "{id: rest, sleep: 1h}": ("rest", "sleep 1h"),
    "{sleep: {until: '2030-01-01T00:00:00Z'}}": ("sleep", "until 2030-01-01T00:00:00Z"),
    "{wait_for_signal: [yes, no]}": ("signal", "yes or no"),
    "{id: w, wait_for_signal: yes, timeout: 2h}": ("w", "signal yes, within 2h"),
    "{wait_for_signal: yes, timeout: 2h, on_timeout: continue}": ("signal", "yes, goes on after 2h"),
    "{id: s, send_signal: {run: r-1, signal: go, payload: 1}}": ("s", "send go to r-1"),
    "{id: c, workflow: stock@3}": ("c", "workflow stock@3"),
    "{id: c, workflow: stock, detached: true}": ("c", "workflow stock, detached"),
    "{set: {a: 1, b: x}}": ("set", "a = 1, b = x"),
    "{id: p, patch: {id: faster, min: 1, max: 3}}": ("p", "patch faster, version 1 to 3"),
    "{attributes: {search: {who: x}, memo: {n: 1, m: 2}}}": ("attributes", "search who, memo n, m"),
    "{fail: {type: Bad, message: no}}": ("fail", "Bad: no"),
    "{return: {a: 1}}": ("return", '{"a": 1}'),
    "{continue_as_new: {input: {}}}": ("continue as new", ""),
    "{rollback: all}": ("rollback", "all"),
}


@pytest.mark.parametrize(("step", "expected"), LEAVES.items(), ids=LEAVES)
def test_a_step_says_what_it_does(step: str, expected: tuple[str, str]) -> None:
    node = only(f"  - {step}")
    assert (node.title, node.detail) == expected
    assert node.rows == ()


CLUSTERS = {
    "block": ("{steps: [{sleep: 1s}]}", "", [["body"]], [""]),
    "foreach": (
        "{foreach: '[1]', as: x, concurrency: 4, wait: settled, steps: [{sleep: 1s}]}",
        "x in [1], whatever comes of each, 4 at a time",
        [["loop"]],
        [""],
    ),
    "while": ("{while: 'loop.index < 3', steps: [{sleep: 1s}]}", "loop.index < 3", [["loop"]], [""]),
    "until": (
        "{until: 'loop.index > 3', max_iterations: 9, steps: [{sleep: 1s}]}",
        "loop.index > 3, at most 9 times",
        [["loop"]],
        [""],
    ),
    "switch": (
        "{switch: [{if: 'true', steps: [{sleep: 1s}]}, {else: [{sleep: 2s}]}]}",
        "",
        [["case", "case"]],
        ["if true", "else"],
    ),
    "parallel": (
        "{parallel: {a: [{sleep: 1s}], b: [{sleep: 2s}]}, wait: any, concurrency: 1}",
        "the first success wins, 1 at a time",
        [["branch", "branch"]],
        ["a", "b"],
    ),
    "try": (
        "{try: [{sleep: 1s}], catch: [{errors: [A, B], rollback: true}, {if: \"error.type != 'C'\"}],"
        " finally: [{sleep: 2s}]}",
        "",
        [["try", "catch", "catch"], ["finally"]],
        ["try", "roll back, catch A or B", "catch anything if error.type != 'C'", "finally"],
    ),
}


@pytest.mark.parametrize(("step", "detail", "kinds", "titles"), CLUSTERS.values(), ids=CLUSTERS)
def test_a_step_that_is_made_of_steps_holds_them_in_lanes(
    step: str, detail: str, kinds: list[list[str]], titles: list[str]
) -> None:
    node = only(f"  - {step}")
    assert node.detail == detail
    assert [[lane.kind for lane in row] for row in node.rows] == kinds
    assert [lane.title for lane in lanes_of(node)] == titles


def test_every_verb_is_drawn_and_has_a_sign() -> None:
    verbs = {step.verb for step in _all_subclasses(Step) if "verb" in vars(step)}
    tried = {node.verb for node in walk(drawn("\n".join(f"  - {step}" for step in _every_step())).nodes)}
    assert verbs == tried - {"undo"}
    assert set(icons.VERBS) == verbs | {"undo"}
    assert set(icons.STATES) == {*map(str, RunStatus), *map(str, StepStatus)} - {"pending"}


def _all_subclasses(kind: type[Step]) -> set[type[Step]]:
    return set(kind.__subclasses__()).union(*map(_all_subclasses, kind.__subclasses__()))


def _every_step() -> list[str]:
    """Steps of all verbs, that do not share an id and do not come after the end."""
    clusters = [step for step, _, _, _ in CLUSTERS.values()]
    steps = [step.replace("{id: c", f"{{id: c{n}") for n, step in enumerate(LEAVES)]
    return clusters + [f"{{if: 'true', {step[1:]}" for step in steps]


def test_what_is_special_about_a_step_is_marked() -> None:
    node = only("  - {id: a, activity: x.y, optional: true, irreversible: it went out, secret: true}")
    assert node.marks == ("irreversible", "optional", "secret")
    node = only("  - {id: a, activity: x.y, pivot: true, commit: true, on_failure: hold}")
    assert node.marks == ("pivot", "holds on failure", "always executes")


UNDOING = {
    "activity": ("activity: shop.do, compensate: {activity: shop.undo}", "shop.undo", ""),
    "attempted": (
        "activity: shop.do, compensate: {activity: shop.undo, after: attempted, on_failure: stop}",
        "shop.undo",
        "also if only attempted, the rest is left if it fails",
    ),
    "workflow": ("activity: shop.do, compensate: {workflow: refund}", "workflow refund", ""),
    "child": ("workflow: stock", "roll the child back", ""),
}


@pytest.mark.parametrize(("step", "title", "detail"), UNDOING.values(), ids=UNDOING)
def test_what_undoes_a_step_is_drawn_beside_it(step: str, title: str, detail: str) -> None:
    undo = only(f"  - {{id: a, {step}}}").undo
    assert undo is not None
    assert (undo.title, undo.detail, undo.path, undo.verb) == (title, detail, "a.undo", "undo")


def test_steps_that_undo_are_a_cluster() -> None:
    undo = only("  - {id: a, activity: x.y, compensate: {steps: [{id: b, activity: x.z}]}}").undo
    assert undo is not None
    assert [node.path for node in lanes_of(undo)[0].nodes] == ["a.undo.b"]


def test_paths_are_those_of_the_journal_but_for_the_numbers_of_iterations() -> None:
    graph = drawn(
        """
  - id: each
    foreach: "[1, 2]"
    steps:
      - id: both
        parallel:
          left: [{try: [{sleep: 1s}], catch: {steps: [{sleep: 2s}]}, finally: [{sleep: 3s}]}]
          right: [{switch: [{if: "true", steps: [{sleep: 1s}]}, {else: [{sleep: 1s}]}]}]
"""
    )
    assert [node.path for node in walk(graph.nodes)] == [
        "each",
        "each[].both",
        "each[].both.left._try1",
        "each[].both.left._try1.try._sleep1",
        "each[].both.left._try1.catch_1._sleep1",
        "each[].both.left._try1.finally._sleep1",
        "each[].both.right._switch1",
        "each[].both.right._switch1.case_1._sleep1",
        "each[].both.right._switch1.else._sleep1",
    ]


def test_texts_are_on_one_line_printable_and_short() -> None:
    assert words("a\n  b\tc\x1b[2J\u202e") == "a b c\\x1b[2J\\u202e"
    assert words({"a": [1, None]}) == '{"a": [1, null]}'
    assert len(words("x" * 100_000)) == 160


# --- what comes after what


def arrows(steps: str) -> list[tuple[str, str, str]]:
    """The arrows of a list, with titles for keys."""
    graph = drawn(steps)
    names = {node.key: node.title for node in walk(graph.nodes)}
    names |= {f"{node.key}_if": f"{node.title}?" for node in graph.nodes}
    found = edges(graph.nodes, "start", "end")
    return [
        (names.get(edge.source, edge.source), names.get(edge.target, edge.target), edge.label)
        for edge in found
    ]


def test_arrows_lead_from_step_to_step() -> None:
    assert arrows("  - {id: a, sleep: 1s}\n  - {id: b, sleep: 1s}") == [
        ("start", "a", ""),
        ("a", "b", ""),
        ("b", "end", ""),
    ]


def test_an_arrow_leads_past_a_step_that_may_be_skipped() -> None:
    assert arrows("  - {id: a, if: 'true', sleep: 1s}\n  - {id: b, if: 'true', sleep: 1s}") == [
        ("start", "a?", ""),
        ("a?", "a", "yes"),
        ("a", "b?", ""),
        ("a?", "b?", "no"),
        ("b?", "b", "yes"),
        ("b", "end", ""),
        ("b?", "end", "no"),
    ]


def test_no_arrow_leads_on_from_an_ending_unless_it_may_be_skipped() -> None:
    assert arrows("  - {id: a, return: 1}") == [("start", "a", "")]
    assert ("a", "end", "") not in arrows("  - {id: a, if: 'true', return: 1}")
    assert ("a?", "end", "no") in arrows("  - {id: a, if: 'true', return: 1}")


ENDINGS = {
    "a block that ends": ("{steps: [{sleep: 1s}, {return: 1}]}", True),
    "a block that may end": ("{steps: [{if: 'true', return: 1}, {sleep: 1s}]}", False),
    "an optional block": ("{steps: [{fail: {type: A}}], optional: true}", False),
    "all cases": ("{switch: [{if: 'true', steps: [{return: 1}]}, {else: [{return: 1}]}]}", True),
    "no else": ("{switch: [{if: 'true', steps: [{return: 1}]}]}", False),
    "one branch": ("{parallel: {a: [{return: 1}], b: [{sleep: 1s}]}}", True),
    "one branch of any": ("{parallel: {a: [{fail: {type: A}}], b: [{sleep: 1s}]}, wait: any}", False),
    "a loop without iterations": ("{foreach: '[]', steps: [{return: 1}]}", False),
    "a loop with one": ("{until: 'true', steps: [{return: 1}]}", True),
    "a failure that is caught": ("{try: [{fail: {type: A}}], catch: {}}", False),
    "a failure that is not": ("{try: [{fail: {type: A}}], finally: [{sleep: 1s}]}", True),
    "an end in finally": ("{try: [{sleep: 1s}], finally: [{fail: {type: A}}]}", True),
}


@pytest.mark.parametrize(("step", "ends"), ENDINGS.values(), ids=ENDINGS)
def test_it_is_known_after_which_steps_nothing_comes(step: str, ends: bool) -> None:
    assert only(f"  - {step}").ends is ends


def test_catches_are_where_failures_lead_and_finally_comes_after_all() -> None:
    node = only("  - {try: [{sleep: 1s}], catch: [{errors: [A]}, {}], finally: [{sleep: 2s}]}")
    tried, first, second, last = (lane.key for lane in lanes_of(node))
    assert list(between(node.rows)) == [
        Edge(tried, first, "error"),
        Edge(tried, second, "error"),
        Edge(tried, last),
        Edge(first, last),
        Edge(second, last),
    ]


LOOPS = {
    "sleep: 1s": 1,
    "if: 'true', sleep: 1s": 1,
    "return: 1": 0,
    "steps: [{sleep: 1s}]": 0,
}


@pytest.mark.parametrize(("step", "count"), LOOPS.items(), ids=LOOPS)
def test_an_arrow_leads_back_in_a_loop_that_comes_to_its_end(step: str, count: int) -> None:
    [lane] = lanes_of(only(f"  - {{while: 'true', steps: [{{{step}}}]}}"))
    assert len(list(again(lane))) == count


# --- the states of a run


def states(*steps: dict[str, Any], **more: Any) -> States:
    return States(run_json(*steps, **more))


def test_a_step_that_was_not_reached_is_pending() -> None:
    assert states().of("a") == State("pending")
    assert states(step_json("a")).of_undoing("a") == State("pending")


def test_attempts_are_told_if_there_were_several() -> None:
    assert states(step_json("a", attempt=1)).of("a") == State("completed")
    assert states(step_json("a", "retrying", attempt=3)).of("a") == State("retrying", "3 attempts")


def test_iterations_are_folded_into_one_with_counts() -> None:
    found = states(
        step_json("each[0].b"), step_json("each[1].b"), step_json("each[12].b", "running"), step_json("each")
    )
    assert found.of("each[].b") == State("running", "2 completed, 1 running")
    assert found.of("each") == State("completed")


def test_of_several_states_the_most_urgent_is_shown() -> None:
    assert set(URGENCY) == {*StepStatus, RunStatus.BLOCKED}
    for first, second in itertools.pairwise(map(str, URGENCY[1:])):
        assert states(step_json("e[0].b", second), step_json("e[1].b", first)).of("e[].b").status == first


def test_nested_iterations_are_folded_too() -> None:
    assert folded("a[1].b[22].c") == "a[].b[].c"


def test_what_undoes_has_a_state_of_its_own() -> None:
    found = states(step_json("a", "compensated", undo="compensated"))
    assert (found.of("a").status, found.of_undoing("a").status) == ("compensated", "compensated")
    found = states(step_json("e[0].a", undo="compensated"), step_json("e[1].a", undo="compensation_failed"))
    assert found.of_undoing("e[].a") == State("compensation_failed", "1 compensated, 1 compensation failed")


def test_what_the_saga_says_of_a_step_is_a_mark() -> None:
    saga = {
        "undone": [],
        "failed": [],
        "in_doubt": ["a"],
        "not_undone": ["e[0].b", "e[1].b"],
        "skipped": ["c"],
    }
    found = states(saga=saga)
    assert found.remarks("a") == ("in doubt",)
    assert found.remarks("e[].b") == ("2 not undone",)
    assert found.remarks("c") == ("undo skipped",)


def test_the_step_that_a_run_is_blocked_at_is_blocked() -> None:
    assert states(step_json("a", "running"), blocked={"path": "a", "reason": "x"}).of("a").status == "blocked"
    assert states(blocked={"path": None, "reason": "x"}).of("a").status == "pending"


RUN_STEPS = """
  - {id: pay, activity: shop.pay, compensate: {activity: shop.refund}}
  - id: each
    foreach: "[1, 2]"
    steps: [{id: pack, activity: shop.pack}]
  - {id: ship, activity: shop.ship}
"""
RUN = run_json(
    step_json("pay", "compensated", undo="compensated"),
    step_json("each", "failed"),
    step_json("each[0].pack"),
    step_json("each[1].pack", "failed", attempt=3),
    status="compensated",
)


def test_the_picture_of_a_run_has_the_state_of_every_node() -> None:
    graph = drawn(RUN_STEPS, RUN)
    assert [(node.path, node.state and node.state.status) for node in walk(graph.nodes)] == [
        ("pay", "compensated"),
        ("pay.undo", "compensated"),
        ("each", "failed"),
        ("each[].pack", "failed"),
        ("ship", "pending"),
    ]
    assert (graph.title, graph.state) == ("order-1 · t v1", State("compensated"))


def test_the_picture_of_a_document_has_no_states() -> None:
    graph = drawn(RUN_STEPS)
    assert graph.state is None
    assert {node.state for node in walk(graph.nodes)} == {None}


# --- text


def test_the_text_is_a_tree() -> None:
    steps = """
  - {id: pay, activity: shop.pay, compensate: {activity: shop.refund, after: attempted}}
  - id: which
    switch:
      - {if: steps.pay.output.ok, steps: [{id: x, activity: a.x, optional: true}]}
      - else: [{sleep: 1s}]
  - id: rest
    if: "true"
    steps: [{id: y, activity: a.y}]
    compensate: {steps: [{id: z, activity: a.z}]}
"""
    assert text(drawn(steps)).splitlines()[2:] == [
        "├─ pay          shop.pay",
        "│  └─ ↺ shop.refund, also if only attempted",
        "├─ which        switch",
        "│  ├─ if steps.pay.output.ok",
        "│  │  └─ x      a.x       optional",
        "│  └─ else",
        "│     └─ sleep  1s",
        "└─ rest         block     if true",
        "   ├─ y         a.y",
        "   └─ ↺ undo",
        "      └─ z      a.z",
    ]


def test_the_text_of_a_run_has_the_signs_of_its_states() -> None:
    shown = text(drawn(RUN_STEPS, RUN))
    assert shown.splitlines()[0] == "↺  order-1 · t v1  compensated"
    assert "├─ ↺  pay" in shown
    assert "↺ shop.refund, compensated" in shown
    assert "│  └─ ✗  pack  shop.pack" in shown
    assert "1 completed, 1 failed" in shown
    assert "└─ ·  ship" in shown


def test_a_narrow_terminal_cuts_the_text() -> None:
    view = list(drawing.text(drawn(RUN_STEPS, RUN)))
    assert max(render.text.width(line) for line in list(lines(view, 50))[1:]) <= 50


# --- every format, of every workflow


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_can_be_drawn_in_every_format(file: Path) -> None:
    check(drawing.graph(document.load(file.read_text(encoding="utf-8"), file.name).workflow))


def check(graph: Graph) -> None:
    check_mermaid(graph)
    check_dot(graph)
    check_svg(graph)
    check_text(graph)


def check_mermaid(graph: Graph) -> None:
    keys, found = read_mermaid(drawing.mermaid(graph))
    assert {node.key for node in walk(graph.nodes)} <= keys
    assert {key for arrow in found for key in arrow} <= keys


def check_dot(graph: Graph) -> None:
    keys, found = read_dot(drawing.dot(graph))
    assert {node.key for node in walk(graph.nodes) if not node.rows} <= keys
    assert {key for arrow in found for key in arrow} <= keys


def check_svg(graph: Graph) -> None:
    """Well-formed, everything on the canvas, and no step over another."""
    svg = drawing.svg(graph)
    assert svg.isascii()
    canvas, *found = boxes(svg)
    slack = 0.1
    for _, left, top, right, bottom in found:
        assert -slack <= left < right <= canvas[3] + slack
        assert -slack <= top < bottom <= canvas[4] + slack
    cards = [box for box in found if box[0] == "box"]
    leaves = [node for node in walk(graph.nodes) if not node.rows]
    assert len(cards) == len(leaves) + 2
    for one, other in itertools.combinations(cards, 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2]
        assert apart, (one, other)


def check_text(graph: Graph) -> None:
    shown = text(graph)
    assert all(line.isprintable() or "\u200d" in line or "\u200c" in line for line in shown.splitlines())
    for node in walk(graph.nodes):
        assert node.title in shown


SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@SOME
@given(any_workflow)
def test_any_workflow_can_be_drawn_in_every_format(workflow: Workflow) -> None:
    check(drawing.graph(workflow))


@SOME
@given(any_workflow, st.data())
def test_any_run_can_be_drawn_in_every_format(workflow: Workflow, data: st.DataObject) -> None:
    paths = [node.path for node in walk(drawing.graph(workflow).nodes)]
    check(drawing.graph(workflow, data.draw(any_run(paths))))


# --- what users write is text, whatever they write


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_is_in_the_picture_as_it_is(hostile: str) -> None:
    graph = drawing.graph(workflow(name=hostile or "x", description=hostile))
    parsed = ElementTree.fromstring(drawing.svg(graph))
    assert parsed[0].text == graph.title
    check(graph)


def test_markup_in_a_text_is_no_markup() -> None:
    steps = '  - {fail: {type: A, message: "</text><script>alert(1)</script>"}}'
    svg = drawing.svg(drawn(steps))
    assert "<script" not in svg
    assert any("<script>" in text for text in svg_texts(svg))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("plain text, a.b: 1", "plain text, a.b: 1"),
        ('say "hi"', "say #34;hi#34;"),
        ("<b>", "#60;b#62;"),
        ("#35;", "#35;35#59;"),
        ("1. first", "1#46; first"),
        ("- item", "#45; item"),
        ("a - b", "a - b"),
        ("`x`", "#96;x#96;"),
    ],
)
def test_mermaid_is_given_entities_for_what_it_would_read(text: str, encoded: str) -> None:
    assert encode(text) == encoded


# --- the svg


def test_the_svg_can_be_read_out() -> None:
    parsed = ElementTree.fromstring(drawing.svg(drawn(RUN_STEPS, RUN)))
    title, description = parsed[0], parsed[1]
    assert parsed.get("role") == "img"
    assert parsed.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "order-1 · t v1"
    assert description.text == (
        "The run is compensated. 1. pay, shop.pay, compensated, undone by shop.refund. "
        "2. each, for each item in [1, 2], failed. "
        "2.1. pack, shop.pack, failed, 1 completed, 1 failed. 3. ship, shop.ship, pending."
    )


def test_the_svg_is_light_or_dark_as_its_reader_is() -> None:
    light, dark = stylesheet().split("@media(prefers-color-scheme:dark)")
    assert light.count("{") == light.count("}")
    assert dark.count("{") == dark.count("}")
    for rules in (light, dark):
        for style in ("good", "bad", "warn", "busy", "undone", "dim", "plain"):
            assert f".{style}>.box{{" in rules


def test_every_rule_of_the_style_sheet_is_for_the_picture_alone() -> None:
    rules = stylesheet().replace("@media(prefers-color-scheme:dark){", "").split("}")
    selectors = [selector for rule in rules if "{" in rule for selector in rule.partition("{")[0].split(",")]
    assert len(selectors) > 40
    assert all(selector.startswith(".flowctl-graph ") for selector in selectors)


def test_branches_stand_side_by_side_and_those_for_which_there_is_no_room_beneath() -> None:
    def lanes(count: int) -> list[tuple[float, float]]:
        branches = ", ".join(f"b{n}: [{{sleep: 1s}}]" for n in range(count))
        svg = drawing.svg(drawn(f"  - {{parallel: {{{branches}}}}}"))
        return [(left, top) for name, left, top, _, _ in boxes(svg) if name == "lane"]

    assert len({top for _, top in lanes(3)}) == 1
    assert len({left for left, _ in lanes(3)}) == 3
    assert len({top for _, top in lanes(12)}) > 1


def test_lines_are_broken_at_spaces_and_cut_at_the_end() -> None:
    assert wrap("one two three", 10, measure("one two", 10) + 1, 3) == ["one two", "three"]
    assert wrap("one two three", 10, measure("one two", 10) + 1, 1) == ["one t…"]
    assert wrap("", 10, 100, 3) == []


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=80).map(str.strip))
def test_no_line_is_wider_than_its_room(text: str) -> None:
    room = 60.0
    found = wrap(text, 10, room, 3)
    assert len(found) <= 3
    assert all(measure(line, 10) <= room + 10 for line in found)


# --- the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(SHOP)
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"')
    return tmp_path


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], folder: Path) -> Flowctl:
    return caller(capsys)


READERS: dict[str, Callable[[str], object]] = {
    "mermaid": lambda out: read_mermaid(out.rstrip("\n")),
    "dot": lambda out: read_dot(out.rstrip("\n")),
    "svg": ElementTree.fromstring,
}


def test_a_file_is_drawn_as_text_unless_another_format_is_asked_for(flowctl: Flowctl) -> None:
    said = flowctl("graph", "order.yaml")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("order v1\n\n├─ reserve")
    assert flowctl("graph", "order.yaml", "--format", "text").out == said.out


@pytest.mark.parametrize("chosen", READERS)
def test_a_file_is_drawn_in_every_format(flowctl: Flowctl, chosen: str) -> None:
    said = flowctl("graph", "order.yaml", "--format", chosen)
    assert (said.code, said.err) == (0, "")
    READERS[chosen](said.out)
    assert flowctl("graph", "order.yaml", "--format", chosen, "--json").json == {
        "format": chosen,
        "graph": said.out.rstrip("\n"),
    }


def test_a_run_is_drawn_with_its_states(flowctl: Flowctl) -> None:
    flowctl("run", "order.yaml", "--id", "o-1", "-i", "item=lamp", "-i", "fail=true")
    for reference in ("o-1", "@last", "o"):
        said = flowctl("graph", reference)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("↺  o-1 · order v1  compensated\n")
        assert "⊘  approval" in said.out
        assert "✗  ship" in said.out
    assert flowctl("graph", "o-1", "--json").json["format"] == "text"


def test_a_run_is_drawn_with_the_document_it_was_started_with(flowctl: Flowctl, folder: Path) -> None:
    flowctl("run", "order.yaml", "--id", "o-1", "-i", "item=lamp")
    (folder / "order.yaml").write_text(ORDER.replace("id: ship", "id: send"))
    assert "✓  ship" in flowctl("graph", "o-1").out


LOOP = """\
dsl: 1
name: loop
steps:
  - id: each
    foreach: "[1, 2, 3]"
    as: n
    steps: [{id: echo, if: n > 1, activity: core.echo, with: {n: "${{ n }}"}}]
"""


def test_the_iterations_of_a_run_are_counted(flowctl: Flowctl, folder: Path) -> None:
    (folder / "loop.yaml").write_text(LOOP)
    assert flowctl("run", "loop.yaml", "--id", "l-1").code == 0
    assert "2 completed, 1 skipped" in flowctl("graph", "l-1").out


MISTAKES = {
    "a file that is missing": (["missing.yaml"], 2, "UsageError"),
    "a document with mistakes": (["bad.yaml"], 2, "InvalidDocument"),
    "a format that is none": (["order.yaml", "--format", "png"], 2, "UsageError"),
    "no database": (["o-1"], 4, "NotFound"),
}


@pytest.mark.parametrize(("arguments", "code", "name"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_drawn_is_an_error(
    flowctl: Flowctl, folder: Path, arguments: list[str], code: int, name: str
) -> None:
    (folder / "bad.yaml").write_text(ORDER.replace("retry:", "rety:"))
    said = flowctl("graph", *arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("error[")
    said = flowctl("graph", *arguments, "--json")
    assert (said.code, said.json["error"]["code"]) == (code, name)


def test_a_run_that_is_not_there_is_an_error(flowctl: Flowctl) -> None:
    flowctl("run", "order.yaml", "-i", "item=lamp")
    said = flowctl("graph", "nobody", "--json")
    assert (said.code, said.json["error"]["code"]) == (4, "RunNotFound")


# --- the page


@pytest.mark.parametrize("chosen", ["text", "mermaid"])
def test_the_pictures_of_the_page_are_what_is_drawn(chosen: str) -> None:
    page = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    order = ROOT / "examples" / "order" / "order.yaml"
    graph = drawing.graph(document.load(order.read_text(encoding="utf-8"), order.name).workflow)
    assert (text(graph) if chosen == "text" else drawing.mermaid(graph)) + "\n```\n" in page


def test_the_marks_and_signs_of_the_page_are_those_there_are() -> None:
    page = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    steps = "  - {id: a, activity: x.y, %s}"
    attributes = ["pivot: true", "irreversible: true", "optional: true", "on_failure: hold", "commit: true"]
    for attribute in [*attributes, "secret: true"]:
        [mark] = only(steps % attribute).marks
        assert f"`{mark}`" in page
    for status in (*StepStatus, RunStatus.BLOCKED):
        sign = f"`{SIGNS[status][0]}`"
        rows = [row for row in page.splitlines() if row.startswith("| ") and sign in row.split(" | ")[0]]
        assert any(status.replace("_", " ") in row for row in rows), status
