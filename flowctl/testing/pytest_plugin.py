"""The pytest plugin: collects ``*.test.yaml``, and runs workflows from Python in virtual time.

It is loaded by every pytest that finds flowctl installed, so nothing of flowctl is imported before there is
something to test. ``-p no:flowctl`` leaves it out.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flowctl.building import Workflow
    from flowctl.testing.casefile import Surroundings
    from flowctl.testing.python import Tested

SUFFIXES = (".test.yaml", ".test.yml")
"""As in ``document.cases``."""


class _Mistakes(Exception):
    """A test file with mistakes, or a case that failed: the text says it all."""


OURS = re.compile(rb"\b(workflow|cases)\"?\s*:")
"""What every test file has. Others may call files of theirs so, too."""

LOOKED_AT = 1 << 16
"""Bytes in which that is looked for."""


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Test files of workflows are test files."""
    if not file_path.name.endswith(SUFFIXES):
        return None
    with file_path.open("rb") as file:
        ours = OURS.search(file.read(LOOKED_AT))
    made: pytest.Collector | None = _File.from_parent(parent, path=file_path) if ours else None
    return made


@functools.cache
def _surroundings(folder: str) -> Surroundings:
    """Plugins and defaults as ``flowctl`` would find them in that folder."""
    from flowctl.settings import settle
    from flowctl.testing.suite import surroundings

    return surroundings(settle(None, (), os.environ, folder))


class _File(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        from flowctl.errors import FlowctlError, InvalidDocument
        from flowctl.testing.replaying import replay_file
        from flowctl.testing.suite import Suite

        suite = Suite(_surroundings(str(self.config.invocation_params.dir)))
        try:
            file = suite.read(self.path)
        except InvalidDocument as error:
            raise self.CollectError("\n".join(each.render() for each in error.diagnostics)) from None
        except FlowctlError as error:
            raise self.CollectError(str(error)) from None
        for index, scenario in enumerate(file.scenarios):
            run = functools.partial(suite.case, file, index, scenario)
            yield _Case.from_parent(self, name=scenario.name, run=run, line=scenario.line)
        for history in replay_file(file):
            known = functools.partial(_known, history)
            yield _Case.from_parent(self, name=history["case"], run=known, line=history["line"])


def _known(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came of a history is known when it is collected."""
    return result


class _Case(pytest.Item):
    def __init__(self, *, run: Callable[[], Mapping[str, Any]], line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._run = run
        self._line = line

    def runtest(self) -> None:
        result = self._run()
        if result["status"] != "passed":
            from flowctl.render.cases import failures_of_case
            from flowctl.render.plain import lines

            raise _Mistakes("\n".join(lines(failures_of_case(self.path.name, result))))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, _Mistakes):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self._line - 1, self.name


@pytest.fixture
def run_workflow(request: pytest.FixtureRequest) -> Callable[..., Tested]:
    """Run a workflow in virtual time: ``run_workflow("order.yaml", input={…}, mocks={…})``.

    The file is looked for beside the test; it may be a ``flowctl.Workflow`` too. See
    ``flowctl.testing.python.run_workflow`` for the rest.
    """
    from flowctl.testing.python import run_workflow as run

    around = _surroundings(str(request.config.invocation_params.dir))

    def call(file: str | Path | Workflow, *args: Any, **kwargs: Any) -> Tested:
        place = request.path.parent / file if isinstance(file, str | Path) else file
        return run(place, *args, around=around, **kwargs)

    return call
