"""When ``flowctl run`` is done with a run on Temporal. These tests need no server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowctl.backends.temporal import driving
from flowctl.backends.temporal.driving import Driving
from flowctl.errors import RunNotFound
from flowctl.journal import Run
from flowctl.runtimes.temporal.remote import Seen

CHILD = [{"path": "call", "kind": "child", "names": ["r/call"], "until": None}]
NOW = 1_000


def a_run(status: str, **more: Any) -> Run:
    return Run("r", "r", "w", 1, "d", None, 0, 0, status=status, **more)


@pytest.mark.parametrize(
    ("child", "rests"),
    [
        (None, False),
        (a_run("created"), False),
        (a_run("running"), False),
        (a_run("completed"), False),
        (a_run("failed"), False),
        (a_run("waiting"), True),
        (a_run("waiting", wake_at=NOW), False),
        (a_run("waiting", wake_at=NOW + 1), True),
        (a_run("blocked"), True),
    ],
    ids=lambda value: "not there" if value is None else str(getattr(value, "status", value)),
)
def test_a_run_that_waits_for_a_child_rests_if_the_child_does(
    child: Run | None, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not if it is about to begin, and not if it has ended, of which the run is about to hear."""

    class Found(Seen):
        def __init__(self) -> None:
            pass

        @property
        def run(self) -> Run:
            assert child is not None
            return child

    async def seen(client: object, run_id: str) -> Seen:
        if child is None:
            raise RunNotFound(run_id)
        return Found()

    async def is_calm(driving: Driving, workflow_id: str) -> bool:
        return True

    monkeypatch.setattr(driving, "seen", seen)
    monkeypatch.setattr(Driving, "_is_calm", is_calm)
    here: Any = None
    one = Driving("", here, "queue", None, here)
    assert asyncio.run(one._is_at_rest(a_run("waiting", waiting_for=CHILD), NOW)) is rests
