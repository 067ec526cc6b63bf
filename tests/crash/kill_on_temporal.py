"""Kill workers on Temporal, again and again, while sagas run, and the server once; then judge what they did.

    python -m tests.crash.kill_on_temporal --seed 1
    python -m tests.crash.kill_on_temporal --seed 1 --kills 20 --runs 10

Three workers (``flowctl worker --db temporal://…``) share a queue. One of them is killed with SIGKILL at
random moments and replaced, all the time while runs are started one after the other. Half-way the server is
killed too, and started again on its database. In the end all is judged by the ledger, which the activities
keep in a file that nobody of the engine knows:

1. Every run has ended as those of its kind do when nobody disturbs them.
2. All that was to be done was done, under its key. What was done is begun again only if its worker, or the
   server, was killed before the answer was certain: the same attempt, under the same key.
3. What was undone was undone in reverse.
4. Plugins were told of nothing twice, and of nothing that is not in the history. What a worker had not told
   when it was killed is told by nobody; how much that is, is counted.

Prints counts; exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.document import load
from flowctl.document.closure import Closure
from flowctl.engine import Engine
from flowctl.engine.events import Courses
from flowctl.journal import Change
from flowctl.journal.memory import MemoryJournal, MemoryStore
from flowctl.journal.moving import pack
from flowctl.plugins import load as load_plugins
from flowctl.testing.faults.judge import read_ledger
from tests.crash.stories import CORPUS
from tests.crash.victims import command, preload
from tests.temporal.server import Server, find

WORKERS = 3
QUEUE = "crash"
HEARD_WITHIN = 3_000
"""Milliseconds without a sign of life after which an attempt is lost: less than usual, to be quick."""

LONGEST_REST = 0.8
"""Seconds between two blows, at most."""

UNCERTAIN = 2_000
"""Milliseconds for which an answer may be under way."""

PATIENCE = 180.0
"""Seconds until a run has ended, after the last blow."""

DOCUMENT = """
dsl: 1
name: sale
activities:
  do: {uses: work.do, retry: {attempts: 3, delay: 50ms}, compensate: {activity: work.undo}}
input: {properties: {ships: {type: boolean}}}
steps:
  - {id: reserve, activity: do, with: {value: 1}}
  - {id: charge, activity: do, with: {value: 2, failures: 1}}
  - {id: pack, activity: work.slow, with: {seconds: 0.4}, compensate: {activity: work.undo}}
  - {sleep: 500ms}
  - {id: label, activity: do, with: {value: 4}}
  - {id: ship, activity: do, with: {value: 5, failures: "${{ 0 if input.ships else 9 }}"}}
output: ${{ steps.ship.output }}
"""
EARS = """
import json, os
from flowctl import hookimpl

@hookimpl
def flowctl_on_event(event):
    line = json.dumps({"run": event["data"]["run_id"], "id": event["id"], "type": event["type"]})
    file = os.open("heard.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line.encode() + b"\\n")
    os.close(file)
"""
FORWARD = ("reserve", "charge", "pack", "label")
"""What is done in every run, and undone in those that do not ship."""


@dataclasses.dataclass
class Stage:
    """A folder, a server, and who was killed when: process to milliseconds since the epoch. ``happened`` is
    the number of events there were.
    """

    folder: Path
    server: Server
    chance: random.Random
    workers: list[int] = dataclasses.field(default_factory=list)
    killed: dict[int, int] = dataclasses.field(default_factory=dict)
    outages: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    happened: int = 0

    @property
    def ledger(self) -> Path:
        """Outside of all that is killed."""
        return self.folder / "ledger.jsonl"

    @property
    def heard(self) -> list[dict[str, Any]]:
        """The events that plugins were told of."""
        return [json.loads(line) for line in (self.folder / "heard.jsonl").read_text().splitlines()]

    def fork(self, life: Callable[[], object]) -> int:
        """A process that does this, and complains into a file."""
        pid = os.fork()
        if pid == 0:
            code = 1
            atexit._clear()  # what is to be done in the end, the folder's removal say, is not the child's
            try:
                complaints = os.open(self.folder / "complaints", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                os.dup2(complaints, 2)
                os.dup2(complaints, 1)
                os.environ |= {
                    "FLOWCTL_LEDGER": str(self.ledger),
                    "FLOWCTL_PLUGINS_DIR": f"{CORPUS}{os.pathsep}{self.folder / 'plugins'}",
                    "FLOWCTL_DB": self.server.url(task_queue=QUEUE),
                }
                os.chdir(self.folder)
                life()
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        return pid

    def man(self) -> None:
        """Have as many workers as there should be."""
        while len(self.workers) < WORKERS:
            self.workers.append(self.fork(lambda: command(["worker"])))

    def strike(self) -> None:
        """Kill one, and replace it."""
        pid = self.workers.pop(self.chance.randrange(len(self.workers)))
        self.kill(pid)
        self.man()

    def kill(self, pid: int) -> None:
        """Kill one."""
        os.kill(pid, signal.SIGKILL)
        self.killed[pid] = _now()
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"a worker ended by itself: {(self.folder / 'complaints').read_text()[-2000:]}")

    def restart_server(self) -> None:
        """Kill it, and start it again on what it has stored. A worker that finds no server when it begins
        ends, as it should; so all of them have begun.
        """
        while not self._all_work():
            time.sleep(0.05)
        down = _now()
        self.server.stop(signal.SIGKILL)
        self.server.start()
        self.outages.append((down, _now()))

    def _all_work(self) -> bool:
        said = (self.folder / "complaints").read_text()
        return all(f"worker {pid} on " in said for pid in self.workers)


def _now() -> int:
    return time.time_ns() // 1_000_000


def start_runs(target: str, runs: int, pause: float) -> None:
    """Start runs one after the other, every other one to fail. Whoever does this outlives the server."""
    from temporalio.client import Client
    from temporalio.service import RPCError

    from flowctl.runtimes.temporal.begin import Begin, to_chunks

    plugins = load_plugins([CORPUS])
    workflow = load(DOCUMENT, "sale.yaml").workflow

    async def start() -> None:
        client = await Client.connect(target)
        for number in range(runs):
            store = MemoryStore()
            engine = Engine(MemoryJournal(store), plugins.activities, secret=lambda name: None)
            run, _ = engine.start(
                workflow, DOCUMENT, {"ships": number % 2 == 0}, id=f"sale-{number}", children=Closure({}, {})
            )
            begin = Begin(run.id, pack(store), task_queue=QUEUE, cards=True, heard_within=HEARD_WITHIN)
            while True:
                try:
                    await client.start_workflow(
                        "sale", args=to_chunks(begin), id=run.workflow_id, task_queue=QUEUE
                    )
                    break
                except RPCError as error:  # the server is down, or it has it already
                    if "already" in error.message.lower():
                        break
                    await asyncio.sleep(0.2)
            await asyncio.sleep(pause)

    asyncio.run(start())


async def ends(target: str, runs: int) -> dict[str, dict[str, Any]]:
    """The status documents of all runs, once they have ended, with the ids of what has happened in them
    (``events``).
    """
    from temporalio.client import Client, WorkflowFailureError

    from flowctl.runtimes.temporal.remote import seen
    from flowctl.status import status_document

    client = await Client.connect(target)
    found = {}
    for number in range(runs):
        with contextlib.suppress(WorkflowFailureError):
            await asyncio.wait_for(client.get_workflow_handle(f"sale-{number}").result(), PATIENCE)
        run = await seen(client, f"sale-{number}")
        entries = run.journal.entries(run.run.id)
        events = [event["id"] for event in Courses(run.journal).events(Change(run.run, entries))]
        found[run.run.id] = status_document(run.run, entries) | {"events": events}
    return found


def judge(stage: Stage, documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was violated, a line each."""
    found = []
    ledger = read_ledger(stage.ledger)
    for run_id, document in documents.items():
        lines = [line for line in ledger if line["run"] == run_id]
        ships = document["input"]["ships"]
        ending = (document["status"], document["output"], (document["error"] or {}).get("type"))
        if ending != (("completed", 5, None) if ships else ("compensated", None, "Boom")):
            found.append(f"{run_id} ended as {ending}: {document['error']}")
        done = list(dict.fromkeys(_step(line) for line in lines if line["phase"] == "done"))
        wanted = [*FORWARD, "ship"] if ships else [*FORWARD, *(f"{step}.undo" for step in reversed(FORWARD))]
        if done != wanted:
            found.append(f"{run_id} did {done}")
        found += _repeated(stage, lines)
    return found + _misheard(stage, documents)


def _misheard(stage: Stage, documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Events that were told twice, or are of something that is not in the history."""
    times = Counter((event["run"], event["id"], event["type"]) for event in stage.heard)
    known = {(run_id, event) for run_id, document in documents.items() for event in document["events"]}
    twice = [f"told {number} times: {event}" for event, number in times.items() if number > 1]
    return twice + [f"never happened: {event}" for event in times if event[:2] not in known]


def _step(line: Mapping[str, Any]) -> str:
    return str(line["key"].partition("/")[2])


def _repeated(stage: Stage, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Attempts that were begun again without need."""
    found, last = [], dict[str, Mapping[str, Any]]()
    for line in lines:
        before = last.get(line["key"])
        if line["phase"] == "begin" and before is not None:
            failed = before["phase"] == "begin" and before["attempt"] < line["attempt"]
            if not failed and not _was_lost(stage, before):
                found.append(f"{line['key']}: {before} was followed by {line}")
            if before["phase"] == "done" and before["attempt"] != line["attempt"]:
                found.append(f"{line['key']} was done, and attempted again")
        last[line["key"]] = line
    return found


def _was_lost(stage: Stage, line: Mapping[str, Any]) -> bool:
    """Whether the answer of an attempt may never have arrived."""
    until = line["at"] + UNCERTAIN
    killed = stage.killed.get(line["pid"])
    in_outage = any(down - UNCERTAIN <= line["at"] <= up + UNCERTAIN for down, up in stage.outages)
    return in_outage or (killed is not None and (line["phase"] == "begin" or killed <= until))


def scene(folder: Path, *, seed: int, kills: int, runs: int, restart: bool = True) -> tuple[Stage, list[str]]:
    """All of it. This process must not have used Temporal's library before: it forks."""
    preload()
    server = Server(find(folder / "downloads"), folder, kept=True, eager=False)
    server.start()
    (folder / "plugins").mkdir()
    (folder / "plugins" / "ears.py").write_text(EARS)
    stage = Stage(folder, server, random.Random(seed))
    starter = 0
    try:
        pause = kills * LONGEST_REST / 2 / runs
        starter = stage.fork(lambda: start_runs(server.target, runs, pause))
        stage.man()
        for number in range(kills):
            time.sleep(stage.chance.uniform(0.0, LONGEST_REST))
            if restart and number == kills // 2:
                stage.restart_server()
            stage.strike()
        _, status = os.waitpid(starter, 0)
        if status:
            raise SystemExit(f"the starter failed: {(folder / 'complaints').read_text()[-2000:]}")
        documents = asyncio.run(ends(server.target, runs))
        stage.happened = sum(len(document["events"]) for document in documents.values())
        return stage, judge(stage, documents)
    finally:
        for pid in stage.workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        server.stop(signal.SIGKILL)


def main() -> int:
    """Do it; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        stage, wrong = scene(Path(folder), seed=options.seed, kills=options.kills, runs=options.runs)
        ledger, heard = read_ledger(stage.ledger), len(stage.heard)
    begun = Counter(line["key"] for line in ledger if line["phase"] == "begin")
    twice = Counter(f"{line['key']}#{line['attempt']}" for line in ledger if line["phase"] == "begin")
    print(
        json.dumps(
            {
                "seed": options.seed,
                "workers killed": len(stage.killed),
                "server restarts": len(stage.outages),
                "runs": options.runs,
                "effects": len(begun),
                "attempts made again after a loss": sum(times - 1 for times in twice.values()),
                "events": stage.happened,
                "events told": heard,
                "seconds": round(time.monotonic() - began, 1),
                "violations": len(wrong),
            }
        )
    )
    print("\n".join(wrong[:20]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
