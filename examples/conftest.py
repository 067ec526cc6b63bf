"""Where the scenarios keep their runs while they are tested: on SQLite, those that say so on Temporal as well;
with ``SCENARIOS_ON=temporal`` (``make scenarios-on-temporal``) all of them there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from examples.services.stage import DATABASE
from tests.temporal.conftest import REQUIRED
from tests.temporal.server import NoServer, Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of Temporal, for all of them."""
    try:
        with serving(tmp_path_factory.mktemp("temporal")) as started:
            yield started
    except NoServer as problem:
        if os.environ.get(REQUIRED) == "1":
            raise
        pytest.skip(str(problem))


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by ``on_temporal_too``, or by the environment."""
    if getattr(request, "param", os.environ.get("SCENARIOS_ON", "sqlite")) == "temporal":
        server: Server = request.getfixturevalue("server")
        monkeypatch.setenv(DATABASE, f"temporal://{server.target}/default")
    else:
        monkeypatch.delenv(DATABASE, raising=False)
