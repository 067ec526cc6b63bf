"""The words of the language as types, so that editors complete them and type checkers know them.

``schemas/workflow.schema.json`` says what they mean; a test holds the two against each other. Words that
Python keeps for itself have ``_`` behind them where they name an argument: ``if_``, ``with_``, ``as_``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from flowctl.building.steps import Steps

Duration = str | timedelta
"""``30s``, ``1h30m``, ``timedelta(minutes=5)``."""

Condition = str | bool
"""An expression that yields true or false: ``input.amount > 1000``."""

ActivityName = str | Callable[..., Any]
"""The name of an activity, or a function declared with ``@activity``."""

Block: TypeAlias = "Steps | Sequence[Mapping[str, Any]]"
"""A list of steps."""


class Retry(TypedDict, total=False):
    """``attempts`` counts tries, the first included."""

    attempts: int
    delay: Duration
    backoff: Literal["constant", "linear", "exponential"]
    factor: float
    max_delay: Duration
    jitter: bool
    retryable: Sequence[str]
    non_retryable: Sequence[str]
    on_worker_lost: Literal["retry", "fail"]


Compensation = TypedDict(
    "Compensation",
    {
        "activity": ActivityName,
        "workflow": str,
        "steps": Block,
        "with": Mapping[str, Any] | str,
        "retry": Retry | Literal[False],
        "timeout": Duration,
        "after": Literal["completed", "attempted"],
        "on_failure": Literal["continue", "stop"],
    },
    total=False,
)
"""What undoes a step: one of ``activity``, ``workflow`` and ``steps``, and how."""

Catch = TypedDict(
    "Catch",
    {
        "errors": Sequence[str],
        "if": Condition,
        "as": str,
        "rollback": bool,
        "steps": Block,
    },
    total=False,
)
"""What to do about a failure; without ``errors`` about any."""


class Branch(TypedDict, total=False):
    steps: Block
    output: Any


"""A branch of ``parallel`` with an output of its own."""


class Policy(TypedDict, total=False):
    """How attempts of activities are made."""

    timeout: Duration
    total_timeout: Duration
    heartbeat_timeout: Duration
    retry: Retry | Literal[False]


class EntryWords(Policy, total=False):
    """An activity entry: policy and compensation of a registered activity."""

    compensate: Compensation | Literal["none", "rollback"]
    description: str
    metadata: Mapping[str, Any]


class Always(TypedDict, total=False):
    """What every step takes, beside its id."""

    if_: Condition
    secret: bool
    description: str
    metadata: Mapping[str, Any]


class EndWords(Always, total=False):
    """What a step takes that ends the run."""

    id: str


class NamedWords(Always, total=False):
    """What all others take: those whose id comes first, …"""

    timeout: Duration
    compensate: Compensation | Literal["none", "rollback"]
    irreversible: bool | str
    optional: bool
    on_failure: Literal["compensate", "hold"]
    output: Any
    pivot: bool
    commit: bool


class Words(NamedWords, total=False):
    """… and those that need none."""

    id: str


class ActivityWords(NamedWords, total=False):
    """What ``step`` takes."""

    total_timeout: Duration
    heartbeat_timeout: Duration
    retry: Retry | Literal[False]
    idempotency_key: str


class ChildWords(NamedWords, total=False):
    """What ``workflow`` takes."""

    detached: bool
    on_parent_close: Literal["cancel", "abandon"]
    total_timeout: Duration
    retry: Retry | Literal[False]


class WaitWords(Words, total=False):
    """What ``wait_for_signal`` takes."""

    on_timeout: Literal["fail", "continue"]


class TogetherWords(Words, total=False):
    """What ``parallel`` takes."""

    wait: Literal["all", "any", "settled"]
    concurrency: int


class EachWords(TogetherWords, total=False):
    """What ``foreach`` takes."""

    as_: str


class LoopWords(Words, total=False):
    """What ``while_`` and ``until`` take."""

    max_iterations: int


class TryWords(Words, total=False):
    """What ``try_`` takes."""

    catch: Catch | Sequence[Catch]
    finally_: Block


class DocumentWords(TypedDict, total=False):
    """What stands at the top of a document, beside what ``Workflow`` has methods for."""

    version: int
    description: str
    deprecated: bool | str
    timeout: Duration
    on_failure: Literal["compensate", "hold"]
