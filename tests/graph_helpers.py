"""What the tests of pictures share: any workflow at all, and readers of what was drawn that are strict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from hypothesis import strategies as st

from flowctl.expressions import Expression, Template
from flowctl.model import (
    NO_POLICY,
    ActivityStep,
    AttributesStep,
    BlockStep,
    Case,
    Catch,
    ChildReference,
    Compensation,
    ContinueStep,
    FailStep,
    ForeachStep,
    ParallelBranch,
    ParallelStep,
    PatchStep,
    ReturnStep,
    RollbackStep,
    SendSignalStep,
    SetStep,
    SleepStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WaitStep,
    WhileStep,
    Workflow,
    WorkflowStep,
)
from flowctl.render.graph.structure import Lane, Node
from flowctl.state import RunStatus, StepStatus

HOSTILE = [
    'say "hi"',
    "a]b}c)d>e|f",
    "</text><script>alert(1)</script>",
    "&amp; &#65; <b>",
    "end\nsubgraph x",
    "%%{init: {}}%% -->",
    "`code` **bold** #quot; #35;",
    "1. first",
    "- item",
    "\x00\x1b[2J\x9b\u202e\ud800\ufffe",
    "back\\slash \\N \\l",
    "日本語 👩\u200d🚀 e\u0301",
    "ﬂ°°35¶ß",
    "]]>",
    "x" * 400,
    "]; n1 -> n2 [",
    "",
]


def template(source: Any) -> Template:
    """A template that is only looked at, whatever is written in it."""
    return Template(source, frozenset(), True, lambda names, secrets: source)


def expression(source: str) -> Expression:
    return Expression(source, frozenset(), lambda frame: None, 0, False)


def workflow(*steps: Step, name: str = "order", description: str | None = None) -> Workflow:
    return Workflow(
        name=name,
        version=2,
        digest="sha256:0",
        body={},
        timeout=1,
        steps=steps,
        ids=(),
        output=None,
        signals={},
        secrets=frozenset(),
        defaults=NO_POLICY,
        on_failure="compensate",
        deprecated=None,
        description=description,
        input_schema=None,
        prepare_input=dict,
        check_output=lambda value: None,
        activities=frozenset(),
    )


# --- any workflow

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))
data = st.one_of(texts, st.dictionaries(texts, texts, max_size=3), st.none(), st.lists(texts, max_size=2))
templates = data.map(template)
expressions = texts.map(expression)
children = texts.map(ChildReference)
Steps = st.SearchStrategy[tuple[Step, ...]]


def listed(steps: st.SearchStrategy[Step], least: int = 0) -> Steps:
    return st.lists(steps, min_size=least, max_size=4).map(tuple)


def compensations(steps: Steps) -> st.SearchStrategy[Compensation]:
    common = {
        "arguments": templates,
        "after": st.sampled_from(["completed", "attempted"]),
        "on_failure": st.sampled_from(["continue", "stop"]),
    }
    return st.one_of(
        st.builds(Compensation, activity=texts, **common),
        st.builds(Compensation, activity=st.none(), child=children, **common),
        st.builds(Compensation, activity=st.none(), rollback=st.just(True), **common),
        st.builds(Compensation, activity=st.none(), steps=steps, **common),
    )


def attributes(steps: Steps) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "segment": texts,
        "id": st.none() | texts,
        "condition": st.none() | expressions,
        "timeout": st.none() | st.integers(0, 10**12),
        "compensation": st.none() | compensations(steps),
        "irreversible": st.none() | texts,
        "optional": st.booleans(),
        "secret": st.booleans(),
        "pivot": st.booleans(),
        "commit": st.booleans(),
        "on_failure": st.sampled_from([None, "hold"]),
    }


def leaves() -> st.SearchStrategy[Step]:
    common = attributes(st.just(()))
    waits: st.SearchStrategy[Any] = st.sampled_from(["fail", "continue"])
    return st.one_of(
        st.builds(ActivityStep, name=texts, arguments=templates, **common),
        st.builds(SleepStep, duration=templates, **common),
        st.builds(SleepStep, until=templates, **common),
        st.builds(WaitStep, signals=st.lists(texts, min_size=1, max_size=3), on_timeout=waits, **common),
        st.builds(SendSignalStep, message=templates, **common),
        st.builds(WorkflowStep, child=children, arguments=templates, detached=st.booleans(), **common),
        st.builds(SetStep, values=templates, **common),
        st.builds(PatchStep, change=texts, min=st.just(1), max=st.integers(1, 9), **common),
        st.builds(AttributesStep, values=templates, **common),
        st.builds(ContinueStep, input=templates, **common),
        st.builds(RollbackStep, to=st.none() | texts, **common),
        st.builds(ReturnStep, value=templates, **common),
        st.builds(FailStep, error=templates, **common),
    )


def clusters(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    steps = listed(inner)
    common = attributes(steps)
    ids = st.just(())
    waits = st.sampled_from(["all", "any", "settled"])
    case = st.builds(Case, texts, st.none() | expressions, steps)
    catch = st.builds(
        Catch,
        texts,
        st.none() | st.lists(texts, max_size=2),
        st.none() | expressions,
        texts,
        st.booleans(),
        steps,
    )
    branch = st.builds(ParallelBranch, texts, steps, ids)
    loop = {"test": expressions, "steps": steps, "ids": ids, "max_iterations": st.integers(1, 2000)}
    return st.one_of(
        st.builds(BlockStep, steps=steps, **common),
        st.builds(SwitchStep, cases=st.lists(case, min_size=1, max_size=3), **common),
        st.builds(
            ParallelStep,
            branches=st.lists(branch, min_size=1, max_size=9),
            wait=waits,
            concurrency=st.none() | st.integers(1, 9),
            **common,
        ),
        st.builds(
            ForeachStep,
            items=expressions,
            variable=texts,
            steps=steps,
            ids=ids,
            wait=waits,
            concurrency=st.integers(1, 9),
            **common,
        ),
        st.builds(WhileStep, **loop, **common),
        st.builds(UntilStep, **loop, **common),
        st.builds(TryStep, steps=steps, catches=st.lists(catch, max_size=3), cleanup=steps, **common),
    )


any_step: st.SearchStrategy[Step] = st.recursive(leaves(), clusters, max_leaves=12)
any_workflow = st.builds(
    lambda steps, name, description: workflow(*steps, name=name, description=description),
    listed(any_step, least=1),
    texts,
    st.none() | texts,
)


# --- runs


def step_json(
    path: str, status: str = "completed", *, undo: str | None = None, attempt: int = 1
) -> dict[str, Any]:
    """A step of a status document, as far as pictures look at it."""
    compensation = {"status": undo, "attempt": 1, "error": None, "completed_at": None} if undo else None
    return {"path": path, "status": status, "attempt": attempt, "compensation": compensation}


def run_json(*steps: Mapping[str, Any], status: str = "running", **more: Any) -> dict[str, Any]:
    saga: dict[str, list[str]] = {
        key: [] for key in ("undone", "failed", "in_doubt", "not_undone", "skipped")
    }
    return {"id": "order-1", "status": status, "blocked": None, "saga": saga, "steps": list(steps)} | more


def any_run(paths: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A run that has come to some of these paths, in any state."""
    statuses = st.sampled_from([str(status) for status in StepStatus])
    undone = st.sampled_from([None, "compensating", "compensated", "compensation_failed"])
    steps = st.lists(
        st.builds(
            lambda path, status, undo, attempt: step_json(path, status, undo=undo, attempt=attempt),
            st.sampled_from(paths).map(lambda path: path.replace("[]", "[3]")),
            statuses,
            undone,
            st.integers(0, 3),
        ),
        max_size=12,
    )
    run = st.sampled_from([str(status) for status in RunStatus])
    return st.builds(lambda steps, status: run_json(*steps, status=status), steps, run)


# --- readers


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """All nodes, those inside and those that undo too."""
    for node in nodes:
        yield node
        for lane in lanes_of(node):
            yield from walk(lane.nodes)
        if node.undo is not None:
            yield from walk((node.undo,))


def lanes_of(node: Node) -> list[Lane]:
    return [lane for row in node.rows for lane in row]


_SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[str, float, float, float, float]


def boxes(svg: str) -> Iterator[Box]:
    """Class, left, top, right and bottom of every rectangle, where it is on the canvas."""
    yield from _boxes(ElementTree.fromstring(svg), 0.0, 0.0)


def _boxes(element: ElementTree.Element, x: float, y: float) -> Iterator[Box]:
    moved = re.match(r"translate\((\S+) (\S+)\)", element.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag == f"{_SVG}rect":
        left, top = x + float(element.get("x", 0)), y + float(element.get("y", 0))
        right, bottom = left + float(element.get("width", 0)), top + float(element.get("height", 0))
        yield element.get("class", ""), left, top, right, bottom
    for child in element:
        yield from _boxes(child, x, y)


def svg_texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{_SVG}text")]


_KEY = r"[a-z][a-z0-9_]*"
_QUOTED = r'"[^"<>{}\[\]`|\\]*(?:<br/>[^"<>{}\[\]`|\\]*)*"'
_MERMAID_NODE = re.compile(
    rf"({_KEY})(?:\[|\(\[|\[\[|>|\[/|\(\(|\{{\{{){_QUOTED}(?:\]|\]\)|\]\]|/\]|\)\)|\}}\}})"
)
_MERMAID_SUBGRAPH = re.compile(rf"subgraph ({_KEY})\[{_QUOTED}\]")
_MERMAID_ARROW = re.compile(rf"({_KEY}) (?:-->|-\.->)(?:\|[a-z]+\|)? ({_KEY})")
_MERMAID_OTHER = re.compile(rf"direction TB|classDef {_KEY} [a-z:#0-9, -]+|class {_KEY}(?:,{_KEY})* {_KEY}")


def read_mermaid(text: str) -> tuple[set[str], list[tuple[str, str]]]:
    """Keys and arrows of a flowchart. Every line must be one that we write, and blocks must match."""
    head, body = text.split("\nflowchart TB\n")
    assert re.fullmatch(r'---\ntitle: "[^\n]*"\n---', head)
    keys: set[str] = set()
    arrows: list[tuple[str, str]] = []
    depth = 0
    for line in map(str.strip, body.splitlines()):
        if line == "end":
            depth -= 1
            assert depth >= 0
        elif found := _MERMAID_SUBGRAPH.fullmatch(line):
            depth += 1
            keys.add(found[1])
        elif found := _MERMAID_NODE.fullmatch(line):
            keys.add(found[1])
        elif found := _MERMAID_ARROW.fullmatch(line):
            arrows.append((found[1], found[2]))
        else:
            assert _MERMAID_OTHER.fullmatch(line), line
    assert depth == 0
    return keys, arrows


_DOT_STRING = r'"(?:[^"\\\n]|\\[\\"nl])*"'
_DOT_VALUE = rf"(?:{_DOT_STRING}|[a-z0-9_.]+)"
_DOT_ATTRIBUTES = rf"\[(?:[a-z]+={_DOT_VALUE}(?:, [a-z]+={_DOT_VALUE})*)?\]"
_DOT_NODE = re.compile(rf"({_KEY}) {_DOT_ATTRIBUTES}")
_DOT_ARROW = re.compile(rf"({_KEY}) -> ({_KEY}) {_DOT_ATTRIBUTES}")
_DOT_OTHER = re.compile(rf"[a-z]+={_DOT_VALUE}(?:; [a-z]+={_DOT_VALUE})*|{{rank=same; {_KEY}; {_KEY}}}")


def read_dot(text: str) -> tuple[set[str], list[tuple[str, str]]]:
    """Keys and arrows of a digraph. Every line must be one that we write, and braces must match."""
    first, *body = text.split("\n")
    assert re.fullmatch(rf"digraph {_DOT_STRING} \{{", first)
    keys: set[str] = set()
    arrows: list[tuple[str, str]] = []
    depth = 1
    for line in map(str.strip, body):
        if line == "}":
            depth -= 1
        elif re.fullmatch(rf"subgraph cluster_{_KEY} \{{", line):
            depth += 1
        elif found := _DOT_ARROW.fullmatch(line):
            arrows.append((found[1], found[2]))
        elif found := _DOT_NODE.fullmatch(line):
            keys.add(found[1])
        else:
            assert _DOT_OTHER.fullmatch(line), line
    assert depth == 0
    return keys - {"graph", "node", "edge"}, arrows
