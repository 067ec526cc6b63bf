"""What a run looks like from outside: its status document and its history, folded from the row and the facts.

Nothing about steps is stored twice: the journal has facts, and this module adds them up whenever somebody
looks (docs/cli.md has the shapes). Pure: no clock, no journal, no display.

The rules:

1. ``_FOLDS`` says what each kind of fact does to the step it happened to. A kind without an entry there
   (``read``, ``winner``, …) only tells that the step was reached.
2. A compensation, the path ``X.undo``, is folded like a step and shown as a part of ``X``. Steps *inside* a
   compensation (``X.undo.y``) are steps.
3. A run that starts to compensate, or ends, leaves nothing in progress: what has not ended by then was
   interrupted. And on what was undone the recorded saga has the last word. A step of which something cannot
   be undone stays what it was, whatever its compensation could do.
   After a retry the facts of the new generation count, step by step; a step that had ended goes on when
   something inside of it does.
4. What ``secret: true`` covers shows no data: the step, everything beneath it, and its compensation. Neither
   does a result that is, or has in it, what such a step ended with (``secret_output``), nor a run that such a
   step has run (``is_secret``): nothing of it.
   References to secrets are shown as the author wrote them.

Times inside are milliseconds; what leaves here has RFC 3339 text in UTC.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from flowctl.clock import format_timestamp
from flowctl.journal import Entry, Fact, Run, as_accepted, is_secret
from flowctl.state import RunStatus, StepStatus

_S = StepStatus

_IN_PROGRESS = frozenset({_S.PENDING, _S.RUNNING, _S.RETRYING, _S.WAITING})
_ENDED_BADLY = frozenset({_S.FAILED, _S.CANCELLED})
_WAITS = frozenset({"sleep", "wait_for_signal"})
"""Verbs that hold nothing while they go on."""

_LEAVES = _WAITS | {"activity", "workflow"}
"""Verbs that end by themselves. Any other is made of steps, and completes when one of them returns."""

_UNDO = ".undo"
_UNDOING = {
    _S.COMPLETED: _S.COMPENSATED,
    _S.FAILED: _S.COMPENSATION_FAILED,
    _S.CANCELLED: _S.COMPENSATION_FAILED,
}
"""The state of a compensation by how its own work ended; before that it is compensating."""

_NO_SAGA: Mapping[str, Sequence[str]] = {
    "undone": (),
    "failed": (),
    "in_doubt": (),
    "not_undone": (),
    "skipped": (),
}
_PARTS = frozenset({"branch", "iteration"})
"""Verbs of what is no step itself: a branch of ``parallel``, an iteration of a loop."""

_LEFT = "left"
"""What such a part left behind for whoever recovers the run: of no interest to people."""

_HIDDEN = ("input", "output", "secrets", "heartbeat", "vars")
_TIMES = ("until", "retry_at")


def status_document(
    run: Run, entries: Iterable[Entry], *, first: int | None = None, count: int = 200
) -> dict[str, Any]:
    """The document. ``steps`` are the last ``count``, or ``count`` from number ``first`` (from 1) on."""
    return folded(run, Fold.of(entries, SecretPaths.of(run)), first=first, count=count)


def folded(run: Run, fold: Fold, *, first: int | None = None, count: int = 200) -> dict[str, Any]:
    """The same of entries that were added up already."""
    secret = is_secret(run)
    data = {
        "input": None if secret else _plain(run.input),
        "output": None if secret or fold.secret_output else _plain(run.output),
    }
    return _document(run, fold) | data | {"steps": fold.page(first=first, count=count)}


def summary(run: Run, entries: Iterable[Entry] | None = None) -> dict[str, Any]:
    """The status document without ``input output steps``.

    Without ``entries``, only the row is looked at: ``step_counts`` is null, and ``current_steps`` is what
    the run waits for.
    """
    document = _document(run, Fold.of(entries or ()))
    del document["input"], document["output"], document["steps"]
    if entries is None:
        document["step_counts"] = None
        document["current_steps"] = [waiting["path"] for waiting in document["waiting_for"]]
    return document


def history_lines(run: Run, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """One line a fact, in order: ``{seq, at, path, kind, attempt, …}`` and the fact's data; first that it
    was created.

    ``seq`` is the entry's number in the journal: it grows, facts that were recorded in one entry share it,
    and ``created`` has 0. ``path`` is empty for what happened to the run as a whole.
    """
    entries = list(entries)
    accepted = as_accepted(run, entries)
    yield {
        "seq": 0,
        "at": format_timestamp(run.created_at),
        "path": "",
        "kind": "created",
        "attempt": 0,
        "workflow": accepted.workflow,
        "version": accepted.version,
        "digest": accepted.digest,
        "input": None if is_secret(run) else _plain(run.input),
        "principal": run.principal,
        "parent_id": run.parent_id,
        **({"origin": run.origin} if run.origin is not None else {}),
    }
    secret = SecretPaths.of(run)
    for entry in entries:
        for fact in entry.facts():
            yield fact_line(run, fact, entry.seq, secret)


def fact_line(run: Run, fact: Fact, seq: int, secret: SecretPaths | None = None) -> dict[str, Any]:
    """One line of the history. ``secret`` remembers which steps are, from line to line."""
    secret = secret if secret is not None else SecretPaths.of(run)
    data = {key: _plain(value) for key, value in secret.visible(fact).items() if key != _LEFT}
    if "secrets" in data:
        data["input"] = _with_references(data["input"], data.pop("secrets"))
    for key in _TIMES:
        if data.get(key) is not None:
            data[key] = format_timestamp(data[key])
    if fact.generation:
        data["generation"] = fact.generation
    line = {"seq": seq, "at": format_timestamp(fact.at), "path": str(fact.path), "kind": fact.kind}
    return line | {"attempt": fact.attempt} | data


class SecretPaths:
    """The steps whose data nobody shall see, as far as their facts have said so: the first of a step does.
    ``whole``: those of the whole run.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._paths: set[str] = set()

    @classmethod
    def of(cls, run: Run) -> SecretPaths:
        """Those of a run of which no fact was seen yet."""
        return cls(whole=is_secret(run))

    def note(self, fact: Fact) -> None:
        """Take notice of a fact, before it is shown."""
        if fact.data.get("secret"):
            self._paths.add(fact.path)

    def covers(self, path: str) -> bool:
        """Whether this step, or one that it is a part of, is secret."""
        if self._whole or not self._paths:
            return self._whole
        return any(each in self._paths for each in (path, *outwards(path)))

    def visible(self, fact: Fact) -> dict[str, Any]:
        """Take notice of a fact; what may be shown of its data."""
        self.note(fact)
        data = fact.data
        covered = self.covers(fact.path)
        if _LEFT in data:
            data = data | {_LEFT: without_secrets(data[_LEFT], whole=covered)}
        if data.get("secret_output"):
            data = {key: value for key, value in data.items() if key != "output"}
        if not covered:
            return data
        return {key: value for key, value in data.items() if key not in _HIDDEN}


def without_secrets(left: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """What a run or a part of it left behind, but for the data of secret steps; or of all, if it is secret
    as a ``whole``.
    """
    items = [
        {key: value for key, value in item.items() if key not in ("args", "result", "captured")}
        if whole or item.get("secret")
        else item
        for item in left.get("registered", ())
    ]
    return {**left, "registered": items} if items else dict(left)


@dataclasses.dataclass(slots=True)
class Step:
    """A step instance, or a compensation, as far as its facts are known. Times in milliseconds.

    ``attempt`` is 0 before the first. ``error`` is that of the last attempt that failed, until the step
    completes.
    """

    path: str
    kind: str | None = None
    name: str | None = None
    state: StepStatus = _S.PENDING
    attempt: int = 0
    input: Any = None
    references: Mapping[str, Sequence[str]] | None = None
    output: Any = None
    error: Any = None
    started_at: int | None = None
    completed_at: int | None = None
    generation: int = 0
    undo: Step | None = None

    @property
    def status(self) -> StepStatus:
        """Where the step is, its compensation considered."""
        return self.state if self.undo is None else _UNDOING.get(self.undo.state, _S.COMPENSATING)

    def begin(self, fact: Fact) -> None:
        """The step, or its next attempt, has begun."""
        self.attempt = fact.attempt or self.attempt or 1
        self.completed_at = None
        if self.started_at is None:
            self.started_at = fact.at

    def end(self, state: StepStatus, at: int) -> None:
        """The step is over."""
        self.state = state
        self.completed_at = at


class Fold:
    """What the facts of a run add up to. ``add`` them in order.

    ``steps`` are the instances that were reached, in order; ``entries`` how many entries were seen;
    ``error`` why the run compensates, until its row says it; ``secret_output``: nobody is to see its output.
    """

    def __init__(self, secret: SecretPaths | None = None) -> None:
        self.steps: list[Step] = []
        self.secret = secret if secret is not None else SecretPaths()
        self.entries = 0
        self.error: Any = None
        self.secret_output = False
        self._known: dict[str, Step] = {}
        self._parts: set[str] = set()
        self._undoing: list[Step] = []
        self._fates: dict[str, str] = {}
        self._fates_before: int | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry], secret: SecretPaths | None = None) -> Fold:
        """All of these."""
        fold = cls(secret)
        for entry in entries:
            fold.add_entry(entry)
        return fold

    def add_entry(self, entry: Entry) -> None:
        """The next entry."""
        self.entries += 1
        for fact in entry.facts():
            self.add(fact)

    def add(self, fact: Fact) -> None:
        """The next fact."""
        if not fact.path:
            self._add_to_run(fact)
            return
        self.secret.note(fact)
        if fact.data.get("verb") in _PARTS:
            self._parts.add(fact.path)
        if fact.path in self._parts or fact.path.endswith("]"):
            return
        step = self._known.get(fact.path) or self._reach(str(fact.path))
        if "verb" in fact.data:
            step.kind = fact.data["verb"]
        if fact.generation:
            self._go_on(step, fact.generation)
        fold = _FOLDS.get(fact.kind)
        if fold is not None:
            fold(step, fact)
        if fact.kind in _FATES:
            self._fates[step.path] = _FATES[fact.kind]
        elif step.path.endswith(_UNDO):
            self._note_fate(step)

    def _note_fate(self, undo: Step) -> None:
        """What has become of a step that is being undone, as a saga lists it; the latest comes last."""
        path, listed = undo.path.removesuffix(_UNDO), _UNDONE.get(undo.state)
        self._fates.pop(path, None)
        if listed is not None:
            self._fates[path] = listed

    def _go_on(self, step: Step, generation: int) -> None:
        step.generation = generation
        path = step.path
        for around in outwards(path):
            if path.endswith(_UNDO):
                return
            path, outer = around, self._known.get(around)
            if outer is not None and outer.generation < generation and outer.state in _ENDED_BADLY:
                outer.state, outer.completed_at, outer.error = _S.RUNNING, None, None
                outer.generation = generation

    def _reach(self, path: str) -> Step:
        """A path seen for the first time. Whatever happens inside of a compensation has begun it."""
        step = self._known[path] = Step(path)
        if path.endswith(_UNDO):
            step.state = _S.RUNNING
            owner = path.removesuffix(_UNDO)
            (self._known.get(owner) or self._reach(owner)).undo = step
            self._undoing.append(step)
        else:
            self.steps.append(step)
            around, inside, _ = path.rpartition(f"{_UNDO}.")
            if inside and around + _UNDO not in self._known:
                self._reach(around + _UNDO)
        return step

    def _add_to_run(self, fact: Fact) -> None:
        if fact.kind == "compensating":
            self.error = fact.data["error"]
            self._fates_before = len(self._fates)
            self._interrupt(fact.at, _S.CANCELLED)
        elif fact.kind == "reopened":
            if not self._undoing:  # it goes forward again
                self.error = None
                self._fates = dict([*self._fates.items()][: self._fates_before])
        elif fact.kind == "ended":
            ended_well = fact.data["status"] in (RunStatus.COMPLETED, RunStatus.CONTINUED)
            self._interrupt(fact.at, _S.COMPLETED if ended_well else _S.CANCELLED)
            self._settle_undoing(fact)
            self.secret_output = "secret_output" in fact.data

    def _interrupt(self, at: int, blocks: StepStatus) -> None:
        for step in self.steps:
            if step.state in _IN_PROGRESS:
                step.end(_S.CANCELLED if step.kind in _LEAVES else blocks, at)

    def _settle_undoing(self, fact: Fact) -> None:
        """What was being undone when the run was terminated is not undone."""
        saga = fact.data.get("saga")
        if saga is None:
            saga = {"undone": (), "failed": [undo.path.removesuffix(_UNDO) for undo in self._in_progress()]}
        for listed, state in (("undone", _S.COMPLETED), ("failed", _S.FAILED)):
            for path in saga[listed]:
                undo = self._known.get(path + _UNDO)
                if undo is not None and undo.state != state:
                    undo.end(state, fact.at)
                    self._note_fate(undo)

    def _in_progress(self) -> list[Step]:
        return [undo for undo in self._undoing if undo.state in _IN_PROGRESS]

    def step(self, path: str) -> Step | None:
        """The step, or compensation, of that path, if it was reached."""
        return self._known.get(path)

    def page(self, *, first: int | None = None, count: int) -> list[dict[str, Any]]:
        """A page of ``steps``, as the status document has it."""
        start = max(0, len(self.steps) - count) if first is None else max(0, first - 1)
        chosen = self.steps[start : start + max(0, count)]
        return [_step_json(step, hidden=self.secret.covers(step.path)) for step in chosen]

    def current(self) -> list[str]:
        """The innermost steps and compensations in progress."""
        paths = [step.path for step in (*self.steps, *self._undoing) if step.state in _IN_PROGRESS]
        outer = {each for path in paths for each in outwards(path)}
        return [path for path in paths if path not in outer]

    def saga(self) -> dict[str, list[str]]:
        """What became of steps so far, in order: the saga of a run that has not ended yet."""
        saga = {name: list(paths) for name, paths in _NO_SAGA.items()}
        for path, listed in self._fates.items():
            saga[listed].append(path)
        return saga


def _started(step: Step, fact: Fact) -> None:
    data = fact.data
    step.begin(fact)
    step.state = _S.WAITING if step.kind in _WAITS else _S.RUNNING
    if "input" in data:
        step.input, step.references = data["input"], data.get("secrets")
    if "name" in data:
        step.name = data["name"]
    elif "names" in data:
        step.name = ", ".join(data["names"])


def _completed(step: Step, fact: Fact) -> None:
    step.begin(fact)
    step.output, step.error = None if "secret_output" in fact.data else fact.data.get("output"), None
    step.end(_S.COMPLETED, fact.at)


def _failed(step: Step, fact: Fact) -> None:
    step.begin(fact)
    step.error = fact.data["error"]
    if "retry_at" in fact.data:
        step.state = _S.RETRYING
    else:
        step.end(_S.FAILED, fact.at)


def _condition(step: Step, fact: Fact) -> None:
    if not fact.data["value"]:
        step.started_at = fact.at
        step.end(_S.SKIPPED, fact.at)


def _timed_out(step: Step, fact: Fact) -> None:
    """A wait that is over goes on with null unless ``failed`` follows; anything else ends by its own fact."""
    if step.kind == "wait_for_signal":
        step.end(_S.COMPLETED, fact.at)


def _cancelled(step: Step, fact: Fact) -> None:
    step.begin(fact)
    step.end(_S.CANCELLED, fact.at)


def _reshaped(step: Step, fact: Fact) -> None:
    step.output = fact.data["output"]


def _left_as_it_is(step: Step, fact: Fact) -> None:
    """Not undone. It may be a step of a run that this one undoes: of that, nothing else is on record here."""
    step.undo = None
    if step.state == _S.PENDING:
        step.state = _S.COMPLETED


_FOLDS: dict[str, Callable[[Step, Fact], None]] = {
    "started": _started,
    "case": _started,
    "completed": _completed,
    "failed": _failed,
    "cancelled": _cancelled,
    "condition": _condition,
    "timed_out": _timed_out,
    "output": _reshaped,
    "not_undone": _left_as_it_is,
}

_FATES = {"not_undone": "not_undone", "undo_skipped": "skipped"}
"""How a saga lists a step because of a fact at the step itself."""

_UNDONE = {_S.COMPLETED: "undone", _S.FAILED: "failed"}
"""How it does because of the state of the step's compensation."""


def _document(run: Run, fold: Fold) -> dict[str, Any]:
    """The status document with the keys in their order, its data and its page of steps still missing."""
    attributes = run.attributes or {}
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "workflow": run.workflow,
        "version": run.version,
        "digest": run.digest,
        "parent_id": run.parent_id,
        "status": str(run.status),
        "input": None,
        "output": None,
        "error": run.error if run.error is not None else fold.error,
        "current_steps": _current_steps(run, fold),
        "waiting_for": [_waiting_json(waiting) for waiting in run.waiting_for or ()],
        "blocked": run.blocked,
        "attributes": attributes.get("search", {}),
        "memo": attributes.get("memo", {}),
        "principal": run.principal,
        "trace_id": run.trace_id,
        "saga": run.saga or fold.saga(),
        "created_at": format_timestamp(run.created_at),
        "started_at": _time(run.started_at),
        "completed_at": _time(run.completed_at),
        "attempt": run.generation + 1,
        "history_length": max(run.entries, fold.entries),
        "history_size": run.size,
        "step_counts": dict(Counter(str(step.status) for step in fold.steps)),
        "steps": [],
    }


def _current_steps(run: Run, fold: Fold) -> list[str]:
    """Also the step that a run is blocked at: it was reached, but nothing may be recorded of it yet."""
    current = fold.current()
    blocked = (run.blocked or {}).get("path")
    return [*current, blocked] if blocked and blocked not in current else current


def _step_json(step: Step, *, hidden: bool) -> dict[str, Any]:
    return {
        "path": step.path,
        "kind": step.kind,
        "name": step.name,
        "status": str(step.status),
        "attempt": step.attempt,
        "input": None if hidden else _with_references(_plain(step.input), step.references),
        "output": None if hidden else _plain(step.output),
        "error": step.error,
        "started_at": _time(step.started_at),
        "completed_at": _time(step.completed_at),
        "compensation": _compensation_json(step),
    }


def _compensation_json(step: Step) -> dict[str, Any] | None:
    undo = step.undo
    if undo is None:
        return None
    return {
        "status": str(step.status),
        "attempt": undo.attempt,
        "error": undo.error,
        "completed_at": _time(undo.completed_at),
    }


def _waiting_json(waiting: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "path": waiting["path"],
        "kind": waiting["kind"],
        "names": list(waiting["names"]),
        "until": _time(waiting["until"]),
    }


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else format_timestamp(milliseconds)


def _plain(value: Any) -> Any:
    """Data that was kept in its encoded form, decoded."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _with_references(arguments: Any, references: Mapping[str, Sequence[str]] | None) -> Any:
    """The arguments with references to secrets in place; by JSON pointer, as parts of a text."""
    if not references:
        return arguments
    arguments = copy.deepcopy(arguments)  # it is the journal's
    for pointer, parts in references.items():
        *above, last = (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
        place = arguments
        for token in above:
            place = place[_key(place, token)]
        place[_key(place, last)] = "".join(parts)
    return arguments


def _key(container: Any, token: str) -> str | int:
    return int(token) if isinstance(container, list) else token


def outwards(path: str) -> Iterator[str]:
    """The paths of what a step is inside of: of ``each[2].pack``, ``each[2]``, then ``each``."""
    while (end := max(path.rfind("."), path.rfind("["))) > 0:
        path = path[:end]
        yield path
