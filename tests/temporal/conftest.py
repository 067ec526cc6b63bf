"""One server for all tests on Temporal. Where there is none, they are skipped, and one line says so; where
``FLOWCTL_TEMPORAL_REQUIRED`` is 1, that is a failure.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowctl.backends.temporal.backend import TemporalBackend
from flowctl.embedding.loading import Documents
from flowctl.plugins import load
from tests.temporal.server import NoServer, Server, find, serving

LANES = ("lane-0", "lane-1", "lane-2", "lane-3")
"""Namespaces in which cases run beside each other."""

REQUIRED = "FLOWCTL_TEMPORAL_REQUIRED"

EVERYTHING = os.environ.get("FLOWCTL_TEMPORAL_ALL") == "1"
"""Whether to run also what takes minutes. It has been done (docs/temporal.md)."""

Begun = Callable[[str], tuple[TemporalBackend, str]]

_missing: list[str] = []


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the server's program."""
    try:
        return find(tmp_path_factory.mktemp("temporal"))
    except NoServer as problem:
        return _without(problem)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is shared."""
    try:
        with serving(tmp_path_factory.mktemp("temporal"), namespaces=LANES) as started:
            yield started
    except NoServer as problem:
        _without(problem)


@pytest.fixture
def begun(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begun]:
    """Starts a run of a document, and drives it to where it rests."""
    monkeypatch.chdir(tmp_path)
    plugins = load(entry_points=False)
    with contextlib.closing(TemporalBackend(server.url(task_queue="begun"), plugins, None)) as backend:

        def begin(source: str) -> tuple[TemporalBackend, str]:
            run_id, _ = backend.start(Documents(backend, plugins).request(source, {}, None, None))
            backend.drive(run_id, wait=0)
            return backend, run_id

        yield begin


def _without(problem: NoServer) -> str:
    if os.environ.get(REQUIRED) == "1":
        raise problem
    if not _missing:
        _missing.append(str(problem))
    pytest.skip(str(problem))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for problem in _missing:
        terminalreporter.write_line(f"what needs Temporal was skipped: {problem}")
