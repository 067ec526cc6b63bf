"""Where the scenarios keep their runs while they are tested: on SQLite; some on Temporal as well, and say so.

With ``SCENARIOS_ON=temporal``, all of them there: ``make scenarios-on-temporal``.
"""

from __future__ import annotations

import os

import pytest

from examples.services.stage import DATABASE
from tests.temporal.conftest import pytest_terminal_summary, server
from tests.temporal.server import Server

__all__ = ["database", "pytest_terminal_summary", "server"]


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by ``on_temporal_too``, or by the environment."""
    if getattr(request, "param", os.environ.get("SCENARIOS_ON", "sqlite")) == "temporal":
        running: Server = request.getfixturevalue("server")
        monkeypatch.setenv(DATABASE, f"temporal://{running.target}/default")
    else:
        monkeypatch.delenv(DATABASE, raising=False)
