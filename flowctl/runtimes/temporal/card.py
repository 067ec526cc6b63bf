"""The card of a run: what Temporal's index says of it, so that listing runs needs no history.

1. A run keeps its card in its memo. It is what ``list`` shows of the run, and is renewed with every change of
   its state or of what it is found by. Of a run that moves, states apart, the card may be behind; of one that
   rests, or has ended, it is exact.
2. Where two search attributes are registered in the namespace, ``STATUS`` and ``ATTRIBUTES``, runs that are
   started from then on have their state and their attributes there as well. They let the server leave out
   what is not asked for; who reads judges by the card. So what they say may be shortened, and runs that do
   not have them are found all the same.
3. Whether a run has either is said when it begins, and stays so, because a replay must come to the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from flowctl import values
from flowctl.journal import Entry, Run
from flowctl.runtimes.temporal.wire import raw
from flowctl.state import RunStatus
from flowctl.status import summary

MARK = "flowctl"
"""The key in the memo of every run, by which ours are told from other workflows of the namespace."""

CARD = "run"
"""The key of the card."""

STATUS = SearchAttributeKey.for_keyword("FlowctlStatus")
ATTRIBUTES = SearchAttributeKey.for_keyword_list("FlowctlAttributes")

MOVING = frozenset({RunStatus.CREATED, RunStatus.RUNNING, RunStatus.COMPENSATING})
"""States in which a card is not renewed with every step."""

LARGEST = 16_384
"""Bytes of a card. A larger one says only whose it is, and how that run stands."""

MANY = 50
"""Attributes that are told to the server."""

MORE = "*"
"""Stands for those that are not."""

_PLAIN = re.compile(r"[\w .:/@+-]{1,120}")

Memo = dict[str, Any]


def memo_of(run: Run, entries: Iterable[Entry] = ()) -> Memo:
    """The memo of a run as it stands."""
    return {MARK: 1, CARD: raw(card_of(run, entries))}


def card_of(run: Run, entries: Iterable[Entry]) -> dict[str, Any]:
    """The card: ``summary``, and ``wake_at`` in milliseconds, or ``id status wake_at`` if that is too
    large.
    """
    short = {"id": run.id, "status": str(run.status), "wake_at": run.wake_at}
    card = summary(run, entries) | short
    return card if len(values.encode(card)) <= LARGEST else short


def is_whole(card: Mapping[str, Any]) -> bool:
    """Whether nothing was left out."""
    return "workflow" in card


def shown(card: Mapping[str, Any]) -> dict[str, Any]:
    """What ``list`` shows of the run."""
    return {key: value for key, value in card.items() if key != "wake_at"}


def index_of(run: Run) -> list[SearchAttributePair[Any]]:
    """The search attributes of a run."""
    search = (run.attributes or {}).get("search", {})
    found = [entry_of(name, value) for name, value in sorted(search.items())][:MANY]
    more = [MORE] if len(search) > MANY else []
    return [
        SearchAttributePair(STATUS, str(run.status)),
        SearchAttributePair(ATTRIBUTES, [*found, *more]),
    ]


def entry_of(name: str, value: Any) -> str:
    """One attribute, ``item=desk``. What is long or strange is told apart by a digest; equal values, and
    maybe others, have equal entries.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else values.encode(value).decode()
    if _PLAIN.fullmatch(f"{name}{text}"):
        return f"{name}={text}"
    return f"~{hashlib.sha256(f'{name}={text}'.encode()).hexdigest()[:24]}"


class Showing:
    """Keeps the card of a run up to date, inside its workflow. ``since`` is the run as its card shows it."""

    def __init__(self, since: Run, *, cards: bool, indexed: bool) -> None:
        self._cards = cards
        self._indexed = indexed
        self._last = _state(since)
        self._search = index_of(since)

    def renew(self, run: Run, entries: Callable[[], Iterable[Entry]]) -> None:
        """Have it say what has changed, if anything has."""
        if not self._cards or _state(run) == self._last:
            return
        self._last = _state(run)
        card = {} if workflow.unsafe.is_replaying() else card_of(run, entries())
        workflow.upsert_memo({CARD: raw(card)})
        search = index_of(run)
        if self._indexed and search != self._search:
            self._search = search
            workflow.upsert_search_attributes([key.value_set(value) for key, value in search])

    def of_another(self, run: Run) -> dict[str, Any]:
        """The arguments with which another run of the same kind is started."""
        if not self._cards:
            return {"memo": {MARK: 1}}
        search = {"search_attributes": TypedSearchAttributes(index_of(run))} if self._indexed else {}
        return {"memo": memo_of(run), **search}


def _state(run: Run) -> tuple[Any, ...]:
    """What its card follows. Cheap: it is asked after every commit, and in every replay."""
    return run.status, run.attributes, None if run.status in MOVING else run.entries
