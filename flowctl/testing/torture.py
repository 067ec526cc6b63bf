"""Torture: a case is carried out by real processes that are killed, and whose disk fails, again and again.

Undisturbed first; then from the beginning for each **point**, with a fault at a system call by which the
process changes its database, and a new process that goes on from what is on the disk. In a third of the
points that process is struck too. What must hold, besides what ``faults.judge`` checks:

1. Undisturbed, the case holds: all that it expects but the time that passes.
2. A process whose disk failed ends by itself, with exit code 74 (a storage error) or as if nothing had been.
3. The process that is left in peace brings the run to its end, and the saga and the invariants hold.

A point is written ``kill-after@17,EIO@40``: at the 17th call of the first life, at the 40th of the second.
Where there is no shim, processes are killed at moments: ``kill@12.5``, in milliseconds.

``main`` is what ``flowctl torture`` starts: one process with the shim, which forks those that die.
"""

from __future__ import annotations

import dataclasses
import errno
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from flowctl.errors import FlowctlError, StorageError, UsageError
from flowctl.settings import settle
from flowctl.testing import faults, lives
from flowctl.testing.faults.judge import Ending, Judge, Look, Violation, read_ledger
from flowctl.testing.running import Scenario, judge, lasting
from flowctl.testing.suite import Suite, surroundings

KILLS = {name: (name, 0) for name in (faults.KILL_BEFORE, faults.KILL_HALFWAY, faults.KILL_AFTER)}
ERRORS = {"EIO": (faults.FAIL, errno.EIO), "ENOSPC": (faults.FAIL, errno.ENOSPC)}
FAULTS = KILLS | ERRORS
AT_A_MOMENT = "kill"
SECOND_BLOW = 1 / 3
LONGEST, PATIENCE = 5, 30
"""Seconds that a case may take undisturbed, and that any process may live."""

FELL_OVER = 70

STOPPED = {"failed", "cancelled"}
"""States of a step that did not complete."""


@dataclasses.dataclass(frozen=True, slots=True)
class Blow:
    """One fault: ``at`` the number of a call, or a moment in milliseconds."""

    fault: str
    at: float

    def __str__(self) -> str:
        return f"{self.fault}@{self.at:g}"


Point = tuple[Blow, ...]
"""A blow for each life that gets one."""


def parse_point(text: str) -> Point:
    """``kill-after@17,EIO@40``. ``UsageError``."""
    blows = []
    for part in text.split(","):
        fault, _, at = part.partition("@")
        try:
            blows.append(Blow(fault, float(at)))
        except ValueError:
            fault = ""
        if fault not in (*FAULTS, AT_A_MOMENT):
            known = ", ".join((*FAULTS, AT_A_MOMENT))
            raise UsageError(f"{text!r} is no point", hint=f"write FAULT@NUMBER[,FAULT@NUMBER], of {known}")
    return tuple(blows)


def needs_shim(point: Point) -> bool:
    """Whether a point names system calls."""
    return any(blow.fault in FAULTS for blow in point)


def points(chance: random.Random, count: int, calls: int, milliseconds: float) -> Iterator[Point]:
    """So many, spread over the whole run. Without ``calls``, at moments."""
    reach = calls or milliseconds

    def blow(share: float) -> Blow:
        if not calls:
            return Blow(AT_A_MOMENT, round(share * reach, 1))
        return Blow(chance.choice(list(FAULTS)), 1 + int(share * reach))

    for number in range(count):
        first = blow((number + chance.random()) / count)
        second = (blow(chance.random()),) if chance.random() < SECOND_BLOW else ()
        yield (first, *second)


# --- lives


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A folder with the database and the ledger of one run of a case."""

    scenario: Scenario
    folder: Path
    prepare: Callable[[], object]

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def database(self) -> Path:
        return self.folder / "flowctl.db"

    @property
    def counts(self) -> faults.Counts:
        return faults.Counts(str(self.folder / "counts"))

    def copy_to(self, folder: Path, prepare: Callable[[], object]) -> _Stage:
        shutil.copytree(self.folder, folder)
        return dataclasses.replace(self, folder=folder, prepare=prepare)

    def live(self, blow: Blow | None, *, count: bool = False) -> int:
        """One life; how its process ended."""
        (self.folder / "after").unlink(missing_ok=True)
        plan = faults.NO_PLAN
        if count or (blow is not None and blow.fault in FAULTS):
            action, error = FAULTS[blow.fault] if blow is not None else ("", 0)
            at = int(blow.at) if blow is not None else 0
            plan = faults.Plan(str(self.database), action, at, error, faults.WRITES, counts=self.counts.path)
        child = os.fork()
        if child == 0:
            self._be(plan)
        if blow is not None and blow.fault == AT_A_MOMENT:
            time.sleep(blow.at / 1000)
            os.kill(child, signal.SIGKILL)  # one that has ended is there until it is waited for
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _be(self, plan: faults.Plan) -> NoReturn:
        """The rest of a child's life."""
        code = FELL_OVER
        try:
            signal.alarm(PATIENCE)
            with open(self.folder / "said", "wb", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            self._look("before")
            self.prepare()
            if plan.watch:
                faults.arm(plan)
            try:
                lives.live(self.scenario, self.database, self.ledger)
            finally:
                if plan.watch:
                    faults.arm()
            self._look("after")
            code = 0
        except FlowctlError as error:
            code = error.exit_code
            sys.stdout.write(f"{type(error).__name__}: {error}")
        except BaseException as error:
            sys.stdout.write(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _look(self, when: str) -> None:
        look = Look.at(self.database, self.ledger)
        wrong, done = [], when == "after"
        if done:
            came = lives.came(self.scenario, self.database, self.ledger)
            first = judge(self.scenario, came) if not (self.folder / "struck").exists() else None
            wrong = [each.what for each in (lasting(self.scenario, came) if first is None else first)]
        written = {"look": look.to_json(), "wrong": [what for what in wrong if what != "elapsed"]}
        (self.folder / when).write_text(json.dumps(written))

    def look(self, when: str) -> Look:
        return Look.from_json(self._seen(when)["look"])

    def wrong(self) -> list[str]:
        """What of the case does not hold at the end."""
        found: list[str] = self._seen("after")["wrong"]
        return found

    def _seen(self, when: str) -> Any:
        try:
            return json.loads((self.folder / when).read_text())
        except FileNotFoundError:
            raise Violation(f"the process fell over: {self.said}") from None

    @property
    def said(self) -> str:
        """The last that a process said."""
        return (self.folder / "said").read_text(errors="replace").strip()[-500:]


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
        """``{case, line, status, why, points, kills, io_errors, recoveries, passed_by, effects, calls,
        milliseconds, violations}``; ``status`` is ``passed``, ``failed`` or ``left_out``, a violation is
        ``{point, what}``, its point null if it needs none.
        """
        began = time.perf_counter()
        result: dict[str, Any] = {
            "case": scenario.name,
            "line": scenario.line,
            "status": "passed",
            "why": None,
        }
        counted = ("points", "kills", "io_errors", "recoveries", "passed_by", "effects", "calls")
        result |= dict.fromkeys(counted, 0) | {"violations": []}
        result["why"] = _left_out(scenario)
        if result["why"] is None:
            with tempfile.TemporaryDirectory(prefix="flowctl-torture-") as folder:
                self._torture(scenario, Path(folder), result)
        if result["why"] is not None:
            result["status"] = "left_out"
        elif result["violations"]:
            result["status"] = "failed"
        result["milliseconds"] = round((time.perf_counter() - began) * 1000, 3)
        return result

    def _torture(self, scenario: Scenario, folder: Path, result: dict[str, Any]) -> None:
        empty = _Stage(scenario, folder / "empty", lambda: None)
        empty.folder.mkdir()
        stage = empty.copy_to(folder / "undisturbed", lambda: None)
        began = time.perf_counter()
        code = stage.live(None, count=self.shim)
        took = time.perf_counter() - began
        if took > LONGEST:
            result["why"] = f"it takes more than {LONGEST} s undisturbed"
            return
        try:
            if code:
                raise Violation(f"undisturbed, it ends with exit code {code}: {stage.said}")
            usual = Judge().at_the_end(stage.look("after"))
            if wrong := stage.wrong():
                raise Violation(f"undisturbed, it does not hold: {'; '.join(wrong)}")
        except Violation as violation:
            result["violations"].append({"point": None, "what": str(violation)})
            return
        result["calls"] = stage.counts.calls if self.shim else 0
        result["effects"] += _effects(stage)
        chance = random.Random(f"{self.seed} {hashlib.sha256(scenario.name.encode()).hexdigest()}")  # noqa: S311 - to be repeated
        chosen = [self.only] if self.only else points(chance, self.points, result["calls"], took * 1000)
        (empty.folder / "struck").touch()
        for number, point in enumerate(chosen):
            here = empty.copy_to(folder / str(number), self.prepare)
            result["points"] += 1
            try:
                _strike(here, point, usual, result)
            except Violation as violation:
                written = ",".join(map(str, point))
                result["violations"].append({"point": written, "what": str(violation)})
            result["effects"] += _effects(here)
            shutil.rmtree(here.folder)


def _strike(stage: _Stage, point: Point, usual: Ending, result: dict[str, Any]) -> None:
    """Carry a case out with these blows. ``Violation``."""
    follows, code = Judge(usual), 0
    for fell, blow in enumerate((*point, None)):
        stage.counts.reset()
        code = stage.live(blow)
        if fell:
            follows.after_death(stage.look("before"))
            result["recoveries"] += 1
        hit = blow is not None and (code == -signal.SIGKILL or stage.counts.fired > 0)
        if not hit:
            result["passed_by"] += blow is not None and not fell
            break
        assert blow is not None
        result["io_errors" if blow.fault in ERRORS else "kills"] += 1
        if blow.fault in ERRORS and code not in (0, StorageError.exit_code):
            raise Violation(f"at an I/O error the process ends with exit code {code}: {stage.said}")
    if code == -signal.SIGALRM:
        raise Violation(f"the process that was left in peace did not end within {PATIENCE} s")
    if code:
        raise Violation(f"the process that was left in peace ends with exit code {code}: {stage.said}")
    ending = follows.at_the_end(stage.look("after"))
    wrong = [*_differences(usual, ending), *stage.wrong()]
    if wrong:
        raise Violation("; ".join(wrong))


def _effects(stage: _Stage) -> int:
    return sum(line["phase"] == "done" for line in read_ledger(stage.ledger))


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
            if was != became and not {was, became} <= STOPPED:
                yield f"{run}: the step {path} is {became}, undisturbed {was}"
    if usual.keys != ending.keys:
        yield f"other idempotency keys: {', '.join(sorted(usual.keys ^ ending.keys))}"
    if usual.undone != ending.undone:
        yield f"undone was {', '.join(ending.undone)}; undisturbed {', '.join(usual.undone)}"


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
    """Of all cases: ``{cases, left_out, points, kills, io_errors, recoveries, passed_by, effects,
    violations, milliseconds}``.
    """
    left_out = sum(case["status"] == "left_out" for case in cases)
    found: dict[str, Any] = {"cases": len(cases) - left_out, "left_out": left_out}
    for key in ("points", "kills", "io_errors", "recoveries", "passed_by", "effects"):
        found[key] = sum(case[key] for case in cases)
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
    gc.freeze()
    for scenario in suite.selected(file):
        sys.stdout.write(json.dumps(torturer.case(scenario)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:  # whoever started us has been told, too
        sys.exit(130)
