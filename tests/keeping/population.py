"""A database with a bit of everything that can be in one: what harnesses and tests of this room work on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from flowctl.document.closure import Closure
from flowctl.model import Workflow
from tests.versions_helpers import World, _source, workflow_of

LINE = [
    {"id": "a", "activity": "t.a", "with": {"value": "${{ input.n }}"}, "compensate": {"activity": "t.u"}},
    {"id": "b", "activity": "t.b", "with": {"value": "zwölf"}},
    {"id": "c", "activity": "t.c"},
]
LOOP = [
    {
        "id": "each",
        "foreach": "range(12)",
        "steps": [{"id": "s", "activity": "t.s", "with": {"value": "${{ item }}"}}],
    }
]
WAIT = [LINE[0], {"id": "w", "wait_for_signal": "go"}, LINE[1]]
CHAIN = [{"if": "input.n > 0", "continue_as_new": {"input": {"n": "${{ input.n - 1 }}"}}}]
PARENT = [{"id": "kid", "workflow": "child", "with": {"n": 1}}, LINE[1]]
FAIL = [LINE[0], {"fail": {"type": "Broken", "message": "on purpose"}}]


class Population(World):
    """A world with runs of many names."""

    def live_as(self, name: str, workflow: Workflow, children: Closure | None = None, **input: Any) -> str:
        """Start a run of that id and drive it as far as it comes."""
        engine = self.engine()
        engine.start(workflow, _source(workflow), input, id=name, children=children)
        return str(self._drive(engine, name).status)

    def abandon(self, name: str, workflow: Workflow, **input: Any) -> None:
        """Start a run in a process that dies while it drives it."""
        pid = os.fork()
        if pid == 0:
            try:
                engine = self.engine()
                engine.start(workflow, _source(workflow), input, id=name)
                self.live(engine.drive(name, wait=0, observe=_die_after_two()))
            finally:
                os._exit(1)
        os.waitpid(pid, 0)


def _die_after_two() -> Any:
    seen = []

    def observe(change: Any) -> None:
        seen.append(change)
        if len(seen) == 2:
            os._exit(0)

    return observe


def family() -> tuple[Workflow, Closure]:
    """A parent, and what it can need."""
    child, parent = workflow_of(LINE[:1], name="child"), workflow_of(PARENT, name="parent")
    documents = {each.digest: each for each in (child, parent)}
    return parent, Closure(documents, {(parent.digest, "child"): child.digest})


def populate(path: Path, early: Path | None = None) -> None:
    """Make the database. ``early`` becomes a copy of it as it was half way."""
    world = Population(path)
    world.live_as("line", workflow_of(LINE, version=1), n=1)
    world.live_as("wait", workflow_of(WAIT, name="waits"), n=2)
    world.live_as("wait-too", workflow_of(WAIT, name="waits"), n=3)
    engine = world.engine()
    for version in (1, 2):
        deployed = workflow_of(LINE, version=version, name="deployed")
        engine.pin(deployed, _source(deployed))
        engine.deploy(deployed)
    engine.journal.deprecate("deployed", 1, "there is a better one")
    engine.journal.close()
    if early is not None:
        shutil.copy(path, early)
    world.signal("wait")
    world.signal("wait-too", "never")
    world.resume("wait")
    world.live_as("loop", workflow_of(LOOP))
    world.live_as("fails", workflow_of(FAIL), n=4)
    world.live_as("chain", workflow_of(CHAIN), n=3)
    parent, children = family()
    world.live_as("parent", parent, children)
    world.replay("b", "line")
    world.migrate(workflow_of([*WAIT, LINE[2]], name="waits", version=2), "wait-too")
    world.abandon("gone", workflow_of(LINE), n=5)
    world.close()
