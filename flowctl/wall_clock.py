"""The present moment by this machine's clock: the one place that asks for it.

For runtimes, displays and what people ask of a run. Nothing that is replayed may know it: what the time is in
a run comes from its runtime (``Runtime.now``), so that it can be recorded and simulated.
"""

from __future__ import annotations

import time


def wall_clock() -> int:
    """Milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000
