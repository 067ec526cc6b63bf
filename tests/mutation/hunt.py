"""Which mutants of the documents of a test file its cases find, with every failure."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowctl import values
from flowctl.document.loader import load_yaml
from flowctl.errors import FlowctlError
from flowctl.model import NO_POLICY
from flowctl.plugins import load
from flowctl.testing.casefile import CaseFile, Surroundings, load_file
from flowctl.testing.every import every_failure
from flowctl.testing.running import Came, judge, run
from tests.mutation.mutants import mutants

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PACKAGES = sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))
"""What the scenarios are built on, loaded from where it stands: nobody has to install it for tests."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a mutant: ``refused`` by the language, ``found`` by a test, ``changed`` what runs do and
    was not found, or left it ``unchanged``.
    """

    document: str
    what: str
    fate: str


@functools.cache
def _around() -> Surroundings:
    plugins = functools.cache(lambda folders: load([*folders, *PACKAGES], entry_points=False))
    return Surroundings(plugins, NO_POLICY)


def hunt(file: Path) -> Iterator[Verdict]:
    """The fate of all mutants of the document that a test file is about."""
    original = _load(file, {})
    assert not _is_found(original), f"{file} fails as it is"
    courses = functools.cache(lambda: _courses(original))
    document = (file.parent / load_yaml(file.read_bytes(), file.name)["workflow"]).resolve()
    for mutant in mutants(load_yaml(document.read_bytes(), document.name)):
        try:
            changed = _load(file, {document: json.dumps(mutant.data)})
        except FlowctlError:
            yield Verdict(document.name, mutant.what, "refused")
            continue
        fate = "found"
        if not _is_found(changed):
            fate = "unchanged" if _courses(changed) == courses() else "changed"
        yield Verdict(document.name, mutant.what, fate)


def _load(file: Path, texts: dict[Path, str]) -> CaseFile:
    around = Surroundings(lambda folders: _around().plugins(tuple(folders)), NO_POLICY)
    return load_file(file, around, texts=texts)


def _is_found(file: CaseFile) -> bool:
    """Whether a case fails; those that are quick first."""
    came = [(scenario, run(scenario)) for scenario in file.scenarios]
    if any(judge(scenario, each) for scenario, each in came):
        return True
    thorough = [(scenario, each) for scenario, each in came if scenario.every_failure]
    return any(every_failure(scenario, each, _unseen, first=True)[1] for scenario, each in thorough)


def _unseen(came: Came) -> None: ...


def _courses(file: CaseFile) -> list[bytes]:
    """What all runs of all cases came to."""
    found: list[bytes] = []
    for scenario in file.scenarios:
        came = run(scenario)
        found.append(_course(came))
        every_failure(scenario, came, lambda each: found.append(_course(each)))
    return found


def _course(came: Came) -> bytes:
    names = ("status", "output", "error", "saga", "attributes", "memo")
    seen: dict[str, Any] = {name: came.status[name] for name in names}
    seen["calls"] = [[called.shown, called.args] for called in came.called]
    seen["steps"] = {path: step["status"] for path, step in came.steps.items()}
    return values.encode([seen, came.elapsed, came.ledger.roots()["left"]])
