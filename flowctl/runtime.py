"""The Runtime protocol: everything a run may ask of the world, and the contract of whoever answers.

Each request is named by a **path**, and asking twice at the same path gives the same answer. So recovery
is running the interpreter again from the top: recorded answers come back at once, and the first request
without one is where the run goes on. What an implementation must keep:

1. *Recorded before acted upon.* An activity is called only after everything the run did before is
   durable.
2. *Recorded decisions stand.* Chance, clocks and expressions are asked once; afterwards the record
   answers.
3. *Cancellation reaches what must wait.* A request with a recorded answer returns it even in a cancelled
   scope. A request that must wait raises ``Cancelled``; an attempt in flight is told, and awaited until
   it ends or times out.
4. *Mismatch parks.* If the record and the request disagree (``Call.digest``), the run is ``Blocked``,
   never guessed at.
5. *Order is the run's own.* Tasks advance in document order where nothing else decides.

Times are milliseconds since the epoch, UTC; data is JSON; ``order`` numbers what happened in one run,
growing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from flowctl.errors import Cancelled, Failure, StepFailed
from flowctl.expressions import SecretRef
from flowctl.model import Policy
from flowctl.path import Path
from flowctl.retry import RetryPolicy
from flowctl.state import RunStatus

Thunk = Callable[[], Awaitable[Any]]
Mode = Literal["all", "settled"]


class RunInfo(msgspec.Struct, frozen=True, gc=False):
    """What does not change about a run while it is executed."""

    id: str
    workflow_id: str
    workflow: str
    version: int
    parent_id: str | None
    started_at: int
    attempt: int
    task_queue: str
    namespace: str
    trace_id: str | None
    principal: str | None


CallKind = Literal["activity", "workflow", "detached", "send_signal", "undo_child", "close_child"]
"""What is called: an activity, or the engine itself. A ``workflow`` is awaited, a ``detached`` one is not."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call of an activity, the same for all its attempts; or, with another ``kind``, of the engine, which
    does nothing twice however often it is asked.

    ``arguments`` is the canonical JSON of the keyword arguments, with null where a secret goes;
    ``secrets`` maps JSON pointers to the parts of the text to put there. ``timeout`` is per attempt.
    ``digest`` is over all that makes it this call. ``closes``: the child that it starts ends with the run.
    """

    name: str
    arguments: bytes
    secrets: Mapping[str, Sequence[str | SecretRef]]
    key: str
    digest: str
    timeout: int
    total_timeout: int | None
    heartbeat_timeout: int | None
    retry: RetryPolicy
    secret: bool = False
    kind: CallKind = "activity"
    closes: bool = False


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer from outside: its value, when it was recorded, and its place in the order of the run.

    ``attempt`` is the one of a call that brought it, 0 if there are none. ``served``: it is that of another
    run, which this one repeats.
    """

    value: Any
    at: int
    order: int
    attempt: int = 0
    served: bool = False

    def of(self, key: str, attempt: int = 0) -> Answer:
        """The same answer, narrowed to one key of its value."""
        return Answer(self.value[key], self.at, self.order, attempt, self.served)


class CallFailed(StepFailed):
    """An activity failed for good.

    ``order`` is that of its last attempt's end. ``attempted``: an attempt was started. ``uncertain``:
    some attempt ended without an answer, so its effect may have happened.
    """

    def __init__(self, failure: Failure, *, order: int, at: int, attempted: bool, uncertain: bool) -> None:
        super().__init__(failure)
        self.order = order
        self.at = at
        self.attempted = attempted
        self.uncertain = uncertain


class CallCancelled(Cancelled):
    """An activity was interrupted: as ``CallFailed``, but the scope was cancelled."""

    def __init__(self, scope: object, *, order: int, at: int, attempted: bool, uncertain: bool) -> None:
        super().__init__(scope)
        self.order = order
        self.at = at
        self.attempted = attempted
        self.uncertain = uncertain


class Settled(msgspec.Struct, frozen=True):
    """How one branch ended: its value, or its failure."""

    value: Any = None
    failure: Failure | None = None


class End(msgspec.Struct, frozen=True):
    """How a run ended. ``saga`` lists paths: ``undone failed in_doubt not_undone skipped``.

    ``left`` is what can still be undone, as data for whoever undoes it: a parent, or the successor, whose
    input is the ``output`` of a run that ``continued``. ``secret``: the output may be that of a secret step.
    """

    status: RunStatus
    output: Any
    error: Failure | None
    saga: dict[str, list[str]]
    left: Mapping[str, Any] = {}
    secret: bool = False


class Runtime(Protocol):
    """What the interpreter asks. Verbs that may have to wait are coroutines."""

    @property
    def info(self) -> RunInfo:
        """The run."""

    @property
    def settings(self) -> Policy:
        """The defaults of this installation (``flowctl.toml``), the last to be asked."""

    @property
    def inherited(self) -> Mapping[str, Any]:
        """``left`` of the run before this one in its chain; with ``why``, an error, this run only undoes
        it.
        """

    def facts(self) -> dict[str, Any]:
        """What changes about the run as it goes: ``elapsed`` in seconds, ``history_length``,
        ``history_size``.
        """

    def declared(self, activity: str) -> Policy | None:
        """The policy the activity declares for itself. Raises ``Blocked`` if this installation does not
        have it.
        """

    def decide(self, path: Path, kind: str, thunk: Callable[[], dict[str, Any]]) -> Answer:
        """The recorded data of that kind at that path; if there is none, what ``thunk`` returns is
        recorded. Never waits.
        """

    def remembered(self, path: Path, kind: str) -> Answer | None:
        """The recorded data of that kind at that path, if there is any. What is remembered as ``completed``
        or ``failed`` need not be walked again.
        """

    def was_past(self, root: Path) -> bool:
        """Whether something is on record in the branch ``root`` that was not asked for yet: the run has been
        beyond this point before.
        """

    def describe(self, search: Mapping[str, Any], memo: Mapping[str, Any]) -> None:
        """Merge into the run's search attributes and memo. Called while a decision is made, so once."""

    def activity(self, path: Path, call: Call) -> Awaitable[Answer]:
        """Make a call with all its attempts. Raises ``CallFailed``, ``CallCancelled``; ``Blocked`` on a
        mismatch. A child that is cancelled is awaited until it has undone what it did.
        """

    def sleep(self, path: Path, until: Callable[[int], int]) -> Awaitable[Answer]:
        """Wait for a moment, computed once from the present one. Raises ``Cancelled``."""

    def wait_signal(self, path: Path, names: Sequence[str], timeout: int | None) -> Awaitable[Answer]:
        """Receive the oldest signal of those names: ``{signal, payload, received_at, principal}``, or
        null after ``timeout``.
        """

    async def all(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None, mode: Mode = "all"
    ) -> list[Settled]:
        """Run thunks at once, at most ``limit`` together, and wait for every one of them.

        ``all``: the first failure cancels the others and is raised once they have ended. ``settled``:
        failures are results.
        """

    async def first(
        self, path: Path, thunks: Sequence[Thunk], *, limit: int | None = None
    ) -> tuple[int, Any]:
        """The first success and its index, once the others, which are cancelled, have ended.

        If all fail: ``StepFailed`` with ``BranchesFailed``, whose ``details`` lists the errors in order.
        """

    async def deadline(self, path: Path, timeout: int, thunk: Thunk) -> Any:
        """What ``thunk`` returns, unless ``timeout`` milliseconds pass first: then it is cancelled, and
        ``StepFailed`` with ``Timeout`` raised once it has ended, even if it ended well.
        """

    async def shielded(self, thunk: Thunk) -> Any:
        """Run ``thunk`` out of reach of every cancellation and deadline around it."""

    def gated(self) -> bool:
        """Whether the run is paused, or was: then ``may_begin`` is asked before every step."""

    async def may_begin(self, path: Path) -> None:
        """Return once the step may begin: at once if it is on record or the run is not paused. Raises
        ``Cancelled``.
        """

    @property
    def skipped(self) -> frozenset[str]:
        """The steps that a person has undone, or seen to: nothing undoes them any more."""

    async def hold(self, path: Path, failure: Failure) -> None:
        """Park the run as ``paused`` with its error until somebody decides. Raises ``Cancelled``."""

    def heed(self, *, begins: bool = False) -> None:
        """Raise ``Cancelled`` if the scope was cancelled: what a run asks before it calls itself completed,
        and before something ``begins``; then deadlines that have passed take effect first.
        """
