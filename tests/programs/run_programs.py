"""Run random workflow programs and hold what comes of them against the reference.

    python -m tests.programs.run_programs --seed 1 --count 3000 --kills

Every program is made from the seed. It is run

- in virtual time;
- on the embedded runtime: real asyncio, a real SQLite journal, a clock that jumps;
- with ``--kills``, in virtual time again while the world ends at journal entries chosen by chance, before or
  after the entry is durable, and on both runtimes while the worker is lost right after something happened.

What comes of it (status, output, error, saga, the states and outputs of all steps, calls with their
arguments and keys, and how long it took) must be what ``reference`` predicts. A program whose prediction is a
guess, because two things happen at the same moment or the language does not say, is counted and not compared;
on the embedded runtime, which hears of messages a little later, also one that hangs on that little.

Prints counts, and the first divergence, cut down, as a case for ``tests/conformance/cases``. Exits with 1 on
any.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from flowctl.clock import format_duration, parse_duration
from flowctl.errors import FlowctlError
from flowctl.journal.opening import connect
from flowctl.testing.conformance import RUN_ID, Case, Observed, unlike
from flowctl.testing.embedded import run_embedded
from flowctl.testing.script import Asked
from flowctl.testing.virtual import run_virtual
from tests.programs.generate import program, programs
from tests.programs.reference import Prediction, predict
from tests.programs.shrink import cut_down
from tests.programs.world import Edge, Endless, Loss

HEARS_WITHIN = 60
"""Milliseconds within which a driven run acts on a message; all that follows is as late."""

KILLS = 3
"""Worlds that end, for each program."""

Program = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Writes everything out: our documents have no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Diverged(Exception):
    """An engine and the reference do not agree."""

    def __init__(self, where: str, program: Program, prediction: Prediction, differences: list[str]) -> None:
        super().__init__(f"{where}: {'; '.join(differences)[:500]}")
        self.where = where
        self.program = program
        self.prediction = prediction
        self.differences = differences

    @property
    def kind(self) -> tuple[str, ...]:
        """What two divergences have in common if they are probably one: where, and what differs."""
        return self.where.partition(" ")[0], *sorted({line.partition(":")[0] for line in self.differences})

    def report(self) -> str:
        """The program as a case with what the reference expects, and what differs."""
        told = {"status", "error", "saga", "calls", "elapsed"} | {
            d.partition(":")[0] for d in self.differences
        }
        expect = {name: value for name, value in self.prediction.expect.items() if name in told}
        case = self.program | {"expect": expect}
        text = yaml.dump(
            [case], Dumper=_Plain, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
        )
        differences = "\n".join(f"#   {line}" for line in self.differences)
        return f"# {self.where}:\n{differences}\n{text}"


# --- comparing


def differences(prediction: Prediction, observed: Observed, slack: int, *, timed: bool = True) -> list[str]:
    """What differs, a line each. ``slack`` is how many milliseconds late the run may be; without ``timed``
    nothing that can show a time is compared.
    """
    expect = plain(prediction.expect)
    asked = [
        dataclasses.replace(asked, path=_labelled(asked), args=plain(asked.args)) for asked in observed.asked
    ]
    observed = dataclasses.replace(observed, status=plain(observed.status), asked=asked)
    if prediction.closest_calls <= slack or prediction.unasked:
        del expect["calls"]
    for path in {call.rpartition("#")[0] for call in prediction.unasked}:
        for name in ("args", "keys"):
            expect[name] = {asked: value for asked, value in expect[name].items() if asked != path}
    if not timed:
        for name in ("output", "outputs", "args", "elapsed"):
            del expect[name]
        if expect["error"] is not None:
            expect["error"] = {key: expect["error"][key] for key in ("type", "step", "attempt")}
    saga = expect.pop("saga")
    found = unlike(expect, observed, slack=slack)
    told = observed.status["saga"]
    for name in ("undone", "failed", "not_undone", "in_doubt"):
        if saga[name] != told[name]:
            found.append(f"saga.{name}: expected {saga[name]}, got {told[name]}")
    found += _calls(prediction, observed)
    listed = {step["path"]: step["status"] for step in observed.status["steps"]}
    more = {path: listed[path] for path in listed.keys() - expect["steps"].keys() - prediction.containers}
    return found + ([f"steps that were not expected: {more}"] if more else [])


def _labelled(asked: Asked) -> str:
    """The path of a call, with the run that made it if it is another than the first."""
    return asked.path if asked.run == RUN_ID else f"{asked.run}/{asked.path}"


BUILT_IN = frozenset(
    {"Timeout", "HeartbeatTimeout", "WorkerLost", "ExpressionError", "BranchesFailed", "IterationLimit"}
    | {"CompensationFailed", "ChildFailed", "RunNotFound"}
)
"""Errors of flowctl's own, whose words are its own as well."""


def plain(value: Any) -> Any:
    """Data without the words of flowctl's own errors, wherever there is one in it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in BUILT_IN and "types" in value:
        value = value | {"message": "", "details": None}
    return {key: plain(item) for key, item in value.items()}


def _calls(prediction: Prediction, observed: Observed) -> list[str]:
    """The same calls were made, whatever their order; each as often as it may be, with one key."""
    expected, made = set(prediction.expect["calls"]), set(observed.calls)
    wrong = (expected ^ made) - prediction.unasked
    found = [f"calls: expected or made only: {sorted(wrong)}"] if wrong else []
    keys: dict[str, str] = {}
    for asked in observed.asked:
        if keys.setdefault(asked.path, asked.key) != asked.key:
            found.append(f"keys: {asked.path} had {keys[asked.path]} and {asked.key}")
    return found


def _messages(program: Program) -> int:
    return sum("lose_worker" not in event for event in program["events"])


def _in_time(program: Program, prediction: Prediction) -> Iterator[Any]:
    """The events without the loss of workers that have nothing to do any more."""
    end = parse_duration(prediction.expect["elapsed"])
    for event in program["events"]:
        if "lose_worker" not in event or parse_duration(event["at"]) <= end:
            yield event


def _unattended(program: Program, begin: int, end: int) -> bool:
    """Whether there is a gap in which no worker is there, between these moments."""
    for event in program["events"]:
        if "lose_worker" in event:
            at = parse_duration(event["at"])
            if at <= end and begin <= at + parse_duration(event["lose_worker"]):
                return True
    return False


def _shows_time(program: Program) -> bool:
    text = json.dumps([program["workflow"], program.get("children")])
    return "${{ now }}" in text or "run.elapsed" in text


# --- running


@dataclasses.dataclass
class Trial:
    """Programs are tried one after the other; ``counts`` says what came of them. Where worlds end is chosen
    by the program itself, so that it can be tried again.
    """

    folder: Path
    kills: bool
    embedded: bool = True
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def try_program(self, program: Program) -> None:
        """Try one program in every way. Raises ``Diverged``."""
        chance = random.Random(json.dumps(program))
        prediction = predict(program)
        program = program | {"events": list(_in_time(program, prediction))}
        self.counts["programs"] += 1
        commits = self.virtual(program, prediction)
        if commits is None:
            return
        self.counts[f"ended {prediction.expect['status']}"] += 1
        self.counts["calls"] += len(prediction.expect["calls"])
        self.counts["steps"] += len(prediction.expect["steps"])
        if self.embedded:
            self.on_sqlite(program, prediction)
        if self.kills:
            self.ended_worlds(program, prediction, commits, chance)
            self.lost_worker(program, prediction, chance)

    def virtual(self, program: Program, prediction: Prediction) -> int | None:
        """In virtual time. Returns the number of commits, or None if there is nothing to compare."""
        if prediction.open or prediction.closest == 0:
            self.counts["guesses"] += 1
            return None
        observed, commits = run_virtual(_case(program))
        self._hold("virtual", program, prediction, differences(prediction, observed, 0))
        return commits

    def on_sqlite(self, program: Program, prediction: Prediction) -> None:
        """On asyncio with SQLite."""
        messages = _messages(program)
        slack = HEARS_WITHIN if messages else 0
        if prediction.closest <= slack:
            self.counts["guesses on embedded"] += 1
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            observed = run_embedded(_case(program), lambda: connect(f"{folder}/run.db"))
        timed = not (messages and _shows_time(program))
        self._hold("embedded", program, prediction, differences(prediction, observed, slack, timed=timed))

    def ended_worlds(
        self, program: Program, prediction: Prediction, commits: int, chance: random.Random
    ) -> None:
        """The world ends at some journal entry, before or after it is durable. Not if the program loses
        workers anyway, or counts them: then it matters which of the entries of one moment it was.
        """
        if "on_worker_lost" in json.dumps(program) or any("lose_worker" in e for e in program["events"]):
            return
        case = _case(program)
        for _ in range(min(KILLS, commits)):
            commit, when = chance.randrange(commits) + 1, chance.choice(("before", "after"))
            observed, _ = run_virtual(case, die_at=commit, when=when)  # type: ignore[arg-type]
            found = differences(prediction, observed, 0, timed=False)
            if found and not any(
                other.closest == 0 or other.open or not differences(other, observed, 0)
                for other in _if_killed(program, prediction)
            ):
                raise Diverged(f"world ended {when} commit {commit}", program, prediction, found)
            self.counts["worlds ended, with another end" if found else "worlds ended"] += 1

    def lost_worker(self, program: Program, prediction: Prediction, chance: random.Random) -> None:
        """The worker is lost a moment after something happened, on both runtimes."""
        at = chance.choice([0, *sorted(prediction.moments)]) + (HEARS_WITHIN + 1 if _messages(program) else 1)
        gone = chance.choice((0, 1_000, 7_000))
        if at >= parse_duration(prediction.expect["elapsed"]) or _unattended(program, at - 1, at + gone + 1):
            return
        lost = {"at": format_duration(at), "lose_worker": format_duration(gone)}
        program = program | {"events": [*program["events"], lost]}
        again = predict(program)
        program = program | {"events": list(_in_time(program, again))}
        if self.virtual(program, again) is not None:
            self.counts["workers lost"] += 1
            if self.embedded:
                self.on_sqlite(program, again)

    def _hold(self, where: str, program: Program, prediction: Prediction, found: list[str]) -> None:
        if found:
            raise Diverged(where, program, prediction, found)
        self.counts[f"held {where}"] += 1


def _case(program: Program) -> Case:
    return Case.parse(program | {"expect": {}})


def _if_killed(program: Program, prediction: Prediction) -> Iterator[Prediction]:
    """What comes of a program if its world ends when something happens."""
    edges: Sequence[Edge] = ("before", "between", "after", "around")
    for moment in sorted({0, *prediction.moments}):
        for edge in edges:
            yield predict(program, Loss(moment, moment, edge))


def cut(diverged: Diverged, trial: Trial) -> Diverged:
    """The smallest divergence of the same kind that can be found by leaving things out."""
    found = diverged

    def shows(program: Program) -> bool:
        nonlocal found
        try:
            _case(program)
            quiet.try_program(program)
        except Diverged as smaller:
            if smaller.kind == diverged.kind:
                found = smaller
                return True
        except (FlowctlError, Endless, LookupError, TypeError, ValueError, AttributeError):
            pass  # it is no program any more
        return False

    quiet = dataclasses.replace(trial, counts=Counter())
    cut_down(diverged.program, shows)
    return found


def by_chance(seed_: int, count: int, trial: Trial) -> None:
    """Try ``count`` programs, each from the seed and its number. Raises ``Diverged``."""
    for number in range(count):
        trial.try_program(program(f"{seed_}/{number}"))


def by_hypothesis(seed_: int, count: int, trial: Trial) -> None:
    """The same with programs that hypothesis draws."""

    @seed(seed_)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        phases=(Phase.generate,),
    )
    @given(programs())
    def one(drawn: Program) -> None:
        trial.try_program(drawn)

    one()


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--kills", action="store_true", help="end the world, too")
    parser.add_argument("--virtual-only", action="store_true", help="not on asyncio with SQLite")
    parser.add_argument("--hypothesis", action="store_true", help="let hypothesis draw the programs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), options.kills, not options.virtual_only)
        try:
            (by_hypothesis if options.hypothesis else by_chance)(options.seed, options.count, trial)
        except Diverged as diverged:
            print(cut(diverged, trial).report())
            return 1
        finally:
            show(trial.counts)
    return 0


def show(counts: Mapping[str, int]) -> None:
    """The counts, a line each."""
    for name, number in sorted(counts.items()):
        print(f"{number:>9,}  {name}")


if __name__ == "__main__":
    sys.exit(main())
