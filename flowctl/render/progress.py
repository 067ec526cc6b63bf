"""A run while it goes on: what is known of it so far, and its progress as plain lines.

A progress is told of every fact as it becomes durable, in the shape of ``history --jsonl`` with ``run``
added, and of the status document when the run ends or only waits. ``terminal`` has the other one, a picture
that moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, Self

from flowctl.clock import parse_timestamp
from flowctl.journal import Fact
from flowctl.render.events import event
from flowctl.render.layout import EMPTY, Json, Line, Span, View
from flowctl.render.run import heading, outcome, status
from flowctl.render.text import duration
from flowctl.status import Fold
from flowctl.wall_clock import wall_clock


class Progress(Protocol):
    """Shows a run while it is driven. A context manager; leaving it gives the terminal back."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, doc: Json, past: Iterable[Json], *, live: bool | None = None) -> None:
        """The run went on before anybody looked: how it stands, and the facts so far. ``live`` as in
        ``status``.
        """

    def observe(self, fact: Json) -> None:
        """The next fact."""

    def finish(self, doc: Json, *, live: bool | None = None) -> None:
        """The run has ended or only waits: say how it stands. ``live`` as in ``status``."""


class Followed:
    """A run as its facts tell it. ``waiting`` is what it waits for, by path, as in a status document."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.waiting: dict[str, dict[str, Any]] = {}
        self._begun_before: set[str] = set()

    def add(self, fact: Json) -> None:
        """The next fact."""
        data = {
            key: value for key, value in fact.items() if key not in ("seq", "at", "path", "kind", "attempt")
        }
        path = fact["path"]
        if not path and fact["kind"] == "started":  # the next run of a chain has the same steps anew
            self.fold, self.waiting, self._begun_before = Fold(), {}, set()
        if fact["kind"] not in _BEGINNINGS and self.fold.step(path) is None:
            self._begun_before.add(path)
        self.fold.add(Fact(path, fact["kind"], parse_timestamp(fact["at"]), fact["attempt"], data=data))
        step = self.fold.step(path)
        if step is not None and path in self._begun_before:
            step.started_at = None  # nobody saw it, and it would seem to have taken no time
        until, names = fact.get("retry_at") or fact.get("until"), fact.get("names", [])
        if fact["kind"] == "failed" and until:
            self.waiting[path] = {"path": path, "kind": "retry", "names": [], "until": until}
        elif fact["kind"] == "started" and fact.get("verb") in _WAITS:
            self.waiting[path] = {"path": path, "kind": _WAITS[fact["verb"]], "names": names, "until": until}
        elif fact["kind"] != "deadline":
            self.waiting.pop(path, None)


_BEGINNINGS = ("started", "case")
"""Facts with which steps begin."""

_WAITS = {"sleep": "timer", "wait_for_signal": "signal"}

_TOLD = frozenset(
    {"compensating", "cancel_requested", "recovered", "lost", "held", "paused", "unpaused", "reopened"}
    | {"not_undone", "undo_skipped"}
)
"""Facts that are always worth a line."""

_WORK = frozenset({"activity", "sleep", "wait_for_signal", "workflow", None})
"""Verbs whose completion is worth a line; blocks are made of them. None is a compensation's."""


class PlainProgress:
    """A line for each thing worth knowing, then how the run stands: for whatever cannot redraw."""

    def __init__(self, show: Callable[[View], None], db: str | None) -> None:
        self._show = show
        self._db = db
        self._run = Followed()
        self._shown: tuple[Json, bool | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left behind."""

    def begin(self, doc: Json, past: Iterable[Json], *, live: bool | None = None) -> None:
        """See ``Progress``."""
        for fact in past:
            self._run.add(fact)
        self._show(status(doc, live=live, db=self._db))
        self._shown = doc, live

    def observe(self, fact: Json) -> None:
        """See ``Progress``."""
        self._run.add(fact)
        if self._worth_telling(fact):
            self._show([self._line(fact)])

    def finish(self, doc: Json, *, live: bool | None = None) -> None:
        """See ``Progress``."""
        if self._shown == (doc, live):
            return
        now = wall_clock()
        self._show([EMPTY, *heading(doc, now)])
        self._show(outcome(doc, now=now, live=live, db=self._db))

    def _worth_telling(self, fact: Json) -> bool:
        kind, path = fact["kind"], fact["path"]
        step = self._run.fold.step(path)
        if step is None:
            return kind in _TOLD
        if kind == "failed":
            return fact["error"]["step"] in (
                path,
                None,
            )  # a block fails because of a step that was told already
        if kind == "started":
            return path in self._run.waiting
        return kind in _TOLD or (kind == "completed" and step.kind in _WORK)

    def _line(self, fact: Json) -> Line:
        step = self._run.fold.step(fact["path"])
        took = ""
        if step is not None and fact["kind"] == "completed" and step.started_at is not None:
            took = f"  ({duration(parse_timestamp(fact['at']) - step.started_at)})"
        return (*event(fact), Span(took, "dim"))
