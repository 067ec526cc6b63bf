"""What a workflow is started with: a packed journal, and what the installation that started it had to say.

Policies are pinned: which worker makes a decision must not matter, and the decisions of a run that is
replayed must be the same as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from flowctl.errors import PayloadTooLarge
from flowctl.model import Policy

CHUNK = 1 << 20
"""Bytes of one argument."""

MOST = (2 << 20) - (64 << 10)
"""Bytes of all of them: an input may have 2 MiB, and its payloads are described in it too."""

HEARD_WITHIN = 10_000
"""Milliseconds. A worker that makes an attempt says about once a second that it lives."""


LONG = 4_000
"""Events of a Temporal run after which it continues as new. Temporal's own limit is 51,200."""


class Begin(msgspec.Struct, frozen=True):
    """``store`` is a packed store, in which the run ``run_id`` goes on. ``policies`` are those that its
    activities declare for themselves, ``settings`` the last to be asked, ``task_queue`` where it was started
    (whoever only reads a run replays it elsewhere). With ``cards`` it keeps a card, and with ``indexed`` its
    search attributes (``card``). An attempt that was not heard of for ``heard_within`` milliseconds is lost.
    A Temporal run of ``moves_at`` events continues as new.
    """

    run_id: str
    store: bytes
    policies: Mapping[str, Policy] = {}
    settings: Policy = Policy()
    task_queue: str = "default"
    cards: bool = False
    indexed: bool = False
    heard_within: int = HEARD_WITHIN
    moves_at: int = LONG


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Begin).decode


def to_chunks(begin: Begin) -> list[bytes]:
    """As arguments. ``PayloadTooLarge``."""
    data = _encode(begin)
    if len(data) > MOST:
        raise PayloadTooLarge(
            f"run {begin.run_id} is too large for Temporal: {len(data):,} bytes, of which it takes {MOST:,}",
            hint="store large data elsewhere and pass a reference to it",
        )
    return [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


def from_chunks(chunks: Sequence[bytes]) -> Begin:
    """The inverse."""
    return _decode(b"".join(chunks))
