"""The stories of the examples on Temporal: they end as they do on SQLite, with real activities and services.

All that were selected are played before the first is judged: some examples beside each other, the stories of
one example one after the other, each first on SQLite, then on Temporal.
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowctl.backends import Backend, open_backend
from flowctl.embedding.loading import Documents
from flowctl.plugins import Plugins, load
from tests.temporal.conftest import EVERYTHING
from tests.temporal.server import Server
from tests.test_examples import DATABASES, EXAMPLES, STORIES, Story, assert_ended

WAITS = 60_000
"""Milliseconds, as ``flowctl run`` does."""

VARIABLES = {example: file.replace(".", "_").upper() for example, file in DATABASES.items()}
"""Where an example's services look for the name of their database."""

LONG = "a thousand sellers are paid"
TOLD = [story for story in STORIES if EVERYTHING or story != LONG]

AT_ONCE = 4
"""Examples that are played beside each other."""

STEPS = 2_000


@dataclasses.dataclass(frozen=True)
class Played:
    """How a run went on both engines, by its status documents, or what went wrong."""

    here: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    there: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: BaseException | None = None


@pytest.fixture(scope="session")
def played(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Played]]:
    """By the names of the stories."""
    wanted = [
        str(item.callspec.params["story"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_a_story_ends_as_on_sqlite.__name__
    ]
    folder = tmp_path_factory.mktemp("stories")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLOWCTL_SECRET_MAIL_TOKEN", "demo")
        for example, variable in VARIABLES.items():
            patch.setenv(variable, str(folder / DATABASES[example]))
        plugins = load([EXAMPLES / example for example in DATABASES], entry_points=False)
        lanes: dict[str, list[str]] = defaultdict(list)
        for story in wanted:
            lanes[STORIES[story].example].append(story)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            played = threads.map(lambda lane: _play_all(server, plugins, lane), lanes.values())
            yield {name: how for lane in played for name, how in lane.items()}


def _play_all(server: Server, plugins: Plugins, stories: Sequence[str]) -> dict[str, Played]:
    return {story: _play_on_both(server, plugins, story) for story in stories}


def _play_on_both(server: Server, plugins: Plugins, story: str) -> Played:
    told = STORIES[story]
    database = Path(os.environ[VARIABLES[told.example]])
    try:
        database.unlink(missing_ok=True)
        here = _play(told, open_backend("memory:", plugins=plugins), plugins)
        database.unlink()
        queue = server.url(task_queue=story.replace(" ", "-"))
        there = _play(told, open_backend(queue, plugins=plugins), plugins)
        assert_ended(told, there, database)
    except Exception as problem:  # that test fails with it, and the others go on
        return Played(problem=problem)
    return Played(here, there)


def _play(told: Story, backend: Backend, plugins: Plugins) -> Mapping[str, Any]:
    """As a reader does: run it, and signal whenever it waits."""
    try:
        asked = Documents(backend, plugins).request(EXAMPLES / told.workflow, told.input, None, None)
        run_id, _ = backend.start(asked)
        shown = backend.drive(run_id, wait=WAITS)
        for name, payload in told.signals:
            assert [(wait["kind"], name in wait["names"]) for wait in shown["waiting_for"]] == [
                ("signal", True)
            ]
            backend.signal(run_id, name, payload)
            shown = backend.drive(run_id, wait=WAITS)
        return backend.status(shown["id"], count=STEPS)
    finally:
        backend.close()


@pytest.mark.parametrize("story", TOLD)
def test_a_story_ends_as_on_sqlite(story: str, played: Mapping[str, Played]) -> None:
    how = played[story]
    if how.problem is not None:
        raise how.problem
    assert ends(how.there) == ends(how.here)
    if STORIES[story].undone is not None and not has_race(how.here):
        assert steps(how.there) == steps(how.here)


def ends(shown: Mapping[str, Any]) -> dict[str, Any]:
    """How it ended."""
    error = (shown["error"] or {}).get("type")
    return {key: shown[key] for key in ("status", "output", "attributes", "memo")} | {"error": error}


def has_race(shown: Mapping[str, Any]) -> bool:
    """Whether branches were called off: how far they came is chance, but for what the story says of it."""
    return any(step["status"] == "cancelled" for step in shown["steps"])


def steps(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Steps by scope, in their order. How many attempts one took is compared where a story speaks of it: a
    slow machine may need more, as time is real here.
    """
    scopes: dict[str, list[Any]] = defaultdict(list)
    for step in shown["steps"]:
        scope, _, _ = step["path"].rpartition(".")
        scopes[scope].append([step[key] for key in ("path", "kind", "name", "status")])
    return scopes
