"""A run of very many steps, each with a compensation, whose last one fails: all are undone, in reverse.

    python -m tests.temporal.long --steps 10000
    python -m tests.temporal.long --steps 10000 --shape foreach
    python -m tests.temporal.long --steps 10000 --random

It runs on a development server, started for it, and continues as new by itself again and again. The outputs
are of 1 kB, with ``--random`` such that nothing can compress them; then the run may become too large to be
moved, which is a failure like any other: what was done is undone. Prints how long it took, and in how many
parts; exits with 1 if not exactly what was done has been undone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from flowctl.activities import Activity, ActivityContext, activity, declared
from flowctl.document import load
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.journal import Entry
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.runtimes.temporal.begin import LONG, Begin, to_chunks
from flowctl.runtimes.temporal.remote import seen
from flowctl.runtimes.temporal.working import working
from flowctl.status import status_document
from tests.temporal.server import Server, serving

QUEUE = "long"
SIZE = 1_000
"""Bytes of an output."""

HEAD = """
dsl: 1
name: long
activities:
  do: {uses: long.do, compensate: {activity: long.undo, with: {what: "${{ result.n }}"}}}
steps:
"""
EACH = """
  - id: each
    foreach: input.numbers
    concurrency: AT_ONCE
    steps: [{id: s, activity: do, with: {n: "${{ item }}"}}]
    output: 1
"""
LAST = "  - {id: last, activity: long.fail, retry: {attempts: 1}}\n"


def document(shape: str, steps: int, at_once: int) -> str:
    """The text of the workflow."""
    flat = "".join(f"  - {{id: s{n}, activity: do, with: {{n: {n}}}}}\n" for n in range(steps))
    return HEAD + (flat if shape == "flat" else EACH.replace("AT_ONCE", str(at_once))) + LAST


@dataclasses.dataclass
class Effects:
    """What has been done, and what undone, in order."""

    noise: random.Random | None = None
    done: list[int] = dataclasses.field(default_factory=list)
    undone: list[int] = dataclasses.field(default_factory=list)

    def activities(self) -> dict[str, Activity]:
        """That do it."""

        @activity("long.do")
        async def do(ctx: ActivityContext, n: int) -> dict[str, Any]:
            self.done.append(n)
            text = self.noise.randbytes(SIZE // 2).hex() if self.noise is not None else "x" * SIZE
            return {"n": n, "text": text}

        @activity("long.undo")
        async def undo(ctx: ActivityContext, what: int) -> None:
            self.undone.append(what)

        @activity("long.fail")
        async def fail(ctx: ActivityContext) -> None:
            raise ValueError("the last one fails")

        found = (declared(each) for each in (do, undo, fail))
        return {each.name: each for each in found if each is not None}


@dataclasses.dataclass(frozen=True)
class Came:
    """What came of it. ``completed`` are the steps in the engine's own order of completion; ``parts`` is how
    many Temporal runs it took.
    """

    effects: Effects
    completed: list[int]
    status: dict[str, Any]
    parts: int
    seconds: float

    def wrong(self, steps: int) -> list[str]:
        """What is not as it should be, a line each."""
        found = []
        error = (self.status["error"] or {"type": "nothing"})["type"]
        if len(set(self.effects.done)) != len(self.effects.done):
            found.append("something was done twice")
        if sorted(self.completed) != sorted(self.effects.done):
            found.append(f"done {len(self.effects.done)}, of which {len(self.completed)} are known")
        if self.effects.undone != self.completed[::-1]:
            found.append(f"done {len(self.completed)}, undone {len(self.effects.undone)}, or not in reverse")
        if error == "ValueError" and len(self.effects.done) != steps:
            found.append(f"only {len(self.effects.done)} steps were made")
        if error not in ("ValueError", "PayloadTooLarge"):
            found.append(f"it failed with {self.status['error']}")
        if self.status["status"] != "compensated":
            found.append(f"it is {self.status['status']}")
        return found


async def go(
    server: Server,
    steps: int,
    *,
    shape: str = "flat",
    at_once: int = 1,
    noisy: bool = False,
    moves_at: int = LONG,
) -> Came:
    """Run it."""
    client = await Client.connect(server.target)
    effects = Effects(random.Random(1) if noisy else None)
    activities, store, text = effects.activities(), MemoryStore(), document(shape, steps, at_once)
    engine = Engine(MemoryJournal(store), activities, secret=lambda name: None)
    workflow_id = f"{shape}-{steps}-{noisy}-{time.monotonic_ns()}"
    data = {"numbers": list(range(steps))} if shape == "foreach" else {}
    closure = Closure({}, {})
    run, _ = engine.start(load(text, "long.yaml").workflow, text, data, id=workflow_id, children=closure)
    began = time.monotonic()
    async with working(client, QUEUE, activities, secret=lambda name: None, sought=str):
        begin = Begin(run.id, pack(store), task_queue=QUEUE, cards=True, moves_at=moves_at)
        chunks = to_chunks(begin)
        handle = await client.start_workflow("long", args=chunks, id=workflow_id, task_queue=QUEUE)
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()
        seconds = time.monotonic() - began
    found = await seen(client, run.id)
    parts = [part async for part in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
    entries = found.journal.entries(run.id)
    return Came(effects, _completed(entries), status_document(found.run, entries), len(parts), seconds)


def _completed(entries: Sequence[Entry]) -> list[int]:
    """The numbers of the steps ``s7``, or ``each[7].s``, in the order in which they were completed."""
    facts = (fact for entry in entries for fact in entry.facts() if fact.kind == "completed")
    found = (re.fullmatch(r"(?:each\[(\d+)\]\.s|s(\d+))", fact.path) for fact in facts)
    return [int(step[1] or step[2]) for step in found if step is not None]


def main(words: Sequence[str] | None = None) -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--shape", choices=["flat", "foreach"], default="flat")
    parser.add_argument("--at-once", type=int, default=1, help="iterations of foreach that run at once")
    parser.add_argument("--random", action="store_true", help="outputs that cannot be compressed")
    parser.add_argument("--long", type=int, default=LONG, help="events after which it moves")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        came = asyncio.run(
            go(
                server,
                options.steps,
                shape=options.shape,
                at_once=options.at_once,
                noisy=options.random,
                moves_at=options.long,
            )
        )
    print(
        f"{len(came.effects.done)} steps done, {len(came.effects.undone)} undone,"
        f" in {came.seconds:.1f} s and {came.parts} parts; {came.status['status']}:"
        f" {came.status['error']}"
    )
    wrong = came.wrong(options.steps)
    print("\n".join(wrong) or "exactly what was done has been undone, in reverse")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
