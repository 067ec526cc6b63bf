"""The table of ``docs/language.md`` that says which case covers what of the language.

Nobody keeps it by hand. Every case is run in virtual time, and what became of its steps tells what it shows
of their verbs and of the attributes that they have:

=============  ======================================================================================
success        a step completed
failure        it failed, but not for the time it took
timeout        it failed with a timeout of its own
cancellation   it was cancelled, in a run that somebody cancelled
crash          it was under way while the worlds of ``test_conformance`` ended; or it takes no time at
               all, and they ended just before and just after it
=============  ======================================================================================

``python -m tests.conformance.table`` writes it into the page; a test says when that is due.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowctl.document.loader import load_yaml
from flowctl.document.structure import VERBS, compensating_steps, parts_of, verb_of
from flowctl.journal import Entry
from flowctl.state import StepStatus
from flowctl.status import Fold, Step
from flowctl.testing.conformance import Case
from flowctl.testing.virtual import records_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "language.md"
CASES = ROOT / "tests" / "conformance" / "cases"
BEGIN, END = "<!-- cases: python -m tests.conformance.table -->\n", "<!-- end of cases -->\n"

OUTCOMES = ("success", "failure", "timeout", "cancellation", "crash")

IN_NO_TIME = frozenset({"set", "patch", "attributes", "fail", "return", "send_signal", "continue_as_new"})
"""Verbs that never wait, and so neither time out nor can be reached by a cancellation."""

STARTED_ONLY = frozenset({"detached", "on_parent_close"})
"""Attributes of steps that start something and do not wait for it: likewise."""

_SILENT = frozenset({"id", "description", "metadata", "steps"})
"""Attributes that nothing depends on, or that are part of a verb."""

_DEFS = json.loads((ROOT / "schemas" / "workflow.schema.json").read_text(encoding="utf-8"))["$defs"]
_WRITTEN = {verb: frozenset(_DEFS[f"{verb}_step"]["properties"]) for verb in VERBS}

ATTRIBUTES = sorted({word for words in _WRITTEN.values() for word in words} - VERBS.keys() - _SILENT)

_TOO_LONG = frozenset({"Timeout", "HeartbeatTimeout"})

Cells = dict[tuple[str, str], str]
"""Word and outcome to the sentence of a case."""


def impossible(word: str, outcome: str) -> bool:
    """Whether no case can show this."""
    if word in IN_NO_TIME | STARTED_ONLY and outcome in ("timeout", "cancellation"):
        return True
    return word == "fail" and outcome == "success"


@functools.cache
def cells() -> Cells:
    """Of the cases that show it, the first of those that are most about it."""
    best: dict[tuple[str, str], tuple[tuple[int, int], str]] = {}
    for file in sorted(CASES.glob("*.yaml")):
        for data in load_yaml(file.read_bytes(), str(file)):
            for word, outcome in _shown(data):
                rank = _rank(data["covers"], word, outcome)
                if (word, outcome) not in best or rank < best[word, outcome][0]:
                    best[word, outcome] = rank, data["case"]
    return {cell: case for cell, (_, case) in best.items()}


def _rank(covers: Sequence[str], word: str, outcome: str) -> tuple[int, int]:
    """How much else a case is about. A crash is shown best where a worker is lost on purpose."""
    place = covers.index(word) if word in covers else len(covers) + 1
    on_purpose = outcome == "crash" and "lost" in covers and word in covers
    return place - 100 if on_purpose else place, len(covers)


def table() -> str:
    """The table in Markdown."""
    lines = [["", *OUTCOMES], ["---"] * (len(OUTCOMES) + 1)]
    for word in (*VERBS, *ATTRIBUTES):
        lines.append([f"`{word}`", *(_cell(word, outcome) for outcome in OUTCOMES)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str) -> str:
    """The table as the page has it."""
    found = re.search(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", page, re.DOTALL)
    assert found, f"there is no {BEGIN!r}"
    return found[1]


def _cell(word: str, outcome: str) -> str:
    return "–" if impossible(word, outcome) else cells().get((word, outcome), "")


# --- what a case shows


def _shown(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entries in records_of(Case.parse(data)):
        yield from _shown_by(entries, data)


def _shown_by(entries: Sequence[Entry], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cancelled = any(fact.kind == "cancel_requested" for entry in entries for fact in entry.facts())
    document = dict(_steps(data["workflow"]["steps"]))
    for step in Fold.of(entries).steps:
        written = document.get(re.sub(r"\[[0-9]+\]", "", step.path))
        verb = verb_of(written)
        if written is None or verb is None:
            continue
        words = [verb, *(written.keys() & set(ATTRIBUTES) & _WRITTEN[verb])]
        at_once = verb in IN_NO_TIME or "detached" in written
        yield from ((word, outcome) for outcome in _outcomes(step, cancelled, at_once) for word in words)


def _outcomes(step: Step, cancelled: bool, at_once: bool) -> Iterator[str]:
    if step.state == StepStatus.COMPLETED:
        yield "success"
    elif step.state == StepStatus.FAILED:
        too_long = step.error["type"] in _TOO_LONG and step.error["step"] == step.path
        yield "timeout" if too_long else "failure"
    elif step.state == StepStatus.CANCELLED and cancelled:
        yield "cancellation"
    if at_once or (step.completed_at or 0) > (step.started_at or 0):
        yield "crash"


def _steps(steps: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The steps of a list and those inside them, by their paths without the numbers of iterations."""
    counts: dict[str, int] = {}
    for step in steps:
        verb = verb_of(step)
        assert verb is not None
        counts[verb] = counts.get(verb, 0) + 1
        here = path + step.get("id", f"_{verb}{counts[verb]}")
        yield here, step
        for pointer, inside in parts_of(step, verb):
            yield from _steps(inside, ".".join([here, *_clause(pointer), ""]))
        for _, inside in compensating_steps(step):
            yield from _steps(inside, f"{here}.undo.")


def _clause(pointer: tuple[str | int, ...]) -> list[str]:
    """The segment of a path that stands for this part of a step, if there is one."""
    match pointer:
        case ("switch", int(index), "steps"):
            return [f"case_{index + 1}"]
        case ("switch", _, "else"):
            return ["else"]
        case ("parallel", str(name), *_):
            return [name]
        case ("catch", int(index), *_):
            return [f"catch_{index + 1}"]
        case ("catch", *_):
            return ["catch_1"]
        case ("try" | "finally" as clause,):
            return [clause]
    return []


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    around = BEGIN + written(page) + END
    PAGE.write_text(page.replace(around, BEGIN + table() + END), encoding="utf-8")
