"""Functions of plugins on Temporal: a run is replayed to be read, so whoever reads it needs them as well as
whoever works on it; and what becomes of a run that a worker without them is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import Observer
from flowctl.backends.temporal.backend import TemporalBackend
from flowctl.embedding.loading import Documents
from flowctl.errors import ExpressionError, RunNotFound
from flowctl.plugins import load
from flowctl.runtimes.temporal import failing
from tests.function_helpers import DOCUMENT, LACKS, PARENT, furnish, live_through
from tests.temporal.server import Server

Open = Callable[..., TemporalBackend]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where we are."""
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


@pytest.fixture
def opened(folder: Path, server: Server, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens backends with the plugins of a folder."""
    every = []

    def open_(plugins: str) -> TemporalBackend:
        url = server.url(task_queue=request.node.name)
        every.append(TemporalBackend(url, load([folder / plugins], entry_points=False), None))
        return every[-1]

    yield open_
    for backend in every:
        backend.close()


def start(backend: TemporalBackend, document: str = DOCUMENT) -> str:
    assert backend._plugins is not None
    request = Documents(backend, backend._plugins).request(document, {}, None, None)
    return backend.start(request)[0]


def test_every_command_knows_the_functions_of_plugins(
    folder: Path, server: Server, request: pytest.FixtureRequest
) -> None:
    live_through(folder, server.url(task_queue=request.node.name))


def test_a_worker_without_a_function_says_so_in_a_line_and_the_run_is_blocked_until_another_has_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(failing, "FAILURES", 1)
    having = opened("plugins")
    run_id, parent = start(having), start(having, PARENT)

    with caplog.at_level(logging.WARNING):
        opened("empty").work(drain=True, observe=_nobody)
    lines = {record.getMessage() for record in caplog.records if "double" in record.getMessage()}
    assert lines == {f"run {blocked} cannot be driven: {LACKS}" for blocked in (run_id, parent)}
    assert not any(record.exc_info for record in caplog.records)

    for plugins in ("empty", "plugins"):
        reader = opened(plugins)
        for blocked in (run_id, parent):
            assert reader.status(blocked)["status"] == "blocked"
            assert reader.status(blocked)["blocked"]["reason"] == f"it cannot be driven: {LACKS}"
        assert [run["status"] for run in reader.list()] == ["blocked", "blocked"]

    having = opened("plugins")
    having.signal(run_id, "go", None)
    assert having.drive(run_id, wait=0)["output"] == 8  # as soon as the other worker's time is up
    assert having.drive(parent, wait=0)["status"] == "waiting"
    having.signal(f"{parent}/child", "go", None)
    having.signal(parent, "fail", None)
    assert having.drive(parent, wait=0)["saga"]["undone"] == ["undone", "child"]


def test_whoever_lacks_a_function_is_told_so_and_sees_all_other_runs(opened: Open) -> None:
    having = opened("plugins")
    run_id = start(having)
    assert having.drive(run_id, wait=0)["status"] == "waiting"

    lacking = opened("empty")
    asked: list[Callable[[], Any]] = [
        lambda: lacking.status(run_id),
        lambda: lacking.signal(run_id, "go", None),
        lambda: lacking.drive(run_id, wait=0),
    ]
    for ask in asked:
        with pytest.raises(ExpressionError) as told:
            ask()
        assert str(told.value) == LACKS
    with pytest.raises(RunNotFound):
        lacking.status("another")
    assert [run["status"] for run in lacking.list()] == ["waiting"]


_nobody: Observer = lambda *about: None  # noqa: E731
