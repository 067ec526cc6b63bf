"""Exceptions as data: what an activity raised becomes a ``Failure``, whatever it does to resist it.

An exception is a stranger's object: its ``__str__`` may raise, its ``details`` may be a socket, its causes
may go in a circle, and its text may hold a secret. All of that ends here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from flowctl import values
from flowctl.activities.masking import NOTHING, Mask
from flowctl.errors import MESSAGE_LIMIT, Failure, failure_of

CAUSES = 4
"""Links of ``raise … from …`` that are kept."""

DETAILS_LIMIT = 1 << 16
"""Encoded bytes of an error's details; larger ones are left out, for an error is not a result."""


class ActivityError(Exception):
    """An error whose type a workflow can name without a class for it: ``raise ActivityError("…",
    type="OutOfStock")``.

    ``details`` is JSON for programs. Any exception may have such an attribute; a subclass is its own type.
    """

    def __init__(self, message: str, *, type: str | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.type = type
        self.details = details


def failure_from(error: BaseException, mask: Mask = NOTHING, depth: int = CAUSES) -> Failure:
    """The failure an exception is: its types, text, ``details`` and explicit causes, without the secrets of
    the attempt."""
    failure = failure_of(error)
    try:
        details = getattr(error, "details", None)
        if isinstance(error, ActivityError) and isinstance(error.type, str):
            failure = dataclasses.replace(failure, type=error.type, types=(error.type,))
    except BaseException:  # a property of a stranger's class may raise anything
        details = None
    cause = error.__cause__
    failure = dataclasses.replace(
        failure,
        details=details if _fits(details) else None,
        cause=failure_from(cause, depth=depth - 1) if cause is not None and depth else None,
    )
    return masked(failure, mask)


def masked(failure: Failure, mask: Mask) -> Failure:
    """A failure and its causes without the secrets of the attempt."""
    if not mask:
        return failure
    text = failure.message
    return dataclasses.replace(
        failure,
        type=mask.text(failure.type),
        types=tuple(map(mask.text, failure.types)),
        message=mask.cut(text) if len(text) == MESSAGE_LIMIT else mask.text(text),
        details=mask.data(failure.details),
        cause=masked(failure.cause, mask) if failure.cause is not None else None,
    )


def _fits(details: Any) -> bool:
    return 0 < values.weigh(details, DETAILS_LIMIT) <= DETAILS_LIMIT
