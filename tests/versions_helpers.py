"""What the tests of migrating and replaying share: a journal in a file, and engines that live one after the
other, in virtual time. An activity ``t.NAME`` echoes its argument ``value``, unless it is scripted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl import values
from flowctl.activities import Activity, ActivityContext, activity, declared
from flowctl.document import load
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal import Run
from flowctl.journal.opening import connect
from flowctl.journal.verify import verify_chain
from flowctl.model import Workflow
from flowctl.testing.loop import VirtualTimeLoop
from flowctl.testing.script import ScriptedActivities
from flowctl.testing.world import START

HALF_A_DAY = 43_200_000
"""What a life waits for, in milliseconds; a run lives a day unless it says otherwise."""

SIGNALS: dict[str, Any] = {"go": {}, "never": {}}


def workflow_of(steps: Sequence[Any], **more: Any) -> Workflow:
    """A document named ``case`` with these steps."""
    document = {"dsl": 1, "name": "case", "signals": SIGNALS, "steps": list(steps), **more}
    return load(values.encode(document).decode(), "case.json").workflow


class World:
    """A journal in a file, and what the activities were asked, over all lives of engines on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = VirtualTimeLoop()
        self.asked: list[tuple[str, Any]] = []
        self.acts: Mapping[str, Any] = {}
        self.script = ScriptedActivities(self.acts)

    def scripted(self, **acts: Any) -> None:
        """From now on the activities ``t.NAME`` act like this (``testing.script``)."""
        self.acts = {f"t.{name}": act for name, act in acts.items()}
        self.script = ScriptedActivities(self.acts)

    def close(self) -> None:
        self.loop.close()

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.live(asyncio.sleep(seconds))

    def live(self, life: Coroutine[Any, Any, Any]) -> Any:
        """Let something happen, in virtual time, which goes on from where it was."""
        return self.loop.run_until_complete(life)

    def engine(self) -> Engine:
        """A new process, so to speak: an engine on the journal."""
        scripted = self.script.activities(self.acts)
        others = {
            name: self._echo(name) for name in (f"t.{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
        }
        return Engine(
            connect(str(self.path)),
            others | scripted,
            secret=lambda name: None,
            clock=lambda: START + self.loop.milliseconds(),
        )

    def _echo(self, name: str) -> Activity:
        async def echo(ctx: ActivityContext, value: Any = None) -> Any:
            self.asked.append((ctx.path, value))
            return value

        made = declared(activity(name)(echo))
        assert made is not None
        return made

    # --- one engine's life each

    def start(self, workflow: Workflow, input: Mapping[str, Any] | None = None, **more: Any) -> Run:
        """Start the run ``r`` and drive it as far as it comes."""
        engine = self.engine()
        engine.start(workflow, _source(workflow), input or {}, id="r", **more)
        return self._drive(engine, "r")

    def resume(self, run_id: str = "r") -> Run:
        """Drive a run as far as it comes, or for half a day."""
        return self._drive(self.engine(), run_id)

    def signal(self, run_id: str = "r", name: str = "go") -> None:
        engine = self.engine()
        engine.signal(run_id, name, None)
        engine.journal.close()

    def migrate(self, workflow: Workflow, run_id: str = "r", children: Closure | None = None) -> Run:
        engine = self.engine()
        try:
            return engine.migrate(run_id, workflow, _source(workflow), children=children)
        finally:
            engine.journal.close()

    def replay(self, start: str, run_id: str = "r", **more: Any) -> Run:
        """Accept a replay and drive it as far as it comes."""
        engine = self.engine()
        try:
            accepted = engine.replay(run_id, start, **more)
        except BaseException:
            engine.journal.close()
            raise
        return self._drive(engine, accepted.id)

    def run(self, run_id: str = "r") -> Run:
        engine = self.engine()
        run = engine.run(run_id)
        assert verify_chain(engine.journal, run_id) is None
        engine.journal.close()
        return run

    def facts(self, run_id: str = "r") -> list[tuple[str, str, Any]]:
        """Path, kind and data of all that was recorded."""
        engine = self.engine()
        entries = engine.journal.entries(run_id)
        engine.journal.close()
        return [(fact.path, fact.kind, fact.data) for entry in entries for fact in entry.facts()]

    def _drive(self, engine: Engine, run_id: str) -> Run:
        run: Run = self.live(engine.drive(run_id, wait=HALF_A_DAY))
        engine.journal.close()
        return run


def _source(workflow: Workflow) -> str:
    return values.encode(workflow.body).decode()
