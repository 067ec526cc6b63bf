"""What attempts may leave behind: effects that nobody undoes, and effects that happen twice.

Both are about activities that a document calls with more patience than they were written for. An author who
knows better says so: ``after: completed`` written out, or a ``retry`` in the activity's own declaration, and
the warning is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.document.places import Pointer
from flowctl.document.structure import mapping
from flowctl.document.subject import Subject
from flowctl.document.texts import texts_in
from flowctl.document.trees import paths_in
from flowctl.retry import RetryPolicy

Holders = list[tuple[Mapping[str, Any], Pointer]]
"""What says something about a call, and where it stands; the first that says it counts."""

_DEFAULTS: Pointer = ("defaults",)
_LIMITS = ("timeout", "total_timeout", "heartbeat_timeout")


def check_effects(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str) -> None:
    """Report what an activity step may leave behind. ``name`` is what messages call it."""
    entry = subject.entry(step.get("activity"))
    there = ("activities", str(step.get("activity")))
    holders: Holders = [(step, pointer), (entry, there)]
    _check_doubt(subject, holders, name)
    _check_repetition(
        subject, step, pointer, [*holders, (mapping(subject.data.get("defaults")), ("defaults",))]
    )


def _check_doubt(subject: Subject, holders: Holders, name: str) -> None:
    """A limit that is written down may well be reached; then the outcome is not known."""
    limited = any(limit in holder for holder, _ in holders for limit in _LIMITS)
    holder, pointer = next((pair for pair in holders if "compensate" in pair[0]), ({}, ()))
    compensate = holder.get("compensate")
    if not limited or not isinstance(compensate, dict) or "after" in compensate:
        return
    message = (
        f"if {name} times out, nobody undoes what it may have done: its compensation covers success only"
    )
    hint = "write 'after: attempted' if undoing copes with nothing to undo, else 'after: completed'"
    subject.report.warning("InDoubt", (*pointer, "compensate"), message, hint=hint, key=True)


def _check_repetition(subject: Subject, step: Mapping[str, Any], pointer: Pointer, holders: Holders) -> None:
    """An attempt whose answer was lost looks like a failure; the next one should not do it all again."""
    signature = subject.signature(step.get("activity"))
    holder, place = next((pair for pair in holders if "retry" in pair[0]), ({}, ()))
    if signature is None or signature.keyed or _attempts(holder.get("retry")) < 2:
        return
    declared = signature.policy.retry if signature.policy is not None else None
    if declared is not None or any(map(_passes_key, texts_of(step.get("with")))):
        return
    message = f"{signature.name} is tried again and cannot know that it is: it gets no idempotency key"
    hint = (
        "pass it ${{ step.idempotency_key }}; or, if repeating it does no harm, declare that with its 'retry'"
    )
    at_step = place == _DEFAULTS
    where = (*pointer, "activity") if at_step else (*place, "retry")
    subject.report.warning("NotIdempotent", where, message, hint=hint, key=not at_step)


def _attempts(retry: Any) -> int:
    written = retry.get("attempts", RetryPolicy().attempts) if isinstance(retry, dict) else 1
    return written if isinstance(written, int) else 1


def texts_of(value: Any) -> list[str]:
    return [text for _, text in texts_in(value, ())]


def _passes_key(text: str) -> bool:
    return "step" in text and any(
        path.root == "step" and [step.key for step in path.steps[:1]] == ["idempotency_key"]
        for path in paths_in(text)
    )
