"""What happens, as it happens, for any number of streams: one thread reads, everybody else is told.

1. The **watcher** is the only one who looks whether anything has changed: one number, ten times a second. It
   then reads the rows of the runs that may have changed, once, and the new history of those runs that
   somebody looks at, once, however many look.
2. The **feed** keeps, of every run that has changed lately, only how it stands now, numbered in order. A
   subscriber is a number: what comes after it is what it has not seen. So a slow one costs no memory, sees
   intermediate states coalesced, and one that was away for too long is told to begin again (``reset``).
3. Changes are encoded once, and what many subscribers want next is put together once.
4. The feed is on the loop; the watcher hands it over with ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from flowctl.backends import Backend
from flowctl.clock import format_timestamp, parse_timestamp
from flowctl.errors import RunNotFound
from flowctl.state import ENDED
from flowctl.wall_clock import wall_clock

log = logging.getLogger("flowctl.server")

INTERVAL = 0.1
"""Seconds between two looks."""

BATCH = 1_000
"""Runs that are read in one look."""

KEPT = 20_000
"""Runs whose latest change is kept."""

CHUNK = 100
"""Changes that are sent at once: between two chunks a slow reader is waited for."""

WINDOW = 1_000
"""Entries of one run that are kept for those who look at it. Whoever is behind asks the journal."""

BUCKETS = (0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
"""Seconds, of the histogram of how long runs took."""


class Event(msgspec.Struct, frozen=True):
    """What a stream sends: ``id`` to resume after it, its name, and its data as JSON."""

    id: str
    name: str
    data: bytes


class Bell:
    """Wakes all who wait for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake them."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def next(self) -> asyncio.Event:
        """What is set at the next ring: take it before looking, so that nothing is missed."""
        return self._event


class Change(msgspec.Struct, frozen=True):
    """How a run stands, and its number in the feed."""

    number: int
    workflow: str
    data: bytes


class Feed:
    """The latest change of each run, in order."""

    def __init__(self, kept: int = KEPT) -> None:
        self.epoch = os.urandom(6).hex()
        self.bell = Bell()
        self.number = 0
        self._forgotten = 0
        self._kept = kept
        self._changes: OrderedDict[str, Change] = OrderedDict()
        self._chunks: dict[tuple[int, str | None], tuple[list[Event], int]] = {}

    def put(self, documents: Mapping[str, tuple[str, bytes]]) -> None:
        """Runs that have changed: by id, the workflow, and how the run stands as JSON."""
        for run_id, (workflow, data) in documents.items():
            self.number += 1
            self._changes[run_id] = Change(self.number, workflow, data)
            self._changes.move_to_end(run_id)
            if len(self._changes) > self._kept:
                self._forgotten = self._changes.popitem(last=False)[1].number
        self._chunks.clear()
        self.bell.ring()

    def begin_anew(self) -> None:
        """Forget everything: changes may have been missed, and all subscribers are to read again."""
        self.number += 1
        self._forgotten = self.number
        self._changes.clear()
        self._chunks.clear()
        self.bell.ring()

    def of(self, run_id: str) -> Change | None:
        """The latest change of one run, if it is still known."""
        return self._changes.get(run_id)

    def place(self, number: int | None = None) -> str:
        """The id of an event: where in which feed."""
        return f"{self.epoch}.{self.number if number is None else number}"

    def find(self, place: str | None) -> int | None:
        """The number that a client has seen last; None if what came after that is not known any more."""
        if place is None:
            return self.number
        epoch, _, number = place.partition(".")
        if epoch != self.epoch or not (number.isascii() and number.isdecimal() and len(number) < 19):
            return None
        return int(number) if self._forgotten <= int(number) <= self.number else None

    def after(self, number: int, workflow: str | None) -> tuple[list[Event], int] | None:
        """The next changes after ``number``, of one workflow or all, and the number that is then seen; None
        if some of them are forgotten.
        """
        if number < self._forgotten:
            return None
        known = self._chunks.get((number, workflow))
        if known is None:
            known = self._chunks[number, workflow] = self._next(number, workflow)
        return known

    def _next(self, number: int, workflow: str | None) -> tuple[list[Event], int]:
        newer: list[Change] = []
        for change in reversed(self._changes.values()):
            if change.number <= number:
                break
            if workflow is None or change.workflow == workflow:
                newer.append(change)
        chunk = newer[: -CHUNK - 1 : -1]
        events = [Event(self.place(change.number), "run", change.data) for change in chunk]
        return events, chunk[-1].number if len(newer) > CHUNK else self.number


class Channel:
    """The new history of one run, for those who look at it."""

    def __init__(self, after: int) -> None:
        self.bell = Bell()
        self.readers = 0
        self.start = self.last = after
        self.gone = False
        self._events: deque[tuple[int, Event]] = deque()

    def put(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Lines of history, in order."""
        for event in history_events(lines):
            seq = int(event.id)
            self._events.append((seq, event))
            self.last = seq
            if len(self._events) > WINDOW:
                self.start = self._events.popleft()[0]

    def after(self, seq: int) -> list[Event] | None:
        """The next entries after ``seq``; None if some of them are not here any more."""
        if seq < self.start:
            return None
        return [event for number, event in self._events if number > seq][:CHUNK]


def history_events(lines: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
    """Lines as events: one an entry, whose facts belong together. Its id is the entry's ``seq``."""
    group: list[Mapping[str, Any]] = []
    for line in lines:
        if group and line["seq"] != group[0]["seq"]:
            yield _history_event(group)
            group = []
        group.append(line)
    if group:
        yield _history_event(group)


def _history_event(group: Sequence[Mapping[str, Any]]) -> Event:
    return Event(str(group[0]["seq"]), "history", msgspec.json.encode(group))


class Tally:
    """What the watcher has seen happen since it began: for ``/metrics``."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.seconds: Counter[str] = Counter()

    def end(self, workflow: str, status: str, seconds: float | None) -> None:
        """A run has ended, after so many seconds if it was ever started."""
        self.ended[workflow, status] += 1
        if seconds is None:
            return
        counts = self.buckets.setdefault(workflow, [0] * (len(BUCKETS) + 1))
        counts[sum(seconds > bound for bound in BUCKETS)] += 1
        self.seconds[workflow] += seconds  # type: ignore[assignment]  # a Counter of seconds


class Hub:
    """The feed, the channels, and the watcher that fills them. ``start`` it on the loop; ``close`` it."""

    def __init__(self, open_backend: Callable[[], Backend]) -> None:
        self.feed = Feed()
        self.tally = Tally()
        self.ready = False
        self._channels: dict[str, Channel] = {}
        self._open = open_backend
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flowctl-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextlib.contextmanager
    def channel(self, run_id: str, after: int) -> Iterator[Channel]:
        """The channel of a run, for whoever has seen its history until ``after``."""
        channel = self._channels.get(run_id)
        if channel is None:
            channel = self._channels[run_id] = Channel(after)
        channel.readers += 1
        try:
            yield channel
        finally:
            channel.readers -= 1
            if not channel.readers:
                del self._channels[run_id]

    @property
    def channels(self) -> int:
        """Runs that somebody looks at."""
        return len(self._channels)

    # --- on the loop

    def _publish(
        self,
        documents: Mapping[str, tuple[str, bytes]],
        lines: Sequence[tuple[Channel, Sequence[Mapping[str, Any]]]],
    ) -> None:
        if documents:
            self.feed.put(documents)
        rung = {channel for channel, _ in lines}
        for channel, new in lines:
            channel.put(new)
        rung.update(self._channels[run_id] for run_id in documents if run_id in self._channels)
        for channel in rung:
            channel.bell.ring()

    # --- in the thread

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                with contextlib.closing(self._open()) as backend:
                    self._look_on(backend)
            except Exception as error:  # whatever it is, a server that sees nothing more is worse
                self.ready = False
                log.warning("the database cannot be watched: %s: %s", type(error).__name__, error)
                self._stopped.wait(1.0)

    def _look_on(self, backend: Backend) -> None:
        watcher = Watcher(backend, self.tally)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.feed.begin_anew)
        self.ready = True
        while not self._stopped.is_set():
            documents, lines = watcher.look(dict(self._channels))
            if documents or lines:
                self._loop.call_soon_threadsafe(self._publish, documents, lines)
            if not watcher.behind:
                self._stopped.wait(INTERVAL)


class Watcher:
    """Looks at a backend: what has changed since the last look. In one thread."""

    def __init__(self, backend: Backend, tally: Tally) -> None:
        self._backend = backend
        self._tally = tally
        self._since = format_timestamp(wall_clock())
        self._mark, _ = backend.news(None)
        self._pending: dict[str, None] = {}
        self._tails: dict[str, _Tail] = {}
        self._known: OrderedDict[str, tuple[int, str]] = OrderedDict()

    @property
    def behind(self) -> bool:
        """Whether there is more to read at once."""
        return bool(self._pending)

    def look(
        self, channels: Mapping[str, Channel]
    ) -> tuple[dict[str, tuple[str, bytes]], list[tuple[Channel, list[dict[str, Any]]]]]:
        """The runs that stand otherwise than before, and the new history of those with a channel."""
        self._mark, touched = self._backend.news(self._mark)
        self._pending.update(dict.fromkeys(touched))
        batch = [run_id for run_id, _ in zip(self._pending, range(BATCH), strict=False)]
        for run_id in batch:
            del self._pending[run_id]
        found = self._backend.glances(batch) if batch else {}
        documents = {run_id: document for run_id, document in found.items() if self._is_new(document)}
        encoded = {
            run_id: (document["workflow"], msgspec.json.encode(document))
            for run_id, document in documents.items()
        }
        return encoded, list(self._histories(channels, set(batch)))

    def _histories(
        self, channels: Mapping[str, Channel], touched: set[str]
    ) -> Iterator[tuple[Channel, list[dict[str, Any]]]]:
        for run_id in [
            run_id for run_id, tail in self._tails.items() if channels.get(run_id) is not tail.channel
        ]:
            del self._tails[run_id]
        for run_id, channel in channels.items():
            known = self._tails.get(run_id)
            if known is None or (known.over and run_id in touched):
                try:
                    lines_of = self._backend.tail(run_id, after=channel.last)
                except RunNotFound:  # it was discarded while somebody looked at it
                    lines_of = iter(())
                known = self._tails[run_id] = _Tail(channel, lines_of)
            elif run_id not in touched:
                continue
            lines = known.new()
            if lines:
                yield channel, lines

    def _is_new(self, document: Mapping[str, Any]) -> bool:
        """Whether a run stands otherwise than when it was last looked at; and count what happened to it."""
        run_id, status = document["id"], document["status"]
        now = hash(msgspec.json.encode(document))
        before = self._known.pop(run_id, None)
        self._known[run_id] = now, status
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        if before is not None and before[0] == now:
            return False
        if before is None and document["created_at"] >= self._since:
            self._tally.started[document["workflow"]] += 1
        if status in ENDED and (before is None or before[1] != status):
            self._tally.end(document["workflow"], status, _took(document))
        return True


class _Tail:
    """The history of one run as it grows. It is ``over`` when the run has ended; a retry goes on from
    there.
    """

    def __init__(self, channel: Channel, lines: Iterator[dict[str, Any] | None]) -> None:
        self.channel = channel
        self.over = False
        self._lines = lines

    def new(self) -> list[dict[str, Any]]:
        """What has come since the last call."""
        found: list[dict[str, Any]] = []
        for line in self._lines:
            if line is None:
                return found
            found.append(line)
        self.over = True
        return found


def _took(document: Mapping[str, Any]) -> float | None:
    start, end = document["started_at"], document["completed_at"]
    if start is None or end is None:
        return None
    return (parse_timestamp(end) - parse_timestamp(start)) / 1000
