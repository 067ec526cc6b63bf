"""Live streams: of all runs, or of one, as server-sent events or over a WebSocket; the same events both ways.

A stream is an iterator over batches of events that waits for the feed and for nothing else. Whoever sends
them takes the next batch when the last one has gone out, so a slow reader holds one batch, and one that takes
none for too long is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flowctl.backends import Backend
from flowctl.errors import RunNotFound
from flowctl.server.live import CHUNK, Event, Hub, history_events
from flowctl.server.problems import TooMany
from flowctl.server.table import Ask

HEARTBEAT = 15.0
"""Seconds of silence after which a stream says that it is there."""

BACKLOG = 500
"""Lines of history that are read at once."""

PING = Event("", "ping", b"{}")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Batches = AsyncIterator[Sequence[Event]]


class AllQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``after`` is the id of the last event seen."""

    workflow: str | None = None
    after: str | None = None


class RunQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``after`` is the ``seq`` of the last entry seen. With ``last``, at most about so many lines of what was
    before come, the last ones.
    """

    after: str | None = None
    last: Annotated[int, Meta(ge=1, le=1_000)] | None = None


async def all_runs(ask: Ask) -> Batches:
    """How runs stand, each time it changes; ``reset`` where it is not known what was missed."""
    feed, query = ask.app.hub.feed, ask.query
    place = query.after or ask.headers.get("last-event-id") or None
    number = feed.find(place)
    if number is None:
        number = feed.number
        yield [Event(feed.place(number), "reset", b"{}")]
    else:
        yield [Event(feed.place(number), "ready", b"{}")]
    while True:
        rung = feed.bell.next()
        found = feed.after(number, query.workflow)
        if found is None:
            number = feed.number
            yield [Event(feed.place(number), "reset", b"{}")]
            continue
        events, number = found
        if events:
            yield events
        elif not await _rings(rung):
            yield [PING]


async def one_run(ask: Ask) -> Batches:
    """A run's history from ``after`` on, and how it stands, each time something happens to it; ``reset``
    where more was missed than is wanted.
    """
    hub: Hub = ask.app.hub
    run_id = await ask.app.desk.read(lambda backend: backend.resolve(ask.parts["run"]))
    seq = _seq(ask.query.after or ask.headers.get("last-event-id"))
    latest = hub.feed.of(run_id)
    seen = latest.number if latest is not None else 0
    standing = msgspec.json.encode(await ask.app.desk.read(lambda backend: glance(backend, run_id)))
    while True:
        if ask.query.last is not None:
            seq, skip = await _skipped(ask, run_id, seq)
            if skip:
                yield [Event(str(seq), "reset", b"{}")]
        async for events in _backlog(ask, run_id, seq):
            seq = int(events[-1].id)
            yield events
        yield [Event(str(seq), "run", standing)]
        with hub.channel(run_id, seq) as channel:
            while True:
                rung = channel.bell.next()
                new = channel.after(seq)
                if new is None:
                    break  # it is more than what is kept: the journal has it
                change = hub.feed.of(run_id)
                if new:
                    seq = int(new[-1].id)
                if len(new) < CHUNK and change is not None and change.number > seen:
                    seen, standing = change.number, change.data
                    new.append(Event(str(seq), "run", standing))
                if new:
                    yield new
                elif not await _rings(rung):
                    yield [PING]


def glance(backend: Backend, run_id: str) -> dict[str, Any]:
    """How a run stands. ``RunNotFound``, if it was discarded meanwhile."""
    found = backend.glances([run_id]).get(run_id)
    if found is None:
        raise RunNotFound(f"there is no run {run_id}")
    return found


async def _skipped(ask: Ask, run_id: str, after: int) -> tuple[int, bool]:
    """The entry after which there are only as many lines as are wanted, and whether it is later."""
    lines, earlier = await ask.app.desk.read(lambda backend: backend.earlier(run_id, limit=ask.query.last))
    start = lines[0]["seq"] - 1
    return (start, True) if earlier is not None and start > after else (after, False)


async def _backlog(ask: Ask, run_id: str, after: int) -> Batches:
    """What the journal has after ``after``, so many lines at once."""
    while True:
        start = after
        lines, _ = await ask.app.desk.read(
            lambda backend, start=start: history_page(backend, run_id, start, BACKLOG)
        )
        if not lines:
            return
        yield list(history_events(lines))
        if lines[-1]["seq"] == after:  # that it was created is the beginning, and here all there is
            return
        after = lines[-1]["seq"]


def history_page(
    backend: Backend, run_id: str, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Lines of history after an entry, whole entries, as many as ``limit`` or a little more; and the entry
    that the next page begins after, None at the end.
    """
    lines: list[dict[str, Any]] = []
    for line in backend.history(run_id, after=after):
        if len(lines) >= limit and line["seq"] != lines[-1]["seq"] and lines[-1]["seq"] > 0:
            return lines, lines[-1]["seq"]
        lines.append(line)
    return lines, None


async def _rings(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _seq(place: str | None) -> int:
    """An entry's number; what is none is the beginning."""
    known = place is not None and place.isascii() and place.isdecimal() and len(place) < 19
    return int(place) if known and place else 0


class Seats:
    """How many streams there are, and whose."""

    def __init__(self, all_together: int, of_one: int) -> None:
        self._all = all_together
        self._one = of_one
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many there are."""
        return self._taken.total()

    @contextlib.contextmanager
    def seat(self, client: str) -> Iterator[None]:
        """One more. ``TooMany``."""
        if self.taken >= self._all or self._taken[client] >= self._one:
            raise TooMany("there are as many live streams as there may be", wait=5.0)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


def as_text(events: Sequence[Event]) -> bytes:
    """As server-sent events. JSON has no line breaks of its own, so one line of data is all of it."""
    return b"".join(_as_text(event) for event in events)


def _as_text(event: Event) -> bytes:
    if event is PING:
        return b"event: ping\ndata: {}\n\n"  # without an id: the last one stays
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.name.encode(), event.data)


def as_message(events: Sequence[Event]) -> str:
    """As a message of a WebSocket: a JSON list of ``{id, event, data}``."""
    parts = (
        b'{"id":%b,"event":"%b","data":%b}' % (msgspec.json.encode(event.id), event.name.encode(), event.data)
        for event in events
    )
    return (b"[" + b",".join(parts) + b"]").decode()
