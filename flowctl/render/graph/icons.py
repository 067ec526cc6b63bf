"""Small signs drawn with a pen of 1.5 on 16 by 16: one for each verb, and one for each state.

They are paths rather than characters because nobody knows which fonts a reader has.
"""

from __future__ import annotations

from collections.abc import Mapping

_REPEAT = "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3"
_UNDO = "M3 8a5 5 0 1 1 1.6 3.7M3 4.5V8h3.5"
_CROSS = "M4.5 4.5l7 7M11.5 4.5l-7 7"
_CHECK = "M3.5 8.5l3 3 6-7"
_FORBIDDEN = "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 1 0 0-11M4.2 4.2l7.6 7.6"
_CLOCK = "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.6"

VERBS: Mapping[str, str] = {
    "activity": "M9 2L4 9h3.5L7 14l5-7H8.5z",
    "sleep": _CLOCK,
    "wait_for_signal": "M2.5 9.5V13h11V9.5M2.5 9.5h3.2l1 1.5h2.6l1-1.5h3.2M8 2.5v5M5.8 5.5L8 7.7l2.2-2.2",
    "send_signal": "M2.5 9.5V13h11V9.5M8 10V2.7M5.8 4.8L8 2.6l2.2 2.2",
    "steps": "M3 3h10v10H3zM5.5 6.5h5M5.5 9.5h5",
    "parallel": "M8 2v2.5M3.5 14V7.5a3 3 0 0 1 3-3h3a3 3 0 0 1 3 3V14",
    "foreach": _REPEAT,
    "while": _REPEAT,
    "until": _REPEAT,
    "switch": "M8 2l6 6-6 6-6-6z",
    "try": "M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4z",
    "workflow": "M2.5 2.5h7v7h-7zM6.5 12.5v1h7v-7h-1",
    "set": "M3.5 6h9M3.5 10h9",
    "patch": "M4.5 2.5v11M4.5 10c0-3 7-1.5 7-5.5M9.5 5.5l2-2 2 2",
    "attributes": "M2.5 2.5h5l6 6-5 5-6-6zM5.3 5.3v.1",
    "fail": _CROSS,
    "return": _CHECK,
    "continue_as_new": "M2.5 8h10.5M9.5 4.5L13 8l-3.5 3.5",
    "rollback": _UNDO,
    "undo": _UNDO,
}
STATES: Mapping[str, str] = {
    "created": "M8 8v.1",
    "running": "M6 4l6 4-6 4z",
    "waiting": _CLOCK,
    "retrying": _REPEAT,
    "paused": "M6 4.5v7M10 4.5v7",
    "blocked": "M5 5h6v6H5z",
    "compensating": _UNDO,
    "completed": _CHECK,
    "compensated": _UNDO,
    "compensation_failed": _CROSS,
    "failed": _CROSS,
    "cancelled": _FORBIDDEN,
    "terminated": _FORBIDDEN,
    "continued": "M2.5 8h10.5M9.5 4.5L13 8l-3.5 3.5",
    "skipped": _FORBIDDEN,
}
"""A pending step has none: nothing is to be said of it."""
