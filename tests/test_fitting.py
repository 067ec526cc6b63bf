"""Whether a document fits what a run has done: every run fits its own, wherever it is, and of another one the
first step that does not fit is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowctl.document.loader import load_yaml
from flowctl.interpreter import execute
from flowctl.journal import Change, Entry, Run
from flowctl.journal.memory import MemoryJournal
from flowctl.machine.fitting import Fitting, Misfit
from flowctl.model import Workflow
from flowctl.testing.conformance import RUN_ID, Case
from flowctl.testing.virtual import records_of, run_virtual
from tests.versions_helpers import SIGNALS, workflow_of

CASES = Path(__file__).parent / "conformance" / "cases"


def fitting(workflow: Workflow) -> Fitting:
    return Fitting(workflow, lambda run: partial(execute, workflow, run.input))


# --- its own document


FILES = sorted(CASES.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_run_fits_its_own_document_after_every_commit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery asks for exactly what is on record, so this is about recovery as much."""
    checked = 0
    commit = MemoryJournal.commit

    def checking(journal: MemoryJournal, changes: Sequence[Change]) -> None:
        nonlocal checked
        commit(journal, changes)
        for change in changes:
            run = journal.run(change.run.id)
            if run is not None and run.digest == case.workflow.digest:
                assert own.misfit(run, journal.entries(run.id)) is None
                checked += 1

    monkeypatch.setattr(MemoryJournal, "commit", checking)
    for data in load_yaml(file.read_bytes(), str(file)):
        case = Case.parse(data)
        own = fitting(case.workflow)
        run_virtual(case)
    assert checked > 0


# --- another document


def recorded(steps: Sequence[Any], **about: Any) -> tuple[Run, list[Entry]]:
    """A run of these steps, as far as it comes within a second."""
    data = {"case": "c", "workflow": {"signals": SIGNALS, "steps": steps}, "until": "1s", "expect": {}}
    case = Case.parse(data | about)
    digest = case.workflow.digest
    run = Run(RUN_ID, RUN_ID, "case", 1, digest, {}, 0, 10**15, started_at=1, status="waiting")
    return run, records_of(case)[-1]


def a(id: str, value: Any = 0, **more: Any) -> dict[str, Any]:
    return {"id": id, "activity": "t.e", "with": {"value": value}, **more}


WAIT = {"id": "w", "wait_for_signal": "go"}
FAIL = {"fail": {"type": "Boom"}}
PATCH = {"id": "p", "patch": {"id": "c", "min": 1, "max": 2}}


FITS: dict[str, tuple[Any, Any]] = {
    "what comes after the frontier is free": ([a("a"), WAIT, a("b")], [a("a"), WAIT, a("z", 9), FAIL]),
    "nothing may be left of it": ([a("a"), WAIT, a("b")], [a("a"), WAIT]),
    "policies": ([a("a"), WAIT], [a("a", retry={"attempts": 9}, timeout="1m"), {**WAIT, "timeout": "9h"}]),
    "texts": ([a("a"), WAIT], [a("a", description="new", metadata={"owner": "me"}), WAIT]),
    "what undoes a step": ([a("a"), WAIT], [a("a", compensate={"activity": "t.u"}), WAIT]),
    "a patch": ([a("a"), WAIT], [PATCH, a("a"), WAIT]),
    "a patch, and a step that it switches off": (
        [a("a"), WAIT],
        [PATCH, {**a("n"), "if": "steps.p.output == 2"}, a("a"), WAIT],
    ),
    "a patch in an iteration": (
        [{"id": "x", "foreach": "[1, 2]", "steps": [a("a"), WAIT]}],
        [{"id": "x", "foreach": "[1, 2]", "steps": [PATCH, a("a"), WAIT]}],
    ),
    "a patch where the run is, and what it switches on": (
        [a("a"), {"id": "h", "activity": "t.gone"}],
        [a("a"), PATCH, {**a("n"), "if": "steps.p.output == 2"}],
    ),
    "a step that is skipped": ([a("a"), WAIT], [{**a("n"), "if": "false"}, a("a"), WAIT]),
    "an output of a step that was done": ([a("a"), WAIT], [a("a", output="${{ result }}"), WAIT]),
    "an output that is no more": ([a("a", output="${{ result }}"), WAIT], [a("a"), WAIT]),
    "a condition that holds": ([a("a"), WAIT], [{**a("a"), "if": "true"}, WAIT]),
    "a condition that held and is no more": ([{**a("a"), "if": "true"}, WAIT], [a("a"), WAIT]),
    "a timeout of a block": (
        [{"id": "x", "steps": [a("a")]}, WAIT],
        [{"id": "x", "steps": [a("a")], "timeout": "1h"}, WAIT],
    ),
    "a timeout that is no more": (
        [{"id": "x", "steps": [a("a"), WAIT], "timeout": "1h"}],
        [{"id": "x", "steps": [a("a"), WAIT]}],
    ),
    "the inside of an iteration that is over": (
        [{"id": "x", "foreach": "[1, 2]", "steps": [a("a", "${{ item }}"), {**WAIT, "if": "item > 1"}]}],
        [{"id": "x", "foreach": "[1, 2]", "steps": [a("a", 2), {**WAIT, "if": "item > 1"}]}],
    ),
    "the inside of a branch that is over": (
        [{"id": "x", "parallel": {"l": [a("a"), a("b")], "r": [WAIT]}}],
        [{"id": "x", "parallel": {"l": [a("z")], "r": [WAIT, a("b")]}}],
    ),
    "another order of what is done": ([a("a"), a("b"), WAIT], [a("b"), a("a"), WAIT]),
    "who catches, which was decided": (
        [{"id": "x", "try": [FAIL], "catch": {"steps": [a("c")]}}, WAIT],
        [{"id": "x", "try": [FAIL], "catch": {"errors": ["Other"], "steps": [a("c")]}}, WAIT],
    ),
    "the names that a wait is for": ([a("a"), WAIT], [a("a"), {**WAIT, "wait_for_signal": ["go", "never"]}]),
}  # fmt: skip
"""A run, and another document that fits it."""

MISFITS: dict[str, tuple[Any, Any, str, str]] = {
    "a new step": ([a("a"), WAIT], [a("n"), a("a"), WAIT], "n", "n is new"),
    "a new step in the middle": ([a("a"), a("b"), WAIT], [a("a"), a("n"), a("b"), WAIT], "n", "it came to b"),
    "a new step right before the frontier": ([a("a"), WAIT], [a("a"), a("n"), WAIT], "n", "it came to w"),
    "a new set": ([a("a"), WAIT], [{"set": {"v": 1}}, a("a"), WAIT], "_set1", "is new"),
    "a new fail": ([a("a"), WAIT], [FAIL, a("a"), WAIT], "_fail1", "is new"),
    "a step that is gone": ([a("a"), a("b"), WAIT], [a("a"), WAIT], "b", "the document does not have"),
    "the wait that is gone": ([a("a"), WAIT], [a("a")], "w", "the document does not have"),
    "another id": ([a("a"), WAIT], [a("z"), WAIT], "a", "the document does not have"),
    "another verb": ([a("a"), WAIT], [{"id": "a", "sleep": "1s"}, WAIT], "a", "activity, and is sleep"),
    "another verb where it waits": ([WAIT], [{"id": "w", "sleep": "1s"}], "w", "and is sleep"),
    "another activity": ([a("a"), WAIT], [{**a("a"), "activity": "t.z"}, WAIT], "a", "another call"),
    "other arguments": ([a("a"), WAIT], [a("a", 1), WAIT], "a", "another call"),
    "arguments made of another result": (
        [a("a", 1), a("b", "${{ steps.a.output }}"), WAIT],
        [a("a", 1, output="${{ 5 }}"), a("b", "${{ steps.a.output }}"), WAIT],
        "b",
        "another call",
    ),
    "a step that was skipped": ([{**a("a"), "if": "false"}, WAIT], [a("a"), WAIT], "a", "was skipped"),
    "a step that is skipped now": ([a("a"), WAIT], [{**a("a"), "if": "false"}, WAIT], "a", "it would not"),
    "a condition that says otherwise": (
        [{**a("a"), "if": "1 == 1"}, WAIT],
        [{"id": "x", "steps": [a("a")]}, WAIT],
        "a",
        "the document does not have",
    ),
    "a case that has moved": (
        [{"id": "x", "switch": [{"if": "true", "steps": [a("a"), WAIT]}]}],
        [{"id": "x", "switch": [{"if": "false", "steps": [FAIL]}, {"else": [a("a"), WAIT]}]}],
        "x.case_1.a",
        "the document does not have",
    ),
    "a new branch": (
        [{"id": "x", "parallel": {"l": [a("a")], "m": [a("b")]}}, WAIT],
        [{"id": "x", "parallel": {"l": [a("a")], "m": [a("b")], "n": [a("c")]}}, WAIT],
        "x.n",
        "is new",
    ),
    "a step in a branch, whatever its neighbour does": (
        [{"id": "x", "parallel": {"l": [a("a"), {**WAIT, "id": "wl"}], "m": [a("b"), WAIT]}}],
        [{"id": "x", "parallel": {"l": [a("a"), {**WAIT, "id": "wl"}], "m": [a("n"), a("b"), WAIT]}}],
        "x.m.n",
        "it came to x.m.b",
    ),
    "a step of an iteration under way": (
        [{"id": "x", "foreach": "[1, 2]", "steps": [a("a"), {**WAIT, "if": "item == 2"}]}],
        [{"id": "x", "foreach": "[1, 2]", "steps": [a("n"), a("a"), {**WAIT, "if": "item == 2"}]}],
        "x[1].n",
        "it came to x[1].a",
    ),
    "another way of joining": (
        [{"id": "x", "wait": "settled", "parallel": {"l": [FAIL], "r": [a("b")]}}, WAIT],
        [{"id": "x", "wait": "all", "parallel": {"l": [FAIL], "r": [a("b")]}}, WAIT],
        "x",
        "another course",
    ),
    "an order that undoes otherwise": (
        [a("a", compensate={"steps": [WAIT]}), FAIL],
        [a("a", compensate={"steps": [a("n"), WAIT]}), FAIL],
        "a.undo.n",
        "is new",
    ),
    "an undoing that is gone": (
        [a("a", compensate={"steps": [WAIT]}), FAIL],
        [a("a"), FAIL],
        "a.undo.w",
        "the document does not have",
    ),
    "a failure that ends the run no more": (
        [a("a", compensate={"steps": [WAIT]}), {"id": "f", **FAIL}],
        [a("a", compensate={"steps": [WAIT]}), {"id": "f", **FAIL, "optional": True}, a("b")],
        "b",
        "being compensating",
    ),
}  # fmt: skip
"""A run, another document, the first path that does not fit, and a part of the reason."""


@pytest.mark.parametrize(("before", "after"), FITS.values(), ids=FITS)
def test_what_may_change_of_a_document(before: Any, after: Any) -> None:
    missing = ["t.gone"]
    assert fitting(workflow_of(after)).misfit(*recorded(before, missing=missing)) is None


@pytest.mark.parametrize(("before", "after", "path", "reason"), MISFITS.values(), ids=MISFITS)
def test_the_first_step_that_does_not_fit_is_named(before: Any, after: Any, path: str, reason: str) -> None:
    misfit = fitting(workflow_of(after)).misfit(*recorded(before))
    assert isinstance(misfit, Misfit)
    assert misfit.path == path
    assert reason in misfit.reason


def test_the_version_is_part_of_what_a_run_knows_of_itself() -> None:
    steps = [a("a", "${{ run.version }}"), WAIT]
    run, entries = recorded(steps)
    assert fitting(workflow_of(steps)).misfit(run, entries) is None
    misfit = fitting(workflow_of(steps, version=2)).misfit(run, entries)
    assert misfit is not None
    assert misfit.path == "a"


def test_what_a_finished_part_has_to_undo_must_still_be_known() -> None:
    def steps(**more: Any) -> list[Any]:
        return [{"id": "x", "foreach": "[1]", "steps": [a("a", **more)]}, WAIT]

    run, entries = recorded(steps(compensate={"activity": "t.u"}))
    misfit = fitting(workflow_of(steps())).misfit(run, entries)
    assert misfit is not None
    assert (misfit.path, "compensation" in misfit.reason) == ("x[0].a", True)


def test_a_paused_run_is_walked_like_any_other() -> None:
    run, entries = recorded([a("a"), {"sleep": "500ms"}, a("b")], events=[{"at": "100ms", "pause": True}])
    assert [entry.fact.kind for entry in entries].count("paused") == 1
    misfit = fitting(workflow_of([a("n"), a("a"), {"sleep": "500ms"}, a("b")])).misfit(run, entries)
    assert misfit is not None
    assert misfit.path == "n"
    assert fitting(workflow_of([a("a"), {"sleep": "500ms"}, a("z")])).misfit(run, entries) is None


def test_the_interpreter_failing_on_a_record_is_a_misfit_and_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, entries = recorded([a("a"), WAIT])
    workflow = workflow_of([a("a"), WAIT])

    async def broken(machine: Any) -> Any:
        raise KeyError("gone")

    misfit = Fitting(workflow, lambda run: broken).misfit(run, entries)
    assert misfit == Misfit("", "flowctl failed: 'gone'")
    assert "held against" in caplog.text


def test_holding_a_run_against_a_document_changes_nothing_of_it() -> None:
    run, entries = recorded([a("a"), {"attributes": {"search": {"k": 1}}}, WAIT])
    before = (str(run), [str(entry) for entry in entries])
    fitting(workflow_of([a("a"), {"attributes": {"search": {"k": 2}}}, WAIT, a("b")])).misfit(run, entries)
    assert (str(run), [str(entry) for entry in entries]) == before
