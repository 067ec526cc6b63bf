"""Limits on everything that somebody outside can make more of."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

KEPT = 10_000
"""Clients whose rate is remembered; the one heard from longest ago is forgotten first."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. ``streams`` are live ones, ``rate`` and ``burst`` requests of one
    client, ``failures`` those with wrong credentials from one address, per minute.
    """

    body: int = 1 << 20
    headers: int = 16 << 10
    url: int = 8 << 10
    connections: int = 2_200
    streams: int = 2_000
    streams_per_client: int = 100
    rate: float = 100.0
    burst: int = 500
    failures: int = 30
    waiting: int = 128
    patience: float = 10.0
    stall: float = 30.0
    keep_alive: int = 5
    answer: float = 30.0


class Rate:
    """Token buckets: ``burst`` at once, ``rate`` a second, by client."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one; 0, or in how many seconds there will be one."""
        left = self._left(client)
        if left < 1:
            return (1 - left) / self._rate
        self._keep(client, left - 1)
        return 0.0

    def exhausted(self, client: str) -> bool:
        """Whether there is none, without taking one."""
        return self._left(client) < 1

    def _left(self, client: str) -> float:
        left, at = self._buckets.get(client, (float(self._burst), self._clock()))
        return min(float(self._burst), left + (self._clock() - at) * self._rate)

    def _keep(self, client: str, left: float) -> None:
        self._buckets[client] = left, self._clock()
        self._buckets.move_to_end(client)
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
