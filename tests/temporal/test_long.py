"""Runs of any length: they continue as new by themselves, until what they remember is too much."""

from __future__ import annotations

import asyncio

import pytest

from flowctl.runtimes.temporal import begin
from tests.temporal.long import go
from tests.temporal.server import Server

STEPS = 150


@pytest.mark.parametrize(("shape", "at_once"), [("flat", 1), ("foreach", 10)])
def test_a_run_moves_again_and_again_and_is_undone_in_reverse(
    server: Server, shape: str, at_once: int
) -> None:
    came = asyncio.run(go(server, STEPS, shape=shape, at_once=at_once, moves_at=500))
    assert came.wrong(STEPS) == []
    assert came.status["error"]["type"] == "ValueError"
    assert came.parts > 2


def test_a_run_that_is_too_large_to_be_moved_fails_names_its_largest_steps_and_is_undone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begin, "MOST", 50_000)
    came = asyncio.run(go(server, STEPS, noisy=True, moves_at=300))
    assert came.wrong(STEPS) == []
    assert came.status["error"]["type"] == "PayloadTooLarge"
    assert "its largest steps are s" in came.status["error"]["message"]
    assert 50 < len(came.effects.done) < STEPS
