"""Processes that carry out one command of flowctl and may not survive it.

They are forked from this one, which has imported flowctl and opened no database: so the blows fall on the
engine and not on Python's start, and a victim costs milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import flowctl
from flowctl import document
from flowctl.errors import InvalidDocument
from flowctl.testing import faults
from flowctl.testing.faults.judge import Look, Violation
from tests.crash.stories import CORPUS, EXAMPLES, TOUCH, Command, Story

PRELOADED = ("asyncio", "jsonschema", "re2", "yaml", "yaml.cyaml")
LEFT_OUT = ("flowctl.__main__", "flowctl.activities.child")

LONGEST_LIFE = 30
"""Seconds after which a victim that hangs is ended, by SIGALRM."""

Preparation = Callable[[], object]
"""What is done to a victim before it begins: how bugs are seeded."""


def preload() -> None:
    """Import all that victims will need, and have it read a document, which fills its caches."""
    inside = (found.name for found in pkgutil.walk_packages(flowctl.__path__, "flowctl."))
    for module in (*PRELOADED, *inside):
        if module not in LEFT_OUT and "temporal" not in module:  # whose library cannot be forked
            importlib.import_module(module)
    for file in (*CORPUS.glob("*.yaml"), *EXAMPLES.glob("*/*.yaml")):
        with contextlib.suppress(InvalidDocument):
            document.load(file.read_text(), str(file))
    gc.collect()
    gc.freeze()
    gc.disable()  # a victim is too short-lived to collect anything, and looking costs it a copy of each page


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended: its exit code, or the negative number of the signal; and what it said."""

    code: int
    said: str
    complained: str

    @property
    def killed(self) -> bool:
        """Whether somebody else ended it."""
        return self.code == -signal.SIGKILL


@dataclasses.dataclass
class Stage:
    """A folder in which a story is told. ``prepare`` is done to each process."""

    story: Story
    folder: Path
    prepare: Preparation | None = None

    @property
    def database(self) -> Path:
        """Its database."""
        return self.folder / "flowctl.db"

    @property
    def ledger(self) -> Path:
        """Its services' ledger."""
        return self.folder / "ledger.jsonl"

    def set_up(self) -> None:
        """Make the folder, with a database that knows the documents, unless the story makes its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in {EMPTY, *self.story.documents} if not self.story.fresh else ():
            self.perform(["deploy", str(file), "--json"])

    def copy_to(self, folder: Path) -> Stage:
        """The same, in another folder that is not there yet."""
        shutil.copytree(self.folder, folder)
        return Stage(self.story, folder, self.prepare)

    def perform(
        self,
        words: Command,
        plan: faults.Plan | None = None,
        *,
        look_before: bool = False,
        look_after: bool = False,
        kill_after: float | None = None,
    ) -> End:
        """Carry a command out in a process of its own, with these faults; and have it look before or after.

        ``kill_after`` seconds it is killed.
        """
        sys.stdout.flush()
        for when in ("before", "after"):
            (self.folder / when).unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._live(words, plan, look_before, look_after)
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        said, complained = (self._read(name) for name in ("said", "complained"))
        return End(os.waitstatus_to_exitcode(status), said, complained)

    def look(self, when: str) -> Look:
        """What the last process saw ``before`` or ``after``."""
        if not (self.folder / when).exists():
            raise Violation(f"nobody could look {when}: {self._read('complained')}")
        return Look.from_json(self._read(when))

    def _read(self, name: str) -> str:
        """A process that was killed before it had begun has left none."""
        file = self.folder / name
        return file.read_text(errors="replace") if file.exists() else ""

    def _live(
        self, words: Command, plan: faults.Plan | None, look_before: bool, look_after: bool
    ) -> NoReturn:
        """The rest of a child's life."""
        code = 70
        try:
            self.settle()
            if look_before:
                (self.folder / "before").write_text(Look.at(self.database, self.ledger).to_json())
            if self.prepare is not None:
                self.prepare()
            if plan is not None:
                faults.arm(dataclasses.replace(plan, watch=str(self.database)))
            code = command(words)
            if plan is not None:
                faults.arm()
            if look_after:
                (self.folder / "after").write_text(Look.at(self.database, self.ledger).to_json())
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def settle(self, *, said: str = "said", append: bool = False, longest: int = LONGEST_LIFE) -> None:
        """Make this process one of commands in this folder, which lives for so many seconds at most."""
        signal.alarm(longest)
        os.chdir(self.folder)
        os.environ |= self.story.environment(self.folder)
        for descriptor, name in ((1, said), (2, "complained")):
            with open(name, "ab" if append else "wb", buffering=0) as file:
                os.dup2(file.fileno(), descriptor)

    def carry_out(self, words: Command) -> int:
        """Carry a command out in this process; returns the exit code."""
        self.settle()
        return command(words)


def command(words: Command) -> int:
    """Carry a command out in this process; returns the exit code."""
    name, *rest = words
    if name == TOUCH:
        Path(*rest).touch()
        return 0
    from flowctl.cli import main

    sys.argv = ["flowctl", *words]
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


EMPTY = Path(__file__).with_name("corpus") / "child.yaml"
"""Deployed to make an empty database: without runs."""


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="flowctl-crash-") as folder:
        yield Path(folder)


def put_down(pids: Iterable[int]) -> list[int]:
    """Kill processes of ours; returns the exit codes of those that had ended by themselves."""
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)  # also of one that has ended: it is there until it is waited for
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return [code for code in codes if code != -signal.SIGKILL]


def in_parallel(jobs: int, work: Callable[[int], Iterable[Any]]) -> list[Any]:
    """What ``work(0)`` … ``work(jobs - 1)``, each in a process of its own, have to say, as JSON."""
    pipes = []
    for number in range(jobs):
        reading, writing = os.pipe()
        sys.stdout.flush()
        if os.fork() == 0:
            code = 1
            try:
                os.close(reading)
                with open(writing, "w") as pipe:
                    pipe.writelines(json.dumps(line) + "\n" for line in work(number))
                code = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)
        pipes.append(reading)
    lines = []
    for reading in pipes:
        with open(reading) as pipe:
            lines += [json.loads(line) for line in pipe]
    if any(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(jobs)):
        raise RuntimeError("a process of the harness failed")
    return lines


def with_shim() -> None:
    """Have the shim in this process, beginning it again if need be."""
    if not faults.is_loaded():
        faults.restart_with(faults.build())
