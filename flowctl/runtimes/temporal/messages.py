"""Messages as they come to a run. Anybody may send one, by Temporal's own tools too: each is looked at."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from flowctl import values
from flowctl.journal import MessageKind


class Told(msgspec.Struct):
    """What flowctl sends: the ``payload`` of a signal or the ``data`` of a request, by whom and when."""

    payload: Any = None
    data: Any = {}
    principal: str | None = None
    dedup_id: str | None = None
    at: Annotated[int, msgspec.Meta(ge=0)] | None = None


class _Reason(msgspec.Struct):
    reason: str


class _Generation(msgspec.Struct):
    generation: int


_NEEDS: dict[str, Any] = {"cancel": _Reason, "retry": _Generation}


def message_from(kind: MessageKind, about: Any) -> Told:
    """A message. ``InvalidInput``, ``PayloadTooLarge`` or ``msgspec.ValidationError`` if it is none."""
    values.check(about, "the message")
    told = msgspec.convert(about, Told)
    msgspec.convert(told.data, _NEEDS.get(kind, dict))
    return told
