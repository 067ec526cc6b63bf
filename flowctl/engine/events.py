"""Events: what happens in runs, as CloudEvents, for whoever listens (``flowctl_on_event``).

1. Told is what is durable: events are made of the facts of a commit, after it. Each shows what the history
   shows of its fact, so no event has data that is secret.
2. The id of an event follows from the journal (the hash of the entry, and which of its facts), so whoever
   hears of it twice knows. Whatever knows how to read a journal makes the same events of it.
3. Listeners are called in a thread, one event after the other: one that is slow, or hangs, harms no run. When
   ``WAITING`` events wait for it the next ones are dropped, which is logged. A process that is killed takes
   along what it had not told yet: who must not miss anything reads the history.
4. Without a listener there is nothing of this.

A step that was begun in another process is known from the journal, which is read when a run is met for the
first time. Branches and iterations are no steps of their own here: their steps are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from flowctl.clock import format_timestamp
from flowctl.journal import Change, Entry, Fact, Run, is_secret
from flowctl.status import SecretPaths, fact_line, outwards

Event = dict[str, Any]
Listener = Callable[[Mapping[str, Any]], None]

log = logging.getLogger("flowctl.engine")

PREFIX = "dev.flowctl."

WAITING = 10_000
"""Events that wait for a listener, at most."""

PATIENCE = 5.0
"""Seconds that whoever leaves waits for listeners to hear the last."""

RUN_EVENTS: Mapping[str, str] = {
    "started": "run.started",
    "paused": "run.paused",
    "unpaused": "run.unpaused",
    "cancel_requested": "run.cancelling",
    "timed_out": "run.cancelling",
    "compensating": "run.compensating",
    "reopened": "run.reopened",
    "migrated": "run.migrated",
    "ended": "run.{status}",
}
"""By the kind of a fact about the run as a whole. How it ended is the last word of its type."""

STEP_EVENTS: Mapping[str, str] = {
    "started": "step.started",
    "completed": "step.completed",
    "failed": "step.failed",
    "cancelled": "step.cancelled",
}
"""By the kind of a fact about a step."""

UNDO_EVENTS: Mapping[str, str] = {
    "started": "step.compensating",
    "completed": "step.compensated",
    "failed": "step.compensation_failed",
    "cancelled": "step.compensation_failed",
}
"""The same of what undoes a step."""

WAITS = frozenset({"sleep", "wait_for_signal"})
"""Verbs whose start is ``step.waiting``."""

RETRYING = "step.retrying"
"""An attempt has failed, of the step or of what undoes it, and another follows."""

_encode = msgspec.json.Encoder(enc_hook=str).encode
_PARTS = frozenset({"branch", "iteration"})
_UNDO = ".undo"
_SHOWN = (
    *("attempt", "generation", "input", "output", "error", "uncertain", "retry_at", "until", "names"),
    *("status", "saga", "reason"),
)
"""What of a line of the history is in the event's ``data``."""


@dataclasses.dataclass(slots=True)
class _Step:
    """A step in progress. Times in milliseconds."""

    path: str
    verb: str
    name: str | None
    started_at: int
    attempt_started_at: int


class _Course:
    """What is in progress in one run, after so many ``entries``."""

    def __init__(self, run: Run) -> None:
        self.entries = 0
        self.secret = SecretPaths.of(run)
        self.open: dict[str, _Step] = {}

    def events(self, run: Run, entry: Entry) -> Iterator[Event]:
        """The events of the next entry."""
        self.entries += 1
        for number, fact in enumerate(entry.facts()):
            name = f"{entry.hash.hex()[:32]}.{number}"
            line = fact_line(run, fact, entry.seq, self.secret)
            if fact.path:
                yield from self._of_step(run, fact, line, name)
            elif fact.kind in RUN_EVENTS:
                if fact.kind in ("compensating", "ended"):
                    yield from self._interrupted(run, fact, name)
                yield _of_run(run, fact, line, name)

    def _of_step(self, run: Run, fact: Fact, line: dict[str, Any], id: str) -> Iterator[Event]:
        path, kind = str(fact.path), fact.kind
        if kind == "started" and not self._begin(path, fact, line):
            return
        step = self.open.get(path)
        names = UNDO_EVENTS if path.endswith(_UNDO) else STEP_EVENTS
        if step is None or kind not in names:
            return
        name = names[kind]
        if kind == "started" and step.verb in WAITS:
            name = "step.waiting"
        elif kind == "failed" and "retry_at" in line:
            name = RETRYING
        yield self._event(run, step, name, fact.at, id, line)
        if kind != "started" and name != RETRYING:
            del self.open[path]

    def _begin(self, path: str, fact: Fact, line: dict[str, Any]) -> bool:
        """An attempt begins, or a step; whether it is one."""
        step, verb = self.open.get(path), fact.data.get("verb")
        if step is not None and verb is None:
            step.attempt_started_at = fact.at
        elif verb is None or verb in _PARTS:
            return False
        else:
            self.open[path] = _Step(path, verb, line.get("name"), fact.at, fact.at)
        return True

    def _interrupted(self, run: Run, fact: Fact, id: str) -> Iterator[Event]:
        """What was in progress when a run ends, or begins to be undone, is over, as its status says too."""
        well = fact.kind == "ended" and fact.data["status"] in ("completed", "continued")
        for path, step in list(self.open.items()):
            if not path.endswith(_UNDO) or fact.kind == "ended":
                del self.open[path]
                over = well and step.verb not in (*WAITS, "activity", "workflow")
                name = "step.completed" if over else "step.cancelled"
                name = "step.compensation_failed" if path.endswith(_UNDO) else name
                yield self._event(run, step, name, fact.at, f"{id}.{path}", {})

    def _event(self, run: Run, step: _Step, name: str, at: int, id: str, line: Mapping[str, Any]) -> Event:
        data = {
            "path": step.path,
            "verb": step.verb,
            "name": step.name,
            "block": next((around for around in outwards(step.path) if around in self.open), None),
            "started_at": format_timestamp(step.started_at),
            "attempt_started_at": format_timestamp(step.attempt_started_at),
        }
        return _event(run, f"{run.id}/{step.path}", name, at, id, data | _shown(line))


def _of_run(run: Run, fact: Fact, line: Mapping[str, Any], id: str) -> Event:
    name = RUN_EVENTS[fact.kind].format(status=fact.data.get("status"))
    about: dict[str, Any] = {}
    if fact.kind == "started":
        about["input"] = None if is_secret(run) else run.input
    if run.started_at is not None:
        about["started_at"] = format_timestamp(run.started_at)
    shown = _shown(line)
    shown.pop("attempt", None)
    return _event(run, run.id, name, fact.at, id, about | shown)


def _shown(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in _SHOWN if key in line}


def _event(run: Run, subject: str, name: str, at: int, id: str, data: Mapping[str, Any]) -> Event:
    return {
        "specversion": "1.0",
        "id": id,
        "source": f"/flowctl/{quote(run.workflow)}",
        "type": PREFIX + name,
        "subject": subject,
        "time": format_timestamp(at),
        "datacontenttype": "application/json",
        "data": {
            "run_id": run.id,
            "workflow_id": run.workflow_id,
            "workflow": run.workflow,
            "version": run.version,
            "parent_id": run.parent_id,
            "principal": run.principal,
            "trace_id": run.trace_id,
            **data,
        },
    }


class Recorded(Protocol):
    """A journal, as far as it is read here."""

    def entries(self, run_id: str) -> Sequence[Entry]:
        """Of a run that was committed to, all of them."""


class Courses:
    """The runs of one journal, as far as they were met. ``events`` of every commit, in order."""

    def __init__(self, journal: Recorded) -> None:
        self._journal = journal
        self._known: dict[str, _Course] = {}

    def events(self, change: Change) -> Iterator[Event]:
        """What has happened by a commit, which is durable. Reads the journal if the run is met anew."""
        run = change.run
        if change.entries:
            course = self._course(run, change.entries)
            for entry in change.entries:
                yield from course.events(run, entry)
        if change.release:
            self._known.pop(run.id, None)

    def _course(self, run: Run, entries: Sequence[Entry]) -> _Course:
        """Where the run was before these entries: as we know it, unless others had it in between."""
        known, before = self._known.get(run.id), run.entries - len(entries)
        if known is None or known.entries != before:
            known = self._known[run.id] = _Course(run)
            for entry in self._journal.entries(run.id)[:before] if before else ():
                for _ in known.events(run, entry):
                    pass
        return known


class Telling:
    """Tells one listener. ``tell`` it what was committed; ``close`` lets it hear the last."""

    def __init__(self, listener: Listener, journal: Recorded) -> None:
        self._listener = listener
        self._courses = Courses(journal)
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def tell(self, change: Change) -> None:
        """Hand over what has happened. Never waits, never raises."""
        try:
            for event in self._courses.events(change):
                self._put(event)
        except Exception:
            log.exception("what happened in run %s is not told", change.run.id)

    def _put(self, event: Event) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="flowctl-events", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(_encode(event))  # what happens to it over there is none of ours
        except queue.Full:
            if not self._dropped:
                log.warning("those who listen to events are too slow: %d wait, others are dropped", WAITING)
            self._dropped += 1

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._listener(msgspec.json.decode(event))
            except BaseException:
                log.exception("a listener failed")

    def close(self, patience: float = PATIENCE) -> None:
        """Let it hear the last, for a while. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=patience)
            thread.join(patience)
        if thread.is_alive():
            log.warning("those who listen to events take too long: %d were not told", self._queue.qsize())
        if self._dropped:
            log.warning("%d events were dropped, because those who listen were too slow", self._dropped)
