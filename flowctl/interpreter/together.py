"""``parallel`` and ``foreach``: parts that run at once, or one after the other, and what is made of how they
end.

A fork hands its time to all its parts, and a join takes the latest of theirs, so what ``now`` is depends on
no race.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import msgspec

from flowctl import values
from flowctl.errors import ExpressionError, Failure
from flowctl.interpreter.branch import Branch
from flowctl.interpreter.parts import Part, PartFailed
from flowctl.interpreter.saga import Saga
from flowctl.interpreter.steps import about, completed, failures, run_steps, verb
from flowctl.interpreter.undoing import roll_back
from flowctl.model import ForeachStep, ParallelBranch, ParallelStep, Wait
from flowctl.path import Path
from flowctl.runtime import Answer, Settled, Thunk

Joined = list[Any] | tuple[int, Any]
"""The results of all parts, each ``{status, output, error}`` if settled; or the winner and its result."""


@verb(ParallelStep)
async def _parallel(step: ParallelStep, branch: Branch, path: Path) -> Answer:
    branch.rt.decide(path, "started", lambda: about(step))
    branches = sorted(step.branches, key=lambda each: each.name)  # nothing depends on how they were written
    parts = [
        Part(
            "branch",
            path / each.name,
            each.ids,
            {},
            partial(_branch, each, path / each.name),
            each.secret_result,
        )
        for each in branches
    ]
    joined = await _join(branch, path, parts, step.wait, step.concurrency or len(parts))
    output: dict[str, Any]
    if isinstance(joined, tuple):
        output = {"branch": branches[joined[0]].name, "output": joined[1]}
    else:
        output = {each.name: result for each, result in zip(branches, joined, strict=True)}
    return completed(step, branch, path, output)


async def _branch(branch: ParallelBranch, path: Path, inner: Branch) -> Any:
    result = await run_steps(branch.steps, inner, path)
    if branch.output is None:
        return result
    inner.scope.at_step(path, None)
    inner.scope.reads = inner.rt.facts()  # with the result, it is recorded
    with failures(path):
        return branch.output.render(inner.scope).value


@verb(ForeachStep)
async def _foreach(step: ForeachStep, branch: Branch, path: Path) -> Answer:
    with failures(path):
        elements = _elements(step.items.evaluate(branch.scope))
    branch.rt.decide(path, "started", lambda: about(step) | {"count": len(elements)})
    last = len(elements) - 1
    parts = [
        Part(
            "iteration",
            path.iteration(index),
            step.ids,
            {step.variable: element, "loop": {"index": index, "first": index == 0, "last": index == last}},
            partial(run_steps, step.steps, path=path.iteration(index)),
            step.secret_result,
        )
        for index, element in enumerate(elements)
    ]
    joined = await _join(branch, path, parts, step.wait, step.concurrency)
    output = {"index": joined[0], "output": joined[1]} if isinstance(joined, tuple) else joined
    return completed(step, branch, path, output)


def _elements(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [{"key": key, "value": value[key]} for key in sorted(value)]
    raise ExpressionError(f"'foreach' goes over a list or a mapping, not {values.kind_of(value)}")


# --- joining


async def _join(branch: Branch, path: Path, parts: Sequence[Part], wait: Wait, limit: int) -> Joined:
    if wait == "any":
        return await _any(branch, path, parts, limit)
    if limit == 1:
        ends = [await _settle(branch, part, wait) for part in parts]
    else:
        ends = await _all(branch, path, parts, wait, limit)
    for end in ends:
        if end.failure is None:
            branch.scope.heard(end.value.at)
    return [end.value.value if wait == "all" else _settled(end) for end in ends]


async def _all(branch: Branch, path: Path, parts: Sequence[Part], wait: Wait, limit: int) -> list[Settled]:
    sagas = [Saga(branch.saga) for _ in parts]
    thunks = _forked(branch, parts, sagas)
    try:
        return await branch.rt.all(path, thunks, limit=limit, mode="all" if wait == "all" else "settled")
    finally:
        for saga in sagas:
            branch.saga.absorb(saga)


def _forked(branch: Branch, parts: Sequence[Part], sagas: Sequence[Saga]) -> list[Thunk]:
    fork = branch.fork()
    forks = [msgspec.structs.replace(fork, saga=saga) for saga in sagas]
    return [partial(part.run, each) for part, each in zip(parts, forks, strict=True)]


async def _settle(branch: Branch, part: Part, wait: Wait) -> Settled:
    """Run the next of parts that run one after the other."""
    try:
        answer = await part.run(branch)
    except PartFailed as failed:
        if wait == "all":
            raise
        branch.scope.heard(failed.at)
        return Settled(failure=failed.failure)
    branch.scope.heard(answer.at)
    return Settled(value=answer)


def _settled(end: Settled) -> dict[str, Any]:
    if end.failure is None:
        return {"status": "completed", "output": end.value.value, "error": None}
    return {"status": "failed", "output": None, "error": end.failure.to_json()}


async def _any(branch: Branch, path: Path, parts: Sequence[Part], limit: int) -> tuple[int, Any]:
    """The first success; what the others completed is undone before the step completes."""
    sagas = [Saga(branch.saga) for _ in parts]
    if limit == 1:  # one after the other, so that there may be a pivot: it drops what those before registered
        sagas = [*accumulate(parts, lambda before, _: Saga(before), initial=branch.saga)][1:]
    thunks = _forked(branch, parts, sagas)
    winner: int | None = None
    try:
        winner, answer = await branch.rt.first(path, thunks, limit=limit)
    finally:
        losers = []
        for index, saga in enumerate(sagas):
            if winner is not None and index != winner:
                losers += saga.taken_since(0)
            branch.saga.absorb(saga)
    branch.scope.heard(answer.at)
    why = Failure("Cancelled", f"another branch of {path} was first", step=path)
    await roll_back(branch, losers, why, path)
    return winner, answer.value
