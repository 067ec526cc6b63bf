"""A signal that was received, in words. As data it is four keys, of which people want two."""

from __future__ import annotations

from typing import Any

from flowctl.render.text import escape, inline

_SHAPE = {"signal", "payload", "received_at", "principal"}


def received(output: Any) -> str | None:
    """``approve from ann  {"by": "Ann"}``; None for anything else, such as what ``output:`` made of it."""
    if not isinstance(output, dict) or output.keys() != _SHAPE:
        return None
    sender = f" from {escape(output['principal'])}" if output["principal"] else ""
    payload = f"  {inline(output['payload'])}" if output["payload"] is not None else ""
    return f"{escape(output['signal'])}{sender}{payload}"
