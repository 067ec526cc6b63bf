"""A list of steps, one method a verb.

A method puts one step behind the others and returns the list, so that calls can be chained. What it is given
is a word of the language and goes into the document as it is: the arguments of a verb first, then attributes
by name. Python's own words have ``_`` behind them: ``if_``, ``with_``, ``while_``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, Unpack

from msgspec import UNSET

from flowctl.building.sites import Site
from flowctl.building.vocabulary import (
    ActivityName,
    ActivityWords,
    Block,
    Branch,
    ChildWords,
    Condition,
    Duration,
    EachWords,
    EndWords,
    LoopWords,
    NamedWords,
    TogetherWords,
    TryWords,
    WaitWords,
    Words,
)

if TYPE_CHECKING:
    from flowctl.building.workflow import Workflow

METHODS: Mapping[str, str] = {
    "activity": "step",
    "sleep": "sleep",
    "wait_for_signal": "wait_for_signal",
    "send_signal": "send_signal",
    "steps": "block",
    "parallel": "parallel",
    "foreach": "foreach",
    "while": "while_",
    "until": "until",
    "switch": "switch",
    "try": "try_",
    "workflow": "workflow",
    "set": "set",
    "patch": "patch",
    "attributes": "attributes",
    "fail": "fail",
    "return": "return_",
    "continue_as_new": "continue_as_new",
    "rollback": "rollback",
}
"""The method of each verb. An activity is what most steps are; a list of steps is a block."""

FIRST = ("id", "if")
"""Attributes that are written before the verb."""


def expr(text: str) -> str:
    """An expression where a value stands: ``expr("input.amount")`` is ``${{ input.amount }}``.

    It is a text, so that it can be part of another: ``f"Order {expr('input.order_id')}"``.
    """
    return f"${{{{ {text} }}}}"


class Written(NamedTuple):
    """A part of a document, and where in the program it was written."""

    data: Mapping[str, Any]
    site: Site


class Steps:
    """Steps, executed one after the other: the inside of a block, a branch, a loop, …"""

    def __init__(self) -> None:
        self._steps: list[Written] = []

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self)} step{'' if len(self) == 1 else 's'}>"

    @property
    def reference(self) -> str | None:
        """What others call it as a child: NAME@VERSION of a ``Workflow``, None of mere steps."""
        return None

    # --- calls

    def step(
        self,
        id: str,
        activity: ActivityName,
        with_: Mapping[str, Any] | str = UNSET,  # type: ignore[assignment]  # absent is not null
        **words: Unpack[ActivityWords],
    ) -> Self:
        """Call an activity; ``with_`` are its arguments by name, its output is what it returns."""
        return self._add({"id": id, "activity": activity, "with": with_}, words)

    def workflow(
        self,
        id: str,
        workflow: str | Workflow,
        with_: Mapping[str, Any] | str = UNSET,  # type: ignore[assignment]  # as above
        **words: Unpack[ChildWords],
    ) -> Self:
        """Run another workflow as a child: NAME[@V] of a deployed one, a file, or a ``Workflow``, which the
        document names, and which whoever starts a run brings along. Its output is the step's.
        """
        return self._add({"id": id, "workflow": workflow, "with": with_}, words)

    def send_signal(
        self, id: str, run: str, signal: str, payload: Any = UNSET, **words: Unpack[NamedWords]
    ) -> Self:
        """Send a signal to another run, once."""
        return self._add({"id": id, "send_signal": {"run": run, "signal": signal, "payload": payload}}, words)

    # --- waits

    def sleep(
        self, duration: Duration | None = None, *, until: str | datetime | None = None, **words: Unpack[Words]
    ) -> Self:
        """Wait for a time, or until one: a durable timer."""
        return self._add({"sleep": duration if until is None else {"until": until}}, words)

    def wait_for_signal(self, *names: str, **words: Unpack[WaitWords]) -> Self:
        """Receive one signal, the oldest of these names; the output is ``{signal, payload, received_at,
        principal}``.
        """
        return self._add({"wait_for_signal": names[0] if len(names) == 1 else list(names)}, words)

    # --- blocks

    def block(self, steps: Block, **words: Unpack[Words]) -> Self:
        """One step made of several."""
        return self._add({"steps": steps}, words)

    def parallel(
        self,
        branches: Mapping[str, Block | Branch],
        **words: Unpack[TogetherWords],
    ) -> Self:
        """Run branches at once; the output maps each to its result."""
        return self._add({"parallel": branches}, words)

    def foreach(self, items: str, steps: Block, **words: Unpack[EachWords]) -> Self:
        """Run steps for each element that an expression yields, seen as ``item`` or what ``as_`` says; the
        output is the list of results.
        """
        return self._add({"foreach": items, "steps": steps}, words)

    def while_(self, condition: Condition, steps: Block, **words: Unpack[LoopWords]) -> Self:
        """Repeat steps as long as a condition is true; tested before each iteration."""
        return self._add({"while": condition, "steps": steps}, words)

    def until(self, condition: Condition, steps: Block, **words: Unpack[LoopWords]) -> Self:
        """Repeat steps until a condition is true; tested after each iteration."""
        return self._add({"until": condition, "steps": steps}, words)

    def switch(
        self,
        *cases: tuple[Condition, Block],
        else_: Block | None = None,
        **words: Unpack[Words],
    ) -> Self:
        """Run the steps of the first case, ``(condition, steps)``, whose condition is true, or those of
        ``else_``.
        """
        written: list[Any] = [{"if": condition, "steps": steps} for condition, steps in cases]
        return self._add({"switch": [*written, *([] if else_ is None else [{"else": else_}])]}, words)

    def try_(self, steps: Block, **words: Unpack[TryWords]) -> Self:
        """Handle failures of steps: by ``catch``, one or a list of them, and ``finally_``."""
        return self._add({"try": steps}, words)

    # --- values

    def set(self, variables: Mapping[str, Any], **words: Unpack[Words]) -> Self:
        """Assign variables, seen as ``vars.NAME``."""
        return self._add({"set": variables}, words)

    def attributes(
        self,
        search: Mapping[str, Any] | None = None,
        memo: Mapping[str, Any] | None = None,
        **words: Unpack[Words],
    ) -> Self:
        """Merge into the run's search attributes and memo."""
        given = {"search": search, "memo": memo}
        return self._add(
            {"attributes": {key: value for key, value in given.items() if value is not None}}, words
        )

    def patch(
        self,
        change: str,
        min: int = UNSET,  # type: ignore[assignment]  # as above
        max: int = UNSET,  # type: ignore[assignment]  # as above
        **words: Unpack[Words],
    ) -> Self:
        """Which side of a change this run is on; the output is the version it is bound to."""
        return self._add({"patch": {"id": change, "min": min, "max": max}}, words)

    # --- ends

    def fail(
        self,
        type: str,
        message: str = UNSET,  # type: ignore[assignment]  # as above
        details: Any = UNSET,
        **words: Unpack[Words],
    ) -> Self:
        """Fail with this error."""
        return self._add({"fail": {"type": type, "message": message, "details": details}}, words)

    def return_(self, value: Any = None, **words: Unpack[EndWords]) -> Self:
        """End the run successfully with this output, from any depth."""
        return self._add({"return": value}, words)

    def continue_as_new(self, input: Any, **words: Unpack[EndWords]) -> Self:
        """End this run, and start its successor with a fresh history."""
        return self._add({"continue_as_new": {"input": input}}, words)

    def rollback(self, *, to: str | None = None, **words: Unpack[Words]) -> Self:
        """Undo what is registered so far, all of it or what came after the step ``to``, then go on."""
        what: Literal["all"] | dict[str, str] = "all" if to is None else {"to": to}
        return self._add({"rollback": what}, words)

    def _add(self, verb: Mapping[str, Any], words: Mapping[str, Any]) -> Self:
        """One step more; called by the methods only, because it looks who has called them."""
        said = {**verb, **{word.removesuffix("_"): value for word, value in words.items()}}
        first = {word: said.pop(word) for word in FIRST if word in said}
        self._steps.append(Written({**first, **said}, Site.of(sys._getframe(2))))
        return self
