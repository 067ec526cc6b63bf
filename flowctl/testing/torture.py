"""Torture: a case is carried out by real processes that are killed, that stand still, whose disk fails, whose
answers come late and whose clock is set, again and again.

Undisturbed first; then from the beginning for each **point** (``points``), by one process after the other.
What must hold, besides what ``faults.judge`` checks:

1. Undisturbed, the case holds: all that it expects but the time that passes.
2. A process whose disk failed ends by itself, with exit code 74 (a storage error) or as if nothing had been.
3. A process that stood still for longer than its lease does nothing when it goes on, but end: what others
   have done since stays as it is.
4. The process that is left in peace brings the run to its end, and the saga and the invariants hold.
5. A run to whose time nothing was done ends as undisturbed. So it does if things that are due in the same
   moment come in another order: then it must end as *some* undisturbed run does that differs in such orders.
   One whose answers came late or whose clock was set may end otherwise, and must end.

A life that gets nowhere any more is given up, and no more than ``HOPELESS`` of a case.

``main`` is what ``flowctl torture`` starts: one process with the shim, which forks those that die.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.errors import RunBusy, StorageError
from flowctl.runtimes import embedded
from flowctl.settings import settle
from flowctl.state import ENDED
from flowctl.testing.faults.judge import Ending, Judge, Look, Violation
from flowctl.testing.points import (
    AT_A_TIME,
    CLOCK,
    ERRORS,
    KILLS,
    LATE,
    STOP,
    Blow,
    Extent,
    Point,
    lives_of,
    parse_point,
    points,
)
from flowctl.testing.running import Scenario
from flowctl.testing.stage import HUNG, STOPPED, Stage
from flowctl.testing.suite import Suite, surroundings

LONGEST = 5
"""Seconds that a case may take undisturbed."""

ORDERS = 40
"""In how many ways things that are due together are put in order, to see whether a run may end so."""

HOPELESS = 3
"""Lives that get nowhere, after which a case is given up."""

POLL = 600.0
"""Seconds between looks for messages, which nobody sends while a process drives the run."""

STOPPED_STEPS = {"failed", "cancelled"}
"""States of a step that did not complete."""

COUNT_OF: Mapping[str, str] = {
    **dict.fromkeys((*KILLS, AT_A_TIME), "kills"),
    **dict.fromkeys(ERRORS, "io_errors"),
    STOP: "stops",
    LATE: "delays",
    CLOCK: "clock_jumps",
}
"""Under what a fault is counted."""

COUNTS = (
    "points",
    *dict.fromkeys(COUNT_OF.values()),
    "recoveries",
    "passed_by",
    "otherwise",
    "ties",
    "effects",
)


# --- one case


@dataclasses.dataclass
class Torturer:
    """How cases are treated. ``prepare`` is done to every process but the undisturbed one."""

    seed: int
    points: int
    shim: bool
    only: Point | None = None
    prepare: Callable[[], object] = lambda: None

    def case(self, scenario: Scenario) -> dict[str, Any]:
        """``{case, line, status, why, violations, calls, milliseconds}`` and ``COUNTS``; ``status`` is
        ``passed``, ``failed`` or ``left_out``, a violation is ``{point, what}``, its point null if it needs
        none.
        """
        began = time.perf_counter()
        result: dict[str, Any] = {"case": scenario.name, "line": scenario.line, "status": "passed"}
        result |= {"why": _left_out(scenario), **dict.fromkeys((*COUNTS, "calls"), 0), "violations": []}
        if result["why"] is None:
            with tempfile.TemporaryDirectory(prefix="flowctl-torture-") as folder:
                _Case(self, scenario, Path(folder), result).torture()
        if result["why"] is not None:
            result["status"] = "left_out"
        elif result["violations"]:
            result["status"] = "failed"
        result["milliseconds"] = round((time.perf_counter() - began) * 1000, 3)
        return result


@dataclasses.dataclass
class _Case:
    """One case that is tortured; what comes of it is added to ``result``."""

    how: Torturer
    scenario: Scenario
    folder: Path
    result: dict[str, Any]
    hopeless: int = 0
    others: list[Ending] = dataclasses.field(default_factory=list)

    def torture(self) -> None:
        """Undisturbed, and at each point."""
        undisturbed = Stage(self.scenario, self.folder / "undisturbed", struck=False)
        began = time.perf_counter()
        code = undisturbed.live(count=self.how.shim)
        took = time.perf_counter() - began
        if took > LONGEST:
            self.result["why"] = f"it takes more than {LONGEST} s undisturbed"
            return
        try:
            self.usual = _peace(undisturbed, code, "undisturbed, it")
        except Violation as violation:
            self._violated(None, violation)
            return
        self.result["calls"] = undisturbed.calls if self.how.shim else 0
        self.result["effects"] += undisturbed.effects()
        extent = Extent(self.result["calls"], took * 1000, undisturbed.moments)
        name = hashlib.sha256(self.scenario.name.encode()).hexdigest()
        chance = random.Random(f"{self.how.seed} {name}")  # noqa: S311 - to be repeated
        chosen = [self.how.only] if self.how.only else points(chance, self.how.points, extent)
        for number, point in enumerate(chosen):
            if self.hopeless < HOPELESS:
                self._try(number, point)

    def _try(self, number: int, point: Point) -> None:
        stage = Stage(self.scenario, self.folder / str(number), self.how.prepare, struck=True)
        self.result["points"] += 1
        try:
            self._strike(stage, point)
        except Violation as violation:
            self._violated(",".join(map(str, point)), violation)
        finally:
            self.result["effects"] += stage.effects()
            stage.clear()

    def _violated(self, point: str | None, violation: Violation) -> None:
        self.result["violations"].append({"point": point, "what": str(violation)})

    def _strike(self, stage: Stage, point: Point) -> None:
        """Carry the case out with these blows. ``Violation``."""
        follows, timely, fell, code = Judge(self.usual), True, 0, 0
        for number, blows in enumerate(lives_of(point)):
            code = stage.live(blows)
            if number:
                follows.after_death(stage.look("before"))
                self.result["recoveries"] += 1
            felt = [blow for blow in blows if stage.felt(blow, code)]
            self._note(felt, code, stage)
            fell += len(felt)
            timely = timely and not any(blow.soft for blow in felt)
            if number and code != STOPPED:
                self._wake(stage, follows, code)
            if all(blow.soft for blow in felt):
                break
        self.result["passed_by"] += not fell
        ending = _peace(stage, code, "the process that was left in peace", follows)
        if not list(_differences(self.usual, ending)):
            return
        if not timely:
            self.result["otherwise"] += 1
        elif self._ties(ending):
            self.result["ties"] += 1
        else:
            raise Violation("; ".join(_differences(self.usual, ending)))

    def _note(self, felt: Sequence[Blow], code: int, stage: Stage) -> None:
        for blow in felt:
            self.result[COUNT_OF[blow.fault]] += 1
        if code == HUNG:
            self.hopeless += 1
            raise Violation(f"the process hung: {stage.said or 'nothing came of it for too long'}")
        if any(blow.fault in ERRORS for blow in felt) and code not in (0, StorageError.exit_code):
            raise Violation(f"at an I/O error the process ends with exit code {code}: {stage.said}")

    def _wake(self, stage: Stage, follows: Judge, code: int) -> None:
        """If a process stands still, another has lived since: let it go on. It must not do anything."""
        ended = stage.go_on()
        if wrong := [each for each in ended if each not in (0, RunBusy.exit_code)]:
            raise Violation(f"the process that had stood still ends with exit code {wrong[0]}")
        if ended and code == 0:  # all was over: now, too, and as it was
            before = stage.look("after")
            if stage.live() or not _same(before, stage.look("after")):
                raise Violation("the process that had stood still changed what others had done since")

    def _ties(self, ending: Ending) -> bool:
        """Whether the run may end so undisturbed, if things that are due together come in another order."""
        return any(not list(_differences(other, ending)) for other in self._orders())

    def _orders(self) -> Iterator[Ending]:
        """How the run ends in other orders; each is tried once."""
        for order in range(ORDERS):
            if order == len(self.others):
                stage = Stage(self.scenario, self.folder / "order", struck=True)
                try:
                    self.others.append(_peace(stage, stage.live(ties=order), "in another order, it"))
                finally:
                    stage.clear()
            yield self.others[order]


def _same(before: Look, after: Look) -> bool:
    """Whether nothing happened in between. That a call was interrupted is nothing."""
    lines = ([line for line in look.ledger if line["phase"] != "failed"] for look in (before, after))
    return before.runs == after.runs and next(lines) == next(lines)


def _peace(stage: Stage, code: int, who: str, follows: Judge | None = None) -> Ending:
    """How a run ended, whose last process nobody disturbed. ``Violation``."""
    if code:
        raise Violation(f"{who} ends with exit code {code}: {stage.said}")
    look = stage.look("after")
    ending = (follows or Judge()).at_the_end(look)
    wrong = [each for each in stage.wrong() if each]
    live = [run for run, about in ending.runs.items() if about["status"] not in ENDED]
    wrong += [f"the run {run} has not ended" for run in live] if follows is not None else []
    if wrong:
        raise Violation(f"{who} does not hold: {'; '.join(wrong)}" if follows is None else "; ".join(wrong))
    return ending


def _differences(usual: Ending, ending: Ending) -> Iterator[str]:
    """In what a run ended otherwise. Of branches that are stopped together it is chance which has failed and
    which was cancelled.
    """
    for run in sorted({*usual.runs, *ending.runs}):
        before, after = usual.runs.get(run), ending.runs.get(run)
        if before is None or after is None:
            yield f"the run {run} is {'missing' if after is None else 'one more than'} undisturbed"
            continue
        for name in ("status", "output", "error", "saga"):
            if before[name] != after[name]:
                yield f"{run}: {name} is {json.dumps(after[name])}, undisturbed {json.dumps(before[name])}"
        for path in sorted({*before["steps"], *after["steps"]}):
            was, became = (each["steps"].get(path, "unreached") for each in (before, after))
            if was != became and not {was, became} <= STOPPED_STEPS:
                yield f"{run}: the step {path} is {became}, undisturbed {was}"
    if keys := (usual.keys ^ ending.keys) - _in_doubt(usual) - _in_doubt(ending):
        yield f"other idempotency keys: {', '.join(sorted(keys))}"
    if usual.undone != ending.undone:
        yield f"undone was {', '.join(ending.undone)}; undisturbed {', '.join(usual.undone)}"


def _in_doubt(ending: Ending) -> set[str]:
    """The keys of steps that were made, or were not."""
    return {f"{run}/{path}" for run, about in ending.runs.items() for path in about["saga"]["in_doubt"]}


def _left_out(scenario: Scenario) -> str | None:
    """Why a case cannot be tortured."""
    if scenario.real:
        return "it calls real activities, whose effects nobody notes"
    if scenario.until is not None:
        return "it stops before its run ends"
    if kinds := sorted({fault.kind for fault in scenario.faults} - {"raise", "time_out"}):
        return f"it brings failures of its own: {', '.join(kinds)}"
    if kinds := sorted({event.kind for event in scenario.events} - {"signal", "cancel"}):
        return f"it brings events of its own: {', '.join(kinds)}"
    return None


def summary_of(cases: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """Of all cases: ``{cases, left_out, violations, milliseconds}`` and ``COUNTS``."""
    left_out = sum(case["status"] == "left_out" for case in cases)
    found: dict[str, Any] = {"cases": len(cases) - left_out, "left_out": left_out}
    found |= {key: sum(case[key] for case in cases) for key in COUNTS}
    found["violations"] = sum(len(case["violations"]) for case in cases)
    return found | {"milliseconds": round(seconds * 1000, 3)}


# --- the process that forks them


def main(arguments: Sequence[str], prepare: Callable[[], object] = lambda: None) -> None:
    """Torture the cases of a file that was read before: ``{file, plugins_dirs, select, seed, points, shim,
    only}`` as JSON. Writes a line of JSON for each case.
    """
    [text] = arguments
    asked: Mapping[str, Any] = json.loads(text)
    settings = settle(None, asked["plugins_dirs"], os.environ, os.getcwd())
    suite = Suite(surroundings(settings), asked["select"])
    file = suite.read(Path(asked["file"]))
    only = parse_point(asked["only"]) if asked["only"] else None
    torturer = Torturer(asked["seed"], asked["points"], asked["shim"], only, prepare)
    embedded.POLL = POLL
    gc.freeze()
    for scenario in suite.selected(file):
        sys.stdout.write(json.dumps(torturer.case(scenario)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:  # whoever started us has been told, too
        sys.exit(130)
