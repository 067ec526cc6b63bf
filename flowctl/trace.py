"""Where things are in a trace, as W3C Trace Context has it: ids that follow from a run and a path.

So every process that has a hand in a run names its spans the same, knows the ids of those that others made,
and a run that is resumed elsewhere goes on in its trace. The trace id is made when a run is started, and its
children and successors have the same (``Run.trace_id``).
"""

from __future__ import annotations

import hashlib


def run_span(run_id: str) -> str:
    """The id of a run's span: 16 hexadecimal digits."""
    return _id("run", run_id)


def step_span(run_id: str, path: str, generation: int = 0) -> str:
    """The id of the span of a step, which has all of its attempts."""
    return _id("step", run_id, path, str(generation))


def attempt_span(run_id: str, path: str, attempt: int, generation: int = 0) -> str:
    """The id of the span of one attempt."""
    return _id("attempt", run_id, path, str(attempt), str(generation))


def traceparent(trace_id: str, span_id: str) -> str:
    """The ``traceparent`` header that makes what is called a part of this span."""
    return f"00-{trace_id}-{span_id}-01"


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
