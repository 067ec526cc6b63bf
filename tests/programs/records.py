"""What the reference keeps while it walks a document, and what it reads in one."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowctl.clock import parse_duration
from flowctl.retry import ONCE, RetryPolicy
from tests.programs.world import Cut, Error

Data = Mapping[str, Any]

VERBS = (
    "activity", "workflow", "sleep", "wait_for_signal", "switch", "parallel", "foreach", "while", "until",
    "try", "set", "patch", "attributes", "fail", "return", "rollback", "send_signal",
    "continue_as_new", "steps",
)  # fmt: skip
"""``steps`` comes last, because loops have it as an attribute."""

PENDING = {"status": "pending", "output": None, "error": None}


@dataclasses.dataclass
class Scope:
    """The names that expressions see."""

    steps: dict[str, Any]
    vars: dict[str, Any]
    extra: dict[str, Any]

    def resolve(self, name: str) -> Any:
        """See ``flowctl.expressions.Names``."""
        return {"steps": self.steps, "vars": self.vars, **self.extra}[name]

    def known(self) -> Iterable[str]:
        """See ``flowctl.expressions.Names``."""
        return ["steps", "vars", *self.extra]

    def inner(self, steps: Sequence[Data] = (), **extra: Any) -> Scope:
        """A scope of its own inside this one: nothing that happens in it is seen outside."""
        inside = self.steps | dict.fromkeys(ids_in(steps), PENDING)
        return Scope(inside, copy.deepcopy(self.vars), self.extra | extra)


@dataclasses.dataclass(frozen=True, eq=False)
class Registered:
    """Something to undo, or (``undo`` None) that cannot be undone."""

    at: int
    lane: str
    path: str
    id: str | None
    undo: Data | None
    scope: Scope
    args: Any
    result: Any
    key: str


@dataclasses.dataclass(frozen=True)
class Noted:
    """Something that happened, in the order of time: a call, or an entry of the saga."""

    at: int
    lane: str
    kind: str
    path: str
    data: Any = None


@dataclasses.dataclass(frozen=True)
class Called:
    """How a call with all its attempts ended: with ``value``, ``failed``, or interrupted by ``cut``.
    ``at`` is when its last attempt ended.
    """

    at: int
    value: Any = None
    failed: Error | None = None
    cut: Cut | None = None
    attempted: bool = True
    uncertain: bool = False


@dataclasses.dataclass(frozen=True)
class Decision:
    """The branch of number ``by`` stops the others; ``immediate``, before those after it could begin."""

    stop: Cut
    by: int
    immediate: bool


# --- documents


def ids_in(steps: Sequence[Data]) -> Iterator[str]:
    """The ids that belong to the scope of a list of steps."""
    for step in steps:
        if "id" in step:
            yield step["id"]
        verb = verb_of(step)
        if verb == "steps":
            yield from ids_in(step["steps"])
        elif verb == "switch":
            for case in step["switch"]:
                yield from ids_in(case.get("steps", case.get("else", ())))
        elif verb == "try":
            yield from ids_in(step["try"])
            for catch in catches_of(step):
                yield from ids_in(catch.get("steps", ()))
            yield from ids_in(step.get("finally", ()))


def verb_of(step: Data) -> str:
    """The verb of a step."""
    return next(verb for verb in VERBS if verb in step)


def catches_of(step: Data) -> Sequence[Data]:
    """The catches of a ``try``."""
    caught = step.get("catch", ())
    return [caught] if isinstance(caught, dict) else caught


def matches(caught: Error, names: Iterable[str] | None) -> bool:
    """Whether an error is one of these types; None is all."""
    return names is None or any(name == "*" or name in caught["types"] for name in names)


def retry_policy(written: Any) -> RetryPolicy:
    """``retry`` as arithmetic."""
    if written is False:
        return ONCE
    return RetryPolicy(**{key: RETRY.get(key, lambda value: value)(value) for key, value in written.items()})


RETRY: Mapping[str, Callable[[Any], Any]] = {
    "delay": parse_duration, "max_delay": parse_duration, "factor": float, "retryable": tuple,
    "non_retryable": tuple,
}  # fmt: skip


def related(one: str, other: str) -> bool:
    """Whether one of two lanes is, or is inside of, the other: then what happens there has an order."""
    return one.startswith(other) or other.startswith(one)


def inside(path: str, around: str) -> bool:
    """Whether a path lies beneath another."""
    return path.startswith((f"{around}.", f"{around}["))


def shortened(key: str) -> str:
    """An idempotency key, shortened if it is too long."""
    return key if len(key) <= 200 else hashlib.sha256(key.encode()).hexdigest()
