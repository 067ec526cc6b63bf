"""Testing a workflow from Python: one call runs it in virtual time and returns what came of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.building import Workflow
from flowctl.settings import NO_PROJECT
from flowctl.testing.casefile import CaseFile, Surroundings, load_text
from flowctl.testing.every import every_failure
from flowctl.testing.mocks import Mock
from flowctl.testing.running import Came, Scenario, judge, run
from flowctl.testing.suite import surroundings

Answers = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Callable[..., Any]
"""A mock as in a test file, or a function that is called with the arguments, and may raise."""


class WorkflowBroken(AssertionError):
    """Something does not hold. Its text says what, and for ``every_failure`` after which failures."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tested:
    """What came of a run.

    ``calls`` are ``PATH``, or ``PATH#N`` for the N-th attempt, in order; ``steps`` the states by path;
    ``left`` how many effects are left, by name; ``elapsed`` is in seconds, of virtual time; ``document`` is
    what ``flowctl status --json`` would show.
    """

    scenario: Scenario
    came: Came

    @property
    def document(self) -> Mapping[str, Any]:
        """All that there is to know of the run."""
        return self.came.status

    @property
    def status(self) -> str:
        """How it ended, or stands."""
        return str(self.document["status"])

    @property
    def output(self) -> Any:
        """Its output, None without one."""
        return self.document["output"]

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Its error: ``{type, message, step, …}``."""
        found: Mapping[str, Any] | None = self.document["error"]
        return found

    @property
    def steps(self) -> dict[str, str]:
        """The states of its steps."""
        return {path: step["status"] for path, step in self.came.steps.items()}

    @property
    def calls(self) -> list[str]:
        """The calls that were made."""
        return [called.shown for called in self.came.calls]

    @property
    def compensations(self) -> list[str]:
        """The steps that were undone, in order."""
        return list(self.document["saga"]["undone"])

    @property
    def left(self) -> dict[str, int]:
        """What is left in the world."""
        return dict(self.came.ledger.roots()["left"])

    @property
    def elapsed(self) -> float:
        """How long it took."""
        return self.came.elapsed / 1000

    def args(self, path: str) -> Any:
        """The arguments of a step's first call. ``KeyError`` if there was none."""
        for called in self.came.called:
            if called.step == path:
                return called.args
        raise KeyError(path)

    def check(self) -> Tested:
        """Raise ``WorkflowBroken`` unless invariants and saga hold, and all that was expected."""
        expect = {"status": self.status, **self.scenario.expect}
        found = judge(dataclasses.replace(self.scenario, expect=expect), self.came)
        if found:
            raise WorkflowBroken("\n".join(each.what for each in found))
        return self

    def every_failure(self) -> int:
        """Run it again with every failure there can be; returns how many there were. ``WorkflowBroken``."""
        runs, broken = every_failure(self.scenario, self.came, lambda came: None)
        if broken:
            told = [
                f"when {each.variant}: {each.status}\n  {each.mismatches[0].what}" for each in broken[:10]
            ]
            raise WorkflowBroken("\n".join([f"{len(broken)} of {runs} failures break something", *told]))
        return runs


def run_workflow(
    file: str | Path | Workflow,
    input: Mapping[str, Any] | None = None,
    mocks: Mapping[str, Answers] | None = None,
    *,
    around: Surroundings | None = None,
    **case: Any,
) -> Tested:
    """Run a workflow, of a file or written in Python, in virtual time. ``case`` takes the words of a test
    file: ``events``, ``failures``, ``secrets``, ``until``, ``unmocked``, ``plugins_dir``, ``children``,
    ``effects``, ``invariants``, ….

    ``InvalidDocument`` if the workflow or what is said about it has mistakes.
    """
    place = Path(f"{file.name}.yaml" if isinstance(file, Workflow) else file).resolve()
    children = file.children() if isinstance(file, Workflow) else {}
    texts = {place.with_name(f"{name}.yaml"): child.to_yaml(check=False) for name, child in children.items()}
    if isinstance(file, Workflow):
        texts[place] = file.to_yaml(check=False)
    functions = {name: mock for name, mock in (mocks or {}).items() if callable(mock)}
    written = {name: {} if name in functions else mock for name, mock in (mocks or {}).items()}
    words = {key: case.pop(key) for key in ("plugins_dir", "children", "effects") if key in case}
    if children:
        words["children"] = {name: f"./{name}.yaml" for name in children} | words.get("children", {})
    one = {"case": place.name, "input": input or {}, "mocks": written, **case}
    text = json.dumps({"workflow": place.name, **words, "cases": [one]})
    made: CaseFile = load_text(text, place, around or surroundings(NO_PROJECT), texts=texts)
    scenario = made.scenarios[0]
    answers = {**scenario.mocks, **{name: Mock.parse(mock) for name, mock in functions.items()}}
    scenario = dataclasses.replace(scenario, mocks=answers)
    return Tested(scenario, run(scenario))
