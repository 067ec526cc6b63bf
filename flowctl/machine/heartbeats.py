"""Heartbeats: how far the attempts in flight have come, for whoever makes them again if this worker is lost.

They are no part of the record: a run comes out the same without them, only later. So they are not in the
chain and in no history; the journal keeps the latest of each path, beside the run. They are committed when
they come, and gone with the commit that says how the attempt ended: by then the record has them, if another
attempt may follow.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowctl.journal import Heartbeat


class Heartbeats:
    """Those of one run. ``kept`` is what the journal has, or will have once ``news`` are committed."""

    __slots__ = ("kept", "news")

    def __init__(self, kept: Iterable[Heartbeat] = ()) -> None:
        self.kept = {heartbeat.path: heartbeat for heartbeat in kept}
        self.news: dict[str, Heartbeat] = {}

    def of(self, path: str, attempt: int) -> bytes | None:
        """How far this attempt has come, or had when its worker was lost."""
        kept = self.kept.get(path)
        return kept.details if kept is not None and kept.attempt == attempt else None

    def keep(self, path: str, attempt: int, details: bytes) -> None:
        """It has come so far."""
        self.kept[path] = self.news[path] = Heartbeat(path, attempt, details)

    def clear(self, path: str) -> None:
        """No attempt is in flight there any more."""
        kept = self.kept.pop(path, None)
        if kept is not None:
            self.news[path] = Heartbeat(path, kept.attempt)

    def take(self) -> list[Heartbeat]:
        """What is to be committed, since the last call."""
        news, self.news = self.news, {}
        return list(news.values())
