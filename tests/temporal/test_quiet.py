"""When a case on Temporal is quiet: runs are activated in other threads than the one that looks."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from flowctl.testing.conformance import RUN_ID, Case
from flowctl.testing.temporal import World, _under_way, _worlds

CASE = {"case": "a nap", "workflow": {"steps": [{"sleep": "1s"}]}, "expect": {"status": "completed"}}

HERE: Any = SimpleNamespace(namespace="here")

RESTS: Any = SimpleNamespace(moves=False)
"""A host that waits for nothing that is under way."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(Case.parse(CASE))
    monkeypatch.setitem(_worlds, "here", world)
    return world


def test_a_world_in_which_nothing_is_under_way_is_quiet(world: World) -> None:
    assert not world.moves


def test_a_world_moves_while_a_run_is_activated(world: World) -> None:
    with _under_way(HERE, None):
        assert world.moves
    assert not world.moves


def test_a_run_whose_activation_begins_during_a_look_is_not_seen_half_done(world: World) -> None:
    done = threading.Event()

    def activate() -> None:
        with _under_way(HERE, None):
            world.hosts[RUN_ID] = RESTS  # it has yet to ask for its first attempt
            done.wait()

    activation = threading.Thread(target=activate)

    class Expected(set[str]):
        def __le__(self, known: Any) -> bool:  # the look is half way through
            activation.start()
            activation.join(timeout=0.05)
            return super().__le__(known)

    world.expected = Expected({RUN_ID})
    try:
        assert world.moves
    finally:
        done.set()
        activation.join()
