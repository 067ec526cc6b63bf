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
    """One case: ``{case, status, why, points, passed_by, otherwise, ties, milliseconds}`` and what is counted
    of it.
    """
    yield line("  ", _SIGNS[case["status"]], " ", escape(case["case"]))
    if case["why"] is not None:
        yield line(Span(f"      left out: {escape(case['why'])}", "dim"))
    elif case["points"]:
        took = duration(max(1, round(case["milliseconds"])))
        happened = {key: case[key] for key in _COUNTED if case[key]}
        yield line(Span(f"      {_done(happened)}{_aside(case)}, {took}", "dim"))


_COUNTED: Mapping[str, str] = {
    "kills": "kill",
    "io_errors": "I/O error",
    "stops": "stop",
    "delays": "delay",
    "clock_jumps": "clock jump",
    "recoveries": "recovery",
    "effects": "effect",
}

_ASIDE: Mapping[str, tuple[str, str]] = {
    "otherwise": ("ending", "as time had it"),
    "ties": ("tie", "decided otherwise"),
    "passed_by": ("fault", "came too late"),
}


def _done(counts: Json) -> str:
    return ", ".join(_count(counts[key], noun) for key, noun in _COUNTED.items() if key in counts)


def _aside(counts: Json) -> str:
    return "".join(
        f", {_count(counts[key], noun)} {what}" for key, (noun, what) in _ASIDE.items() if counts[key]
    )


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
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
    where = [part for folder in result["plugins_dirs"] for part in ("--plugins-dir", folder)]
    words = ["flowctl", "test" if point is None else "torture", result["file"], *where, "-k", case["case"]]
    return shlex.join(words if point is None else [*words, "--at", point])
