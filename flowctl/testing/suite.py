"""Test files, found and run: what ``flowctl test`` shows, as data.

A case is ``{case, line, status, milliseconds, elapsed, mismatches, why, every_failure}``: ``status`` is
``passed`` or ``failed``, ``elapsed`` the run's time in seconds, virtual; a mismatch is ``{what, line}`` with
``expected`` and ``actual`` where two values differ. ``every_failure`` is null, or ``{runs, broken}`` with,
for each failure after which something does not hold, ``{failure, status, mismatches, reproducer}``.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.document.cases import SUFFIXES
from flowctl.document.places import Pointer
from flowctl.errors import UsageError
from flowctl.model import NO_POLICY
from flowctl.plugins import Plugins, load
from flowctl.settings import Settings
from flowctl.testing.casefile import CaseFile, Surroundings, load_file
from flowctl.testing.coverage import Coverage
from flowctl.testing.every import every_failure
from flowctl.testing.expectations import Mismatch
from flowctl.testing.replaying import replay_file
from flowctl.testing.reproducer import reproducer
from flowctl.testing.running import Came, Scenario, judge, run

SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "build", "dist"})
"""Folders in which nobody keeps tests of their own; nor in those that begin with a dot."""


def discover(paths: Sequence[str]) -> list[Path]:
    """The test files that are named, and those in the folders that are. ``UsageError``."""
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(_files_in(path)))
        elif path.exists() and not path.name.endswith(SUFFIXES):
            raise UsageError(f"{path} is no test file", hint="test files are called NAME.test.yaml")
        elif path.exists():
            found[path] = None
        else:
            raise UsageError(f"there is no file or folder {str(path)!r}")
    return list(found)


def _files_in(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in SKIPPED)
        yield from (Path(here, file) for file in sorted(files) if file.endswith(SUFFIXES))


def surroundings(settings: Settings, tell: Callable[[Plugins], None] = lambda plugins: None) -> Surroundings:
    """Where tests are run: with the plugins of the project, told what it tells them, loaded once for every
    set of folders. ``tell`` is told what was loaded.
    """

    @functools.cache
    def loaded(more: tuple[str, ...]) -> Plugins:
        folders = [Path(each) for each in dict.fromkeys([*settings.plugins_dirs, *more])]
        plugins = load(folders, settings=settings.plugins, project=settings.project, secrets=settings.secrets)
        tell(plugins)
        return plugins

    return Surroundings(
        lambda more: loaded(tuple(os.path.realpath(each) for each in more)), settings.defaults or NO_POLICY
    )


@dataclasses.dataclass
class Suite:
    """What to run of test files. ``select``: only cases whose name, or file, has this text. ``every``: all of
    them with every failure. ``coverage`` is told what the runs came to, None if nobody asks.
    """

    around: Surroundings
    select: str | None = None
    every: bool = False
    coverage: Coverage | None = None

    def read(self, path: Path) -> CaseFile:
        """``InvalidDocument``, ``UsageError``."""
        file = load_file(path, self.around)
        if self.coverage is not None:
            self.coverage.add(file.subject.documents, file.subject.plugins, file.subject.settings)
        return file

    def cases(self, file: CaseFile) -> Iterator[dict[str, Any]]:
        """Run the cases of a file that are selected, and hold its histories against its document."""
        for index, scenario in enumerate(file.scenarios):
            if self._selected(file, scenario.name):
                yield self.case(file, index, scenario)
        for history in replay_file(file):
            if self._selected(file, history["case"]):
                yield history

    def case(self, file: CaseFile, index: int, scenario: Scenario) -> dict[str, Any]:
        """Run one case."""
        began = time.perf_counter()
        came = run(scenario)
        self._see(came)
        found = judge(scenario, came)
        asked = self.every or scenario.every_failure  # of a case that fails as it is, there is enough to say
        every = self._every(file, index, scenario, came) if asked and not found else None
        passed = not found and (every is None or not every["broken"])
        return {
            "case": scenario.name,
            "line": scenario.line,
            "status": "passed" if passed else "failed",
            "milliseconds": round((time.perf_counter() - began) * 1000, 3),
            "elapsed": came.elapsed / 1000,
            "mismatches": _located(found, file, index),
            "why": came.why if found else None,
            "every_failure": every,
        }

    def _every(self, file: CaseFile, index: int, scenario: Scenario, came: Came) -> dict[str, Any]:
        runs, broken = every_failure(scenario, came, self._see)
        listed = [
            {
                "failure": str(each.variant),
                "status": each.status,
                "mismatches": _located(each.mismatches, file, index),
                "reproducer": reproducer(scenario, each),
            }
            for each in broken
        ]
        return {"runs": runs, "broken": listed}

    def _see(self, came: Came) -> None:
        if self.coverage is not None:
            self.coverage.see(came.runs)

    def selected(self, file: CaseFile) -> list[Scenario]:
        """The cases of a file that are selected."""
        return [each for each in file.scenarios if self._selected(file, each.name)]

    def _selected(self, file: CaseFile, name: str) -> bool:
        return self.select is None or self.select.lower() in f"{file.path} {name}".lower()


def _located(found: Iterable[Mismatch], file: CaseFile, index: int) -> list[dict[str, Any]]:
    """Mismatches with the lines of what they are about: in the case, or else in what is said of all cases."""
    return [each.to_json() | {"line": _line(each.pointer, file, index)} for each in found]


def _line(pointer: Pointer, file: CaseFile, index: int) -> int:
    case = file.line(("cases", index))
    here = file.line(("cases", index, *pointer))
    shared = here == case and pointer[:1] in (("invariants",), ("mocks",))
    return file.line(pointer) if shared else here


def summary_of(results: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """How it ended: of files, ``{cases, errors}``, that took so long together."""
    cases = [case for result in results for case in result["cases"]]
    tried = [case["every_failure"]["runs"] for case in cases if case["every_failure"] is not None]
    return {
        "passed": sum(case["status"] == "passed" for case in cases),
        "failed": sum(case["status"] == "failed" for case in cases),
        "errors": sum(bool(result["errors"]) for result in results),
        "failures_tried": sum(tried),
        "elapsed": round(sum(case["elapsed"] for case in cases), 3),
        "milliseconds": round(seconds * 1000, 3),
    }
