"""What a retry takes back: the facts that a reopened run forgets, so that it goes on from where it failed.

A retry writes one fact, ``reopened``, and begins a generation. Nothing is deleted; but whoever recovers the
run from then on forgets, at that place of the record, what led to the failure, and so comes to the failed
step as if for the first time. Everything else is served as ever. The rules:

1. *The failed step begins anew*, and so does every step that failed because of it: the ones around it, and,
   where branches failed together, all of those. A step that begins anew forgets its attempts, its deadline
   and how it ended; it keeps what was decided before it began (its condition, the case taken, how many
   elements there are). One that completed, and failed later on (``output``), has not its attempts made again.
2. *What was interrupted by it begins anew*: whatever failed or was cancelled inside of a step after its time
   was up, or after one of its branches had failed.
3. *What it led to is forgotten*: that no catch fitted, and what ``finally`` did.
4. *What was caught stays.* Nothing outside of these steps is touched: a failure that somebody dealt with is
   part of the run's course.
5. *A run that was undone does not go forward again.* Of one that is ``compensation_failed`` only the
   compensations that failed begin anew, by the same rules; what the run itself did is served to the end. For
   one that failed inside of a part that is summed up, the sum is forgotten, so that the part is walked again.

The order of facts decides what came after what. A path says what is inside of what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from flowctl.machine.standing import Key
from flowctl.path import ROOT, Path
from flowctl.runtime import Answer
from flowctl.state import RunStatus

_ENDS = frozenset(
    {"failed", "cancelled", "timed_out", "deadline", "first_failed", "rolled_back", "held", "withheld"}
)
"""How a step ended, and what of that is decided anew. Of an attempt, everything is."""

_LISTED = frozenset({"not_undone", "undo_skipped"})
"""What is said of steps that were left as they are."""

_WAITS = frozenset({"sleep", "wait_for_signal"})
"""Verbs whose start fixes their end: it is fixed anew."""

_INTERRUPTS = frozenset({"timed_out", "first_failed", "winner", "left", "cancel_requested"})
"""What ends steps from outside, recorded at something around them."""


class Made(NamedTuple):
    """The attempts of a step that were forgotten: the ``number`` of the last one, whether the outcome of
    some is ``uncertain``, and how far they came (``heartbeat``, as JSON).
    """

    number: int = 0
    uncertain: bool = False
    heartbeat: bytes | None = None


def reopen(facts: dict[Key, Answer]) -> dict[str, Made]:
    """Forget what a retry takes back. ``facts`` are those in force before it; returns the attempts among
    them.
    """
    reopening = _Reopening(facts)
    ended = facts.pop((ROOT, "ended", 0), None)
    if ended is None:
        reopening.release_held()
    elif ended.value["status"] == RunStatus.COMPENSATION_FAILED:
        reopening.undo_again(ended.value["saga"]["failed"])
    else:
        reopening.go_on(ended.value["error"])
    return reopening.made


def is_held(facts: Mapping[Key, Answer]) -> bool:
    """Whether a failure holds the run."""
    return bool(_held(facts))


def _held(facts: Mapping[Key, Answer]) -> list[Key]:
    """A hold is over when something around it was interrupted since."""
    interrupted = [(path, fact.order) for (path, kind, _), fact in facts.items() if kind in _INTERRUPTS]
    return [
        key
        for key, held in facts.items()
        if key[1] == "held"
        and not any(order > held.order and Path(key[0]).is_within(path) for path, order in interrupted)
    ]


class _Reopening:
    """The facts that are left, and the steps that begin anew."""

    def __init__(self, facts: dict[Key, Answer]) -> None:
        self._facts = facts
        self._anew: set[str] = set()
        self._at: dict[str, list[Key]] = {}
        self.made: dict[str, Made] = {}
        for key in facts:
            self._at.setdefault(key[0], []).append(key)

    # --- where a run goes on

    def release_held(self) -> None:
        """A run that is held goes on from the steps that hold it."""
        for key in _held(self._facts):
            held = self._facts.pop(key)
            self._trace(held.value["error"], ROOT)

    def go_on(self, error: Mapping[str, Any]) -> None:
        """A run that failed, with nothing undone, goes on from where it failed or was interrupted."""
        self._trace(error, ROOT)
        for kind in ("timed_out", "cancel_requested"):
            interrupted = self._facts.pop((ROOT, kind, 0), None)
            if interrupted is not None:
                self._since(interrupted.order, ROOT)
        self._facts.pop((ROOT, "held", 0), None)
        undoing = self._facts.pop((ROOT, "compensating", 0), None)
        if undoing is not None:
            self._forget_listed(undoing.order)

    def _forget_listed(self, since: int) -> None:
        """Nothing was undone since then: that it could not be, is said when it is tried again."""
        for key in [key for key, fact in self._facts.items() if key[1] in _LISTED and fact.order > since]:
            del self._facts[key]

    def undo_again(self, steps: Iterable[str]) -> None:
        """What could not be undone is undone now; the run's own course stays what it was."""
        begun = self._facts.get((ROOT, "compensating", 0))
        for step in map(Path, steps):
            undo = step.undo
            orders = [fact.order for key, fact in self._facts.items() if Path(key[0]).is_within(undo)]
            if orders and (begun is None or min(orders) < begun.order):  # undone while the run went on
                self._walk_again(step)
            self._begin_anew(undo)

    def _walk_again(self, step: Path) -> None:
        for around in step.ancestors():
            for kind in ("completed", "failed"):
                if "left" in getattr(self._facts.get((around, kind, 0)), "value", ()):
                    del self._facts[around, kind, 0]

    # --- what begins anew

    def _trace(self, error: Mapping[str, Any], around: Path) -> None:
        """Everything that failed with this error, as far as it is inside of ``around``, begins anew."""
        for path in Path(error["step"] or "").ancestors():
            if path.is_within(around):
                self._begin_anew(path)
        for cause in _joined(error):
            self._trace(cause, around)
        for step in _not_undone(error):
            self._begin_anew(Path(step).undo)

    def _since(self, order: int, around: Path) -> None:
        """Whatever failed or was interrupted inside of ``around`` since then begins anew."""
        for (path, kind, _), fact in list(self._facts.items()):
            if kind in ("failed", "cancelled") and fact.order > order and Path(path).is_within(around):
                self._begin_anew(Path(path))

    def _begin_anew(self, path: Path) -> None:
        if path in self._anew:
            return
        self._anew.add(path)
        keys = self._at.get(path, ())
        completed = any(kind == "completed" for _, kind, _ in keys)
        forgotten = [
            (key, self._facts.pop(key))
            for key in keys
            if key in self._facts and _is_forgotten(key, self._facts[key].value, completed)
        ]
        self._forget_cleanup(path)
        for (_, kind, attempt), fact in forgotten:
            if attempt:
                self._count(path, kind, attempt, fact.value)
            if kind == "failed":
                self._trace(fact.value["error"], path)
            elif kind in ("timed_out", "first_failed"):
                self._since(fact.order, path)

    def _count(self, path: Path, kind: str, attempt: int, data: Mapping[str, Any]) -> None:
        known, uncertain = self.made.get(path, Made()), bool(data.get("uncertain"))
        came = msgspec.json.encode(data["heartbeat"]) if "heartbeat" in data else known.heartbeat
        if kind == "started" or uncertain or came is not None:
            self.made[path] = Made(max(known.number, attempt), known.uncertain or uncertain, came)

    def _forget_cleanup(self, path: Path) -> None:
        """What ``finally`` did after a step inside of the same ``try``."""
        for clause in path.ancestors():
            around, _, word = clause.rpartition(".")
            if word == "try" or word.startswith("catch_"):
                cleanup = Path(around) / "finally"
                for key in [key for key in self._facts if Path(key[0]).is_within(cleanup)]:
                    del self._facts[key]


def _is_forgotten(key: Key, data: Mapping[str, Any], completed: bool) -> bool:
    """Whether a step that begins anew forgets this about itself."""
    _, kind, attempt = key
    if attempt:
        return not completed
    if kind == "started":
        return data.get("verb") in _WAITS and not completed
    return kind in _ENDS or (kind == "caught" and data["catch"] is None)


def _joined(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The errors of branches that failed together. Anybody may call an error so: its details are anything."""
    details = error["details"] if error["type"] == "BranchesFailed" else None
    return [each for each in details if _is_error(each)] if isinstance(details, list) else []


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() >= {"type", "step", "details"} and _is_path(value["step"])


def _not_undone(error: Mapping[str, Any]) -> list[str]:
    """The steps that a rollback could not undo."""
    details = error["details"] if error["type"] == "CompensationFailed" else None
    steps = details.get("steps") if isinstance(details, dict) else None
    return [step for step in steps if _is_path(step)] if isinstance(steps, list) else []


def _is_path(value: Any) -> bool:
    return value is None or isinstance(value, str)
