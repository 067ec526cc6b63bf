"""What a document means once it is read: frozen structs, one class per verb.

Built by ``document`` only, from a document that was checked; walked by ``interpreter`` only. Durations are
milliseconds. Everything an author wrote as ``${{ … }}`` is a parsed ``Template`` or ``Expression`` here, so
nothing is parsed while a run goes on.

Structs rather than dataclasses: every command that touches a document defines all of these classes, and a
dataclass, which writes itself as source and compiles it, takes twenty times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from flowctl.expressions import Expression, Template
from flowctl.retry import RetryPolicy

After = Literal["completed", "attempted"]
OnFailure = Literal["compensate", "hold"]
Wait = Literal["all", "any", "settled"]


class Policy(msgspec.Struct, frozen=True):
    """Limits and retries of an activity's attempts, as far as one place states them; None is "not said
    here".
    """

    timeout: int | None = None
    total_timeout: int | None = None
    heartbeat_timeout: int | None = None
    retry: RetryPolicy | None = None

    def over(self, other: Policy | None) -> Policy:
        """This policy where it says something, each attribute whole, else ``other``."""
        if other is None:
            return self
        return Policy(
            timeout=self.timeout if self.timeout is not None else other.timeout,
            total_timeout=self.total_timeout if self.total_timeout is not None else other.total_timeout,
            heartbeat_timeout=(
                self.heartbeat_timeout if self.heartbeat_timeout is not None else other.heartbeat_timeout
            ),
            retry=self.retry if self.retry is not None else other.retry,
        )


NO_POLICY = Policy()


class ChildReference(msgspec.Struct, frozen=True):
    """Which workflow a step runs: ``text`` as its author wrote it (``NAME``, ``NAME@V`` or a file), the key
    under which a run pins the child's document.
    """

    text: str


class Compensation(msgspec.Struct, frozen=True):
    """What undoes a step: one activity, a list of steps, a child, or (``rollback``) what is left to undo of
    the child that the step ran.

    ``policy`` is its own, laid over that of the entry it names. ``captures`` are the references of all
    its expressions: the part of the scope that must be kept from the moment the step starts until it is
    undone.
    """

    activity: str | None
    arguments: Template
    steps: tuple[Step, ...] = ()
    ids: tuple[str, ...] = ()
    policy: Policy = NO_POLICY
    after: After = "completed"
    on_failure: Literal["continue", "stop"] = "continue"
    captures: frozenset[tuple[str, ...]] = frozenset()
    child: ChildReference | None = None
    rollback: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What all verbs have in common.

    ``segment`` is the step's part of the path: its id, or ``_sleep1`` counted per verb in its list.
    ``timeout`` is the whole step's, for every verb but ``activity``, whose is per attempt
    (``ActivityStep.policy``). ``irreversible`` is the author's message, or "" if there is none. ``reads``
    names the facts of the run that its expressions read and that must be recorded when read (``elapsed``,
    ``history_length``, ``history_size``). ``secret_result``: what it results in may be the output of a secret
    step inside of it (``ends_secret``). ``plain``, which follows from the rest: there is nothing to do for a
    step beside its verb, no time to watch, nothing to register or to reshape.
    """

    verb: ClassVar[str]

    segment: str
    id: str | None = None
    condition: Expression | None = None
    timeout: int | None = None
    compensation: Compensation | None = None
    irreversible: str | None = None
    optional: bool = False
    on_failure: OnFailure | None = None
    output: Template | None = None
    secret: bool = False
    pivot: bool = False
    commit: bool = False
    description: str | None = None
    metadata: Mapping[str, Any] | None = None
    reads: frozenset[str] = frozenset()
    secret_result: bool = False
    plain: bool = False

    def __post_init__(self) -> None:
        extras = (self.timeout, self.compensation, self.irreversible, self.output)
        plain = not self.pivot and all(extra is None for extra in extras)
        msgspec.structs.force_setattr(self, "plain", plain)


def ends_secret(steps: Sequence[Step]) -> bool:
    """Whether a list of steps may result in the output of a secret one: that of the last step that runs. What
    an author writes in an ``output`` is for others to see.
    """
    for step in reversed(steps):
        if step.secret or (step.secret_result and step.output is None):
            return True
        if step.condition is None:
            return False
    return False


class ActivityStep(Step, frozen=True, kw_only=True, eq=False):
    """``activity``: call a registered activity. ``name`` is the registered name, entries resolved."""

    verb: ClassVar[str] = "activity"

    name: str
    arguments: Template
    policy: Policy = NO_POLICY
    idempotency_key: Template | None = None


class SleepStep(Step, frozen=True, kw_only=True, eq=False):
    """``sleep``: a durable timer; ``duration`` renders to a duration's text, or ``until`` to a timestamp."""

    verb: ClassVar[str] = "sleep"

    duration: Template | None = None
    until: Template | None = None


class WaitStep(Step, frozen=True, kw_only=True, eq=False):
    """``wait_for_signal``: receive one signal, the oldest not yet received of those names."""

    verb: ClassVar[str] = "wait_for_signal"

    signals: tuple[str, ...]
    on_timeout: Literal["fail", "continue"] = "fail"


class BlockStep(Step, frozen=True, kw_only=True, eq=False):
    """``steps``: one step made of several; its ids belong to the enclosing scope."""

    verb: ClassVar[str] = "steps"

    steps: tuple[Step, ...]


class Case(msgspec.Struct, frozen=True):
    """One case of a switch; ``condition=None`` is ``else``. ``segment`` is ``case_1``, ``case_2``, … or
    ``else``.
    """

    segment: str
    condition: Expression | None
    steps: tuple[Step, ...]


class SwitchStep(Step, frozen=True, kw_only=True, eq=False):
    """``switch``: the first true case runs; none true and no ``else`` is a no-op."""

    verb: ClassVar[str] = "switch"

    cases: tuple[Case, ...]


class ParallelBranch(msgspec.Struct, frozen=True):
    """A branch of ``parallel``: a scope of its own, of which only the result is seen outside."""

    name: str
    steps: tuple[Step, ...]
    ids: tuple[str, ...]
    output: Template | None = None

    @property
    def secret_result(self) -> bool:
        """As of a step."""
        return self.output is None and ends_secret(self.steps)


class ParallelStep(Step, frozen=True, kw_only=True, eq=False):
    """``parallel``: run branches at once, at most ``concurrency`` together (None is all)."""

    verb: ClassVar[str] = "parallel"

    branches: tuple[ParallelBranch, ...]
    wait: Wait = "all"
    concurrency: int | None = None


class ForeachStep(Step, frozen=True, kw_only=True, eq=False):
    """``foreach``: run ``steps`` for each element; ``ids`` are those of an iteration's own scope."""

    verb: ClassVar[str] = "foreach"

    items: Expression
    variable: str
    steps: tuple[Step, ...]
    ids: tuple[str, ...]
    wait: Wait = "all"
    concurrency: int = 1


class LoopStep(Step, frozen=True, kw_only=True, eq=False):
    """``while`` and ``until``: repeat as long as ``test`` holds, asked before each iteration, or until it
    does, asked after. ``test_reads`` are the facts of the run that it reads, each time it is asked anew.
    """

    test: Expression
    test_reads: frozenset[str] = frozenset()
    steps: tuple[Step, ...]
    ids: tuple[str, ...]
    max_iterations: int = 1000


class WhileStep(LoopStep, frozen=True, kw_only=True, eq=False):
    """``while``: tested before each iteration."""

    verb: ClassVar[str] = "while"


class UntilStep(LoopStep, frozen=True, kw_only=True, eq=False):
    """``until``: tested after each iteration."""

    verb: ClassVar[str] = "until"


class Catch(msgspec.Struct, frozen=True):
    """One catch of a ``try``. ``segment`` is ``catch_1``, ``catch_2``, …; ``errors=None`` is all;
    ``variable`` is the error's name in ``condition`` and ``steps``.
    """

    segment: str
    errors: tuple[str, ...] | None
    condition: Expression | None
    variable: str
    rollback: bool
    steps: tuple[Step, ...]


class TryStep(Step, frozen=True, kw_only=True, eq=False):
    """``try``: handle failures of ``steps``; ``cleanup`` is ``finally``. All ids belong to the enclosing
    scope.
    """

    verb: ClassVar[str] = "try"

    steps: tuple[Step, ...]
    catches: tuple[Catch, ...]
    cleanup: tuple[Step, ...]


class WorkflowStep(Step, frozen=True, kw_only=True, eq=False):
    """``workflow``: run a child. ``policy`` has ``retry`` only: ``total_timeout`` is the step's
    ``timeout``.
    """

    verb: ClassVar[str] = "workflow"

    child: ChildReference
    arguments: Template
    detached: bool = False
    on_parent_close: Literal["cancel", "abandon"] = "cancel"
    policy: Policy = NO_POLICY


class SendSignalStep(Step, frozen=True, kw_only=True, eq=False):
    """``send_signal``: ``message`` renders to ``{run, signal, payload}``."""

    verb: ClassVar[str] = "send_signal"

    message: Template


class SetStep(Step, frozen=True, kw_only=True, eq=False):
    """``set``: assign ``vars``; the output is the mapping. All values see the vars as they were before."""

    verb: ClassVar[str] = "set"

    values: Template


class PatchStep(Step, frozen=True, kw_only=True, eq=False):
    """``patch``: the version of a change that the run is bound to, from ``min`` to ``max``."""

    verb: ClassVar[str] = "patch"

    change: str
    min: int
    max: int


class AttributesStep(Step, frozen=True, kw_only=True, eq=False):
    """``attributes``: ``values`` renders to ``{search, memo}``, either of which may be left out."""

    verb: ClassVar[str] = "attributes"

    values: Template


class ContinueStep(Step, frozen=True, kw_only=True, eq=False):
    """``continue_as_new``: end this run and start its successor with ``input``."""

    verb: ClassVar[str] = "continue_as_new"

    input: Template


class RollbackStep(Step, frozen=True, kw_only=True, eq=False):
    """``rollback``: undo what this branch has registered, back to the step ``to`` (kept), or all of it."""

    verb: ClassVar[str] = "rollback"

    to: str | None


class ReturnStep(Step, frozen=True, kw_only=True, eq=False):
    """``return``: end the run successfully with that output, from any depth."""

    verb: ClassVar[str] = "return"

    value: Template


class FailStep(Step, frozen=True, kw_only=True, eq=False):
    """``fail``: ``error`` renders to ``{type, message, details}``."""

    verb: ClassVar[str] = "fail"

    error: Template


class Signal(msgspec.Struct, frozen=True):
    """A signal the document declares; ``check`` returns what is wrong with a payload, or None."""

    name: str
    description: str | None
    payload_schema: Mapping[str, Any] | None
    check: Callable[[Any], str | None]


class ResolvedPolicy(NamedTuple):
    """The policy of a step's calls, and the two places outside of the document that it was resolved from."""

    declared: Policy | None
    settings: Policy
    policy: Policy


class Workflow(msgspec.Struct, frozen=True, eq=False):
    """A document, read and checked.

    ``body`` is the document as JSON and ``digest`` the sha256 of its canonical form (``sha256:…``): what a
    run pins. ``ids`` are the step ids of the top-level scope. ``children`` are the workflows it runs, each
    once; ``undo`` finds a step's compensation by its path without iteration numbers, so that what was
    registered can be kept as data. ``prepare_input`` fills defaults in and raises ``InvalidInput``;
    ``check_output`` returns what is wrong with an output, or None.
    """

    name: str
    version: int
    digest: str
    body: Mapping[str, Any]
    timeout: int
    steps: tuple[Step, ...]
    ids: tuple[str, ...]
    output: Template | None
    signals: Mapping[str, Signal]
    secrets: frozenset[str]
    defaults: Policy
    on_failure: OnFailure
    deprecated: str | None
    description: str | None
    input_schema: Mapping[str, Any] | None
    prepare_input: Callable[[Any], dict[str, Any]]
    check_output: Callable[[Any], str | None]
    activities: frozenset[str]
    children: tuple[ChildReference, ...] = ()
    undo: Mapping[str, Compensation] = {}
    reads: frozenset[str] = frozenset()
    resolved: dict[Step, ResolvedPolicy] = msgspec.field(default_factory=dict)

    @property
    def secret_result(self) -> bool:
        """As of a step."""
        return self.output is None and ends_secret(self.steps)
