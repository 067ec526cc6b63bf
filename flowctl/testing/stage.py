"""The folder of one run of a case, and the processes that live in it, one after the other.

A life is a fork that carries the case on, gets its blows, and writes down what it saw at its beginning and at
its end. How it ended is an exit code, ``KILLED``, ``STOPPED`` if it stands still, or ``HUNG``: it did nothing
for too long, by its own clock or by ours.

A process that stands still is one whose lease is over, for those that begin meanwhile; nobody waits for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from flowctl.errors import FlowctlError, RunBusy
from flowctl.journal import Fenced, lock
from flowctl.testing import faults, lives
from flowctl.testing.faults.judge import Look, Violation, read_ledger
from flowctl.testing.loop import STUCK_AFTER, VirtualTimeLoop
from flowctl.testing.points import AT_A_TIME, AT_CALLS, Blow
from flowctl.testing.running import Scenario, judge, lasting

PATIENCE = 30
"""Seconds that any process may live."""

KILLED, STOPPED, HUNG, FELL_OVER = -signal.SIGKILL, -signal.SIGSTOP, 71, 70


class Stage:
    """``prepare`` is done to every process. A case that was ``struck`` need not come out as it expects."""

    def __init__(
        self, scenario: Scenario, folder: Path, prepare: Callable[[], object] = lambda: None, *, struck: bool
    ) -> None:
        self.scenario = scenario
        self.folder = folder
        self.ledger = folder / "ledger.jsonl"
        self.database = folder / "flowctl.db"
        self._prepare = prepare
        self._struck = struck
        self._still: list[int] = []
        folder.mkdir()
        self._counts = faults.Counts(str(folder / "counts"))

    # --- lives

    def live(self, blows: Sequence[Blow] = (), *, count: bool = False, ties: int | None = None) -> int:
        """One life; how its process ended. ``ties``: in which order things are done that are due together."""
        for left in ("after", "felt"):
            (self.folder / left).unlink(missing_ok=True)
        self._counts.reset()
        calls = [blow for blow in blows if blow.fault in AT_CALLS]
        plan = faults.NO_PLAN
        if count or calls:
            action, error = AT_CALLS[calls[0].fault] if calls else ("", 0)
            at = int(calls[0].at) if calls else 0
            plan = faults.Plan(str(self.database), action, at, error, faults.WRITES, counts=self._counts.path)
        child = os.fork()
        if child == 0:
            self._be(plan, blows, random.Random(ties) if ties is not None else None)  # noqa: S311 - to be repeated
        for blow in blows:
            if blow.fault == AT_A_TIME:
                time.sleep(blow.at / 1000)
                os.kill(child, signal.SIGKILL)  # one that has ended is there until it is waited for
        status = os.waitpid(child, os.WUNTRACED)[1]
        if os.WIFSTOPPED(status):
            self._still.append(child)
            return STOPPED
        return _how(status)

    def go_on(self) -> list[int]:
        """Let the processes that stand still go on; how they ended."""
        still, self._still = self._still, []
        return [_go_on(child) for child in still]

    def clear(self) -> None:
        """Remove everything."""
        for child in self._still:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        shutil.rmtree(self.folder)

    def _be(self, plan: faults.Plan, blows: Sequence[Blow], ties: random.Random | None) -> NoReturn:
        """The rest of a child's life."""
        code = FELL_OVER
        try:
            signal.alarm(PATIENCE)
            with open(self.folder / "said", "wb", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            if self._still:
                lock.LEASE = 0  # type: ignore[attr-defined]
            self._look("before")
            self._prepare()
            if plan.watch:
                faults.arm(plan)
            try:
                loop = VirtualTimeLoop(ties=ties, stuck=_hang)
                timing = lives.live(self.scenario, self.database, self.ledger, loop, blows, self._felt)
            finally:
                if plan.watch:
                    faults.arm()
            (self.folder / "moments").write_text(json.dumps(timing.left))
            self._look("after")
            code = 0
        except FlowctlError as error:
            code = error.exit_code
            sys.stdout.write(f"{type(error).__name__}: {error}")
        except Fenced as error:
            code = RunBusy.exit_code
            sys.stdout.write(f"{type(error).__name__}: {error}")
        except BaseException as error:
            sys.stdout.write(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _felt(self, blow: Blow) -> None:
        with open(self.folder / "felt", "a", encoding="utf-8") as file:
            file.write(f"{blow}\n")

    # --- what was seen

    @property
    def calls(self) -> int:
        """System calls of the last life."""
        return self._counts.calls

    @property
    def moments(self) -> list[int | None]:
        """Of the last life that came to its end: see ``Timing.left``."""
        found: list[int | None] = json.loads((self.folder / "moments").read_text())
        return found

    def felt(self, blow: Blow, code: int) -> bool:
        """Whether a blow fell in the last life, which ended so."""
        if blow.fault in AT_CALLS:
            return self._counts.fired > 0
        if blow.fault == AT_A_TIME:
            return code == KILLED
        with contextlib.suppress(FileNotFoundError):
            return str(blow) in (self.folder / "felt").read_text(encoding="utf-8").split()
        return False

    def look(self, when: str) -> Look:
        """What both witnesses said ``before`` or ``after`` the last life."""
        return Look.from_json(self._seen(when)["look"])

    def wrong(self) -> list[str]:
        """What of the case does not hold at the end."""
        found: list[str] = self._seen("after")["wrong"]
        return found

    def effects(self) -> int:
        """How many there were."""
        return sum(line["phase"] == "done" for line in read_ledger(self.ledger))

    @property
    def said(self) -> str:
        """The last that a process said."""
        return (self.folder / "said").read_text(errors="replace").strip()[-500:]

    def _seen(self, when: str) -> Any:
        try:
            return json.loads((self.folder / when).read_text())
        except FileNotFoundError:
            raise Violation(f"the process fell over: {self.said}") from None

    def _look(self, when: str) -> None:
        look = Look.at(self.database, self.ledger)
        wrong = []
        if when == "after":
            came = lives.came(self.scenario, self.database, self.ledger)
            found = lasting(self.scenario, came) if self._struck else judge(self.scenario, came)
            wrong = [each.what for each in found]
        written = {"look": look.to_json(), "wrong": [what for what in wrong if what != "elapsed"]}
        (self.folder / when).write_text(json.dumps(written))


def _go_on(child: int) -> int:
    os.kill(child, signal.SIGCONT)
    return _how(os.waitpid(child, 0)[1])


def _how(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return HUNG if code == -signal.SIGALRM else code


def _hang() -> None:
    sys.stdout.write(f"nothing happens any more, however often the clock goes on ({STUCK_AFTER:,} times)")
    sys.stdout.flush()
    os._exit(HUNG)
