"""Kill real processes that run the examples, at random moments, and compare what comes of it with
undisturbed runs.

    python -m tests.crash.kill_examples --seed 1 --kills 500

Every victim is a process of its own, forked from this one (which has imported flowctl, so that the blows
fall on the engine and not on Python's start), and is killed with SIGKILL. Then the run is driven on, and
killed again, until the kills of that run are used up, and it is left to come to its end. What is checked:

- status, output, error, saga and the states of all steps are those of a run that nobody disturbed;
- a step or compensation that the journal called completed when the process died is never begun again, by the
  word of a ledger that the services keep outside of the database;
- a repeated attempt has the key of the first; no key is used that an undisturbed run does not use;
- compensations were completed once each, and in the same order.

Prints counts, and the first violation with its seed; exits with 1 on any.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUN = "victim"
PRELOADED = (
    "flowctl.engine",
    "flowctl.document",
    "flowctl.backends.local",
    "flowctl.cli.runs",
    "asyncio",
    "jsonschema",
)

ORDER = {"order_id": "0012", "amount": 100, "items": ["lamp"], "email": "ada@example.com", "express": True}
TRIP = {"traveller": "Ada", "email": "ada@example.com", "flight": "FC100", "hotel": "harbour"}
PAYMENT = {"card": "plenty", "amount": 25, "email": "ada@example.com"}
NEWCOMER = {"name": "Ada", "email": "ada@example.com", "role": "contractor"}
PREMIUM = {"order_id": "0012", "email": "ada@example.com", "amount": 100, "message": "Well done"}
BATCH = {"month": "2030-01", "after": 955, "chunk": 20}

STORIES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "an order": ("order/order.yaml", ORDER),
    "an order that cannot be shipped": ("order/order.yaml", ORDER | {"items": ["lamp", "piano"]}),
    "a trip": ("trip/trip.yaml", TRIP),
    "a trip whose hotel is full": ("trip/trip.yaml", TRIP | {"hotel": "grand"}),
    "a payment": ("payment/payment.yaml", PAYMENT),
    "a payment whose card is blocked": ("payment/payment.yaml", PAYMENT | {"card": "blocked"}),
    "a contractor": ("onboarding/onboarding-v2.yaml", NEWCOMER),
    "a contractor whose mail bounces": (
        "onboarding/onboarding-v2.yaml",
        NEWCOMER | {"email": "a@nowhere.invalid"},
    ),
    "a premium customer": ("premium/premium.yaml", PREMIUM),
    "a premium customer on the moon": (
        "premium/premium.yaml",
        PREMIUM | {"email": "mary@example.com", "message": ""},
    ),
    "a dashboard": ("dashboard/partial.yaml", {"region": "north"}),
    "a batch of three chunks": ("batch/batch.yaml", BATCH),
}


class Violation(Exception):
    """A promise was broken."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """What came of a run, without what differs between any two runs."""

    status: str
    output: Any
    error: str | None
    saga: Any
    steps: Mapping[str, str]
    keys: frozenset[str]
    undone: Sequence[str]


@dataclasses.dataclass
class Life:
    """One run in a folder of its own, and what is known of it from outside."""

    folder: Path
    workflow: str
    input: Mapping[str, Any]
    completed_at: dict[str, int] = dataclasses.field(default_factory=dict)

    def drive(self, delay: float | None = None) -> bool:
        """Start or go on, and kill it after ``delay`` seconds; whether it was killed."""
        file = str(ROOT / "examples" / self.workflow)
        arguments = ["run", file, "--input", json.dumps(self.input), "--id", RUN, "--json"]
        return self._fork(arguments, "run.json", delay)

    def look(self) -> dict[str, Any] | None:
        """The status document, or None before the run was accepted."""
        self._fork(["status", RUN, "--json"], "status.json", None)
        try:
            document = json.loads((self.folder / "status.json").read_text())
        except ValueError:
            return None
        return None if "id" not in document else dict(document)

    def ledger(self) -> list[dict[str, Any]]:
        """What the services were asked to do, in order."""
        file = self.folder / "ledger.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def remember_completed(self) -> bool:
        """Note what the journal calls completed now, and how long the ledger is. Whether the run goes on."""
        document, length = self.look(), len(self.ledger())
        if document is None:
            return True
        for step in document["steps"]:
            key = f"{document['id']}/{step['path']}"
            if step["completed_at"] is not None and step["status"] not in ("failed", "cancelled"):
                self.completed_at.setdefault(key, length)
            if (step["compensation"] or {}).get("status") == "compensated":
                self.completed_at.setdefault(f"{key}.undo", length)
        return document["completed_at"] is None

    def ending(self) -> Ending:
        """What came of it; raises ``Violation`` if something completed was begun again."""
        document, ledger = self.look(), self.ledger()
        if document is None:
            raise Violation("the run was accepted, and is not there")
        for position, line in enumerate(ledger):
            if line["phase"] == "begin" and position >= self.completed_at.get(line["key"], position + 1):
                raise Violation(f"{line['key']} was completed, and was begun again")
        done = [line["key"] for line in ledger if line["phase"] == "done"]
        return Ending(
            status=document["status"],
            output=document["output"],
            error=(document["error"] or {}).get("type"),
            saga=document["saga"],
            steps={step["path"]: step["status"] for step in document["steps"]},
            keys=frozenset(line["key"] for line in ledger),
            undone=list(dict.fromkeys(key for key in done if key.endswith(".undo"))),
        )

    def _fork(self, arguments: list[str], output: str, delay: float | None) -> bool:
        child = os.fork()
        if child == 0:
            _become(self.folder, Path(self.workflow).parent, arguments, output)
        if delay is not None:
            time.sleep(delay)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)


def _become(folder: Path, plugins: Path, arguments: list[str], output: str) -> None:
    """The rest of a child's life: one flowctl command."""
    os.chdir(folder)
    os.environ |= {
        "FLOWCTL_LEDGER": str(folder / "ledger.jsonl"),
        "FLOWCTL_PLUGINS_DIR": str(ROOT / "examples" / plugins),
        "FLOWCTL_SECRET_MAIL_TOKEN": "demo",
        "FLOWCTL_DB": str(folder / "flowctl.db"),
    }
    code = 70
    try:
        with open(output, "wb", buffering=0) as file:
            os.dup2(file.fileno(), 1)
        sys.argv = ["flowctl", *arguments]
        from flowctl.cli import main

        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


@contextlib.contextmanager
def _life(story: str) -> Iterator[Life]:
    with tempfile.TemporaryDirectory(prefix="flowctl-kill-") as folder:
        workflow, data = STORIES[story]
        yield Life(Path(folder), workflow, data)


def undisturbed(story: str) -> tuple[Ending, float]:
    """What comes of a story that nobody disturbs, and how many seconds it takes."""
    with _life(story) as life:
        life.drive()
        begun = time.monotonic()
        with _life(story) as again:
            again.drive()
        return life.ending(), time.monotonic() - begun


def disturbed(story: str, blows: Sequence[float]) -> tuple[Ending, int]:
    """What comes of a story whose process is killed after each of these delays; and how many blows it
    lived to get.
    """
    with _life(story) as life:
        killed = 0
        for delay in blows:
            killed += life.drive(delay)
            if not life.remember_completed():
                break
        life.drive()
        return life.ending(), killed


def main() -> int:
    """Kill until there were enough kills; report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500)
    options = parser.parse_args()
    for module in PRELOADED:
        importlib.import_module(module)
    chance = random.Random(options.seed)
    reference = {story: undisturbed(story) for story in STORIES}
    kills, runs = 0, 0
    while kills < options.kills:
        story = list(STORIES)[runs % len(STORIES)]
        expected, seconds = reference[story]
        blows = [chance.uniform(0, seconds) for _ in range(chance.randint(1, 6))]
        try:
            ending, killed = disturbed(story, blows)
            if ending != expected:
                raise Violation(f"it ended as {ending}, undisturbed as {expected}")
        except Violation as violation:
            print(f"seed {options.seed}, run {runs}, {story}, blows {blows}: {violation}")
            return 1
        kills, runs = kills + killed, runs + 1
    print(f"seed {options.seed}: {kills} kills in {runs} runs of {len(STORIES)} stories, 0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
