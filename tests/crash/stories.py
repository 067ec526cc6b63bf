"""What is told to a database, and disturbed while it is: each story is a sequence of command lines.

A story begins on an empty database (one begins without any) and ends the same way however often a command is
interrupted and given again, if flowctl keeps its promises.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.testing.faults.judge import RUN

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "crash" / "corpus"
EXAMPLES = ROOT / "examples"

TOUCH = "touch"
"""Not a command of flowctl: somebody makes a file."""

Command = Sequence[str]

ORDER = {"order_id": "0012", "amount": 100, "items": ["lamp"], "email": "ada@example.com", "express": True}
TRIP = {"traveller": "Ada", "email": "ada@example.com", "flight": "FC100", "hotel": "harbour"}
PAYMENT = {"card": "plenty", "amount": 25, "email": "ada@example.com"}
NEWCOMER = {"name": "Ada", "email": "ada@example.com", "role": "contractor"}
PREMIUM = {"order_id": "0012", "email": "ada@example.com", "amount": 100, "message": "Well done"}
BATCH = {"month": "2030-01", "after": 955, "chunk": 20}


@dataclasses.dataclass(frozen=True)
class Story:
    """``plugins`` is the folder of its activities; ``fresh``, whether it makes its database itself.

    Otherwise the database knows the documents of ``run`` already, so that victims need not check them.
    """

    plugins: Path
    commands: Sequence[Command]
    fresh: bool = False

    @property
    def documents(self) -> list[str]:
        """What is run."""
        return [words[1] for words in self.commands if words[0] == "run" and words[1].endswith(".yaml")]

    def environment(self, folder: Path) -> dict[str, str]:
        """What its commands find in the environment, in this folder."""
        return {
            "FLOWCTL_LEDGER": str(folder / "ledger.jsonl"),
            "FLOWCTL_PLUGINS_DIR": str(self.plugins),
            "FLOWCTL_SECRET_MAIL_TOKEN": "demo",
            "FLOWCTL_DB": str(folder / "flowctl.db"),
        }


def run(file: Path, data: Mapping[str, Any] | None = None, *options: str, id: str = RUN) -> Command:
    """The command line that runs a document."""
    return ["run", str(file), "--input", json.dumps(data or {}), "--id", id, "--json", *options]


def _example(file: str, data: Mapping[str, Any]) -> Story:
    return Story((EXAMPLES / file).parent, [run(EXAMPLES / file, data)])


def _corpus(name: str, *more: Command, data: Mapping[str, Any] | None = None, **options: Any) -> Story:
    return Story(CORPUS, [run(CORPUS / f"{name}.yaml", data), *more], **options)


def _later(name: str, *more: Command) -> Story:
    """A story whose first command only begins it."""
    return Story(CORPUS, [run(CORPUS / f"{name}.yaml", None, "--wait", "0s"), *more])


def _signal(name: str, payload: Any, dedup_id: str) -> Command:
    return ["signal", RUN, name, "--payload", json.dumps(payload), "--dedup-id", dedup_id, "--json"]


RESUME = ["resume", RUN, "--json"]

OF_EXAMPLES: Mapping[str, Story] = {
    "an order": _example("order/order.yaml", ORDER),
    "an order that cannot be shipped": _example("order/order.yaml", ORDER | {"items": ["lamp", "piano"]}),
    "a trip": _example("trip/trip.yaml", TRIP),
    "a trip whose hotel is full": _example("trip/trip.yaml", TRIP | {"hotel": "grand"}),
    "a payment": _example("payment/payment.yaml", PAYMENT),
    "a payment whose card is blocked": _example("payment/payment.yaml", PAYMENT | {"card": "blocked"}),
    "a contractor": _example("onboarding/onboarding-v2.yaml", NEWCOMER),
    "a contractor whose mail bounces": _example(
        "onboarding/onboarding-v2.yaml", NEWCOMER | {"email": "a@nowhere.invalid"}
    ),
    "a premium customer": _example("premium/premium.yaml", PREMIUM),
    "a premium customer on the moon": _example(
        "premium/premium.yaml", PREMIUM | {"email": "mary@example.com", "message": ""}
    ),
    "a dashboard": _example("dashboard/partial.yaml", {"region": "north"}),
    "a batch of three chunks": _example("batch/batch.yaml", BATCH),
}

OF_VERBS: Mapping[str, Story] = {
    "a new database": _corpus("sequence", fresh=True),
    "steps, set, switch, attributes": _corpus("sequence"),
    "a saga": _corpus("saga"),
    "compensations that fail": _corpus("stubborn"),
    "retries and a sleep": _corpus("again"),
    "signals": _later("signals", _signal("go", 1, "1"), RESUME, _signal("stop", 2, "2"), RESUME),
    "signals that come early": _later("signals", _signal("stop", 1, "1"), _signal("stop", 2, "2"), RESUME),
    "children": _corpus("parent"),
    "foreach": _corpus("each"),
    "parallel": _corpus("together"),
    "while and until": _corpus("loops"),
    "try and rollback": _corpus("tries"),
    "continue_as_new": _corpus("rounds"),
    "pivot and timeout": _corpus("pivots"),
    "retry": _corpus("mends", [TOUCH, "mended"], ["retry", RUN, "--json"], RESUME),
    "a hold that is cancelled": _corpus("mends", ["cancel", RUN, "--json"]),
    "cancel": _later("signals", ["cancel", RUN, "--reason", "stop", "--json"]),
    "terminate": _later("signals", ["terminate", RUN, "--json"]),
    "pause": _later(
        "moves", ["pause", RUN, "--json"], _signal("go", 1, "1"), ["unpause", RUN, "--json"], RESUME
    ),
    "migrate": _later(
        "moves",
        ["migrate", RUN, "--to", str(CORPUS / "moves-2.yaml"), "--json"],
        _signal("go", 1, "1"),
        RESUME,
    ),
    "replay": _corpus("loops", ["replay", RUN, "--from", "z", "--json"]),
    "deploy": Story(
        CORPUS,
        [
            ["deploy", str(CORPUS / "sequence.yaml"), "--json"],
            ["run", "sequence", "--id", RUN, "--json"],
        ],
    ),
    "a signal from a run to another": Story(
        CORPUS,
        [
            run(CORPUS / "moves.yaml", None, "--wait", "0s"),
            run(CORPUS / "sender.yaml", id="other"),
            RESUME,
        ],
    ),
}

STORIES: Mapping[str, Story] = {**OF_EXAMPLES, **OF_VERBS}
