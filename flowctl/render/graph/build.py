"""From a workflow to the structure of its picture: its nodes, and the lanes of those that are clusters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowctl.model import (
    BlockStep,
    Compensation,
    ContinueStep,
    FailStep,
    ForeachStep,
    LoopStep,
    ParallelStep,
    ReturnStep,
    Step,
    SwitchStep,
    TryStep,
    UntilStep,
    WhileStep,
    Workflow,
)
from flowctl.path import ROOT, Path
from flowctl.render.graph.sayings import catch_title, marks, title_and_detail, undo_title_and_detail
from flowctl.render.graph.states import LOOP, States
from flowctl.render.graph.structure import UNDO, Graph, Kind, Lane, Node, State, words

Rows = tuple[tuple[Lane, ...], ...]


def graph(workflow: Workflow, run: Mapping[str, Any] | None = None) -> Graph:
    """The picture of a workflow; with ``run``, the status document of a run of it, that of the run."""
    builder = _Builder(States(run) if run is not None else None)
    nodes = builder.nodes(workflow.steps, ROOT)
    title = f"{words(workflow.name)} v{workflow.version}"
    description = words(workflow.description or "")
    if run is None:
        return Graph(title, description, nodes)
    return Graph(f"{words(run['id'])} · {title}", description, nodes, State(run["status"]))


class _Builder:
    """Numbers the nodes in the order of the document, and knows the states if there are any."""

    def __init__(self, states: States | None) -> None:
        self._states = states
        self._numbers = itertools.count(1)

    def nodes(self, steps: Iterable[Step], around: Path) -> tuple[Node, ...]:
        return tuple(self.node(step, around / step.segment) for step in steps)

    def node(self, step: Step, path: Path) -> Node:
        key = self.key()
        title, detail = title_and_detail(step)
        rows = _ROWS[step.verb](self, step, path) if step.verb in _ROWS else ()
        return Node(
            key=key,
            path=path,
            verb=step.verb,
            title=title,
            detail=detail,
            condition=words(step.condition.source) if step.condition else None,
            marks=(*marks(step), *(self._states.remarks(path) if self._states else ())),
            rows=rows,
            ends=_ends(step, rows),
            undo=self.undo(step.compensation, path) if step.compensation else None,
            state=self._states.of(path) if self._states else None,
        )

    def undo(self, undo: Compensation, path: Path) -> Node:
        key = self.key()
        rows = ((self.lane("body", "", undo.steps, path.undo),),) if undo.steps else ()
        title, detail = undo_title_and_detail(undo)
        return Node(
            key=key,
            path=path.undo,
            verb=UNDO,
            title=title,
            detail=detail,
            rows=rows,
            state=self._states.of_undoing(path) if self._states else None,
        )

    def lane(self, kind: Kind, title: str, steps: Iterable[Step], path: Path) -> Lane:
        return Lane(self.key(), kind, words(title), self.nodes(steps, path))

    def key(self) -> str:
        return f"n{next(self._numbers)}"

    # --- the lanes of each verb that is made of steps

    def block(self, step: BlockStep, path: Path) -> Rows:
        return ((self.lane("body", "", step.steps, path),),)

    def loop(self, step: ForeachStep | LoopStep, path: Path) -> Rows:
        return ((self.lane("loop", "", step.steps, Path(path + LOOP)),),)

    def switch(self, step: SwitchStep, path: Path) -> Rows:
        return (
            tuple(
                self.lane(
                    "case",
                    f"if {case.condition.source}" if case.condition else "else",
                    case.steps,
                    path / case.segment,
                )
                for case in step.cases
            ),
        )

    def parallel(self, step: ParallelStep, path: Path) -> Rows:
        return (
            tuple(
                self.lane("branch", branch.name, branch.steps, path / branch.name) for branch in step.branches
            ),
        )

    def guard(self, step: TryStep, path: Path) -> Rows:
        tried = self.lane("try", "try", step.steps, path / "try")
        catches = [
            self.lane("catch", catch_title(catch), catch.steps, path / catch.segment)
            for catch in step.catches
        ]
        rows: Rows = ((tried, *catches),)
        if step.cleanup:
            rows += ((self.lane("finally", "finally", step.cleanup, path / "finally"),),)
        return rows


_ROWS: Mapping[str, Callable[[_Builder, Any, Path], Rows]] = {
    BlockStep.verb: _Builder.block,
    ForeachStep.verb: _Builder.loop,
    WhileStep.verb: _Builder.loop,
    UntilStep.verb: _Builder.loop,
    SwitchStep.verb: _Builder.switch,
    ParallelStep.verb: _Builder.parallel,
    TryStep.verb: _Builder.guard,
}


# --- what ends a run

_ENDINGS = frozenset({FailStep.verb, ReturnStep.verb, ContinueStep.verb})


def _ends(step: Step, rows: Rows) -> bool:
    """Whether nothing after the step runs, whatever happens. If unsure, something does."""
    if step.optional:
        return False
    judge = _CLUSTER_ENDS.get(step.verb)
    if judge is None:
        return step.verb in _ENDINGS
    return judge(step, [[lane.ends for lane in row] for row in rows])


_CLUSTER_ENDS: Mapping[str, Callable[[Any, list[list[bool]]], bool]] = {
    BlockStep.verb: lambda step, ends: ends[0][0],
    UntilStep.verb: lambda step, ends: ends[0][0],
    SwitchStep.verb: lambda step, ends: all(ends[0]) and step.cases[-1].condition is None,
    ParallelStep.verb: lambda step, ends: (any if step.wait == "all" else all)(ends[0]),
    TryStep.verb: lambda step, ends: all(ends[0]) or (len(ends) > 1 and ends[1][0]),
}
