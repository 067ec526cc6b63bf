"""Tortured workflows: what was done to which case, what was violated, and a verdict."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from flowctl.render.layout import EMPTY, Json, Span, View, line
from flowctl.render.text import duration, escape

_SIGNS: Mapping[str, Span] = {
    "passed": Span("✓", "good"),
    "failed": Span("✗", "bad"),
    "left_out": Span("-", "dim"),
}


def tortured(case: Json) -> View:
    """One case: ``{case, status, why, kills, io_errors, recoveries, effects, passed_by, milliseconds}``."""
    yield line("  ", _SIGNS[case["status"]], " ", escape(case["case"]))
    if case["why"] is not None:
        yield line(Span(f"      left out: {escape(case['why'])}", "dim"))
    elif case["points"]:
        past = f", {_count(case['passed_by'], 'fault')} came too late" if case["passed_by"] else ""
        took = duration(max(1, round(case["milliseconds"])))
        yield line(Span(f"      {_done(case)}{past}, {took}", "dim"))


def _done(counts: Json) -> str:
    return ", ".join(
        _count(counts[key], noun)
        for key, noun in (
            ("kills", "kill"),
            ("io_errors", "I/O error"),
            ("recoveries", "recovery"),
            ("effects", "effect"),
        )
    )


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def verdict(result: Json) -> View:
    """Violations with what repeats them, and the verdict: ``{file, seed, shim, cases, summary}``."""
    for case in result["cases"]:
        for violation in case["violations"]:
            yield EMPTY
            yield line(Span("✗ ", "bad"), Span(escape(case["case"]), "strong"))
            at = f"at {violation['point']}: " if violation["point"] else ""
            yield line(f"  {at}{escape(violation['what'])}")
            yield line(Span(f"  again: {escape(_again(result, case, violation['point']))}", "dim"))
    summary = result["summary"]
    yield EMPTY
    cases = _count(summary["cases"], "case")
    left = f", {summary['left_out']} left out" if summary["left_out"] else ""
    said = f": {cases} of {escape(result['workflow'])} v{result['version']}{left}; {_done(summary)}; "
    wrong = _count(summary["violations"], "violation")
    good = not summary["violations"]
    word = Span("HELD", "good") if good and summary["cases"] else Span("VIOLATED", "bad")
    if good and not summary["cases"]:
        word = Span("NOT TRIED", "warn")
    took = duration(max(1, round(summary["milliseconds"])))
    yield line(word, f"{said}{wrong}", Span(f"  seed {result['seed']}, {took}", "dim"))


def _again(result: Json, case: Json, point: str | None) -> str:
    if point is None:
        return shlex.join(["flowctl", "test", result["file"], "-k", case["case"]])
    return shlex.join(["flowctl", "torture", result["file"], "-k", case["case"], "--at", point])
