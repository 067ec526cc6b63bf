"""Tests of workflows: what passed, what did not, and what differs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowctl.render.layout import EMPTY, Column, Json, Line, Row, Span, Table, View, line
from flowctl.render.text import duration, escape, pretty

SHOWN = 5
"""Failures that are shown of those that break the same thing."""

_VALUE_LINES = 12
"""Lines of a value."""


def case_file(file: Json) -> View:
    """The head of a test file: ``{file, workflow, version}``."""
    yield line(
        Span(escape(file["file"]), "strong"),
        Span(f"  {escape(file['workflow'])} v{file['version']}", "dim"),
    )


def case_line(case: Json) -> View:
    """One line for a case that was run."""
    good = case["status"] == "passed"
    took = f"{duration(round(case['elapsed'] * 1000))} in " if case["elapsed"] else ""
    every = case["every_failure"]
    tried = f", {every['runs']} failures tried" if every is not None else ""
    yield line(
        "  ",
        Span("✓", "good") if good else Span("✗", "bad"),
        " ",
        escape(case["case"]),
        Span(f"  {took}{_took(case['milliseconds'])}{tried}", "dim"),
    )


def _took(milliseconds: float) -> str:
    return duration(max(1, round(milliseconds)))


def case_failures(results: Sequence[Json]) -> View:
    """What is wrong with the cases that failed: results of files, ``{file, cases}``."""
    for result in results:
        for case in result["cases"]:
            if case["status"] != "passed":
                yield EMPTY
                yield from failures_of_case(result["file"], case)


def failures_of_case(file: str, case: Json) -> View:
    """What is wrong with one case."""
    yield line(Span("✗ ", "bad"), Span(escape(case["case"]), "strong"))
    for mismatch in case["mismatches"]:
        yield from _mismatch(file, mismatch, "  ")
    if case["why"] is not None:
        yield line(f"  {escape(case['why'])}")
    every = case["every_failure"]
    for group in _grouped(every["broken"]) if every is not None else ():
        yield from _broken(file, group)


def _grouped(broken: Iterable[Json]) -> list[list[Json]]:
    """Failures that break the same things, together."""
    groups: dict[str, list[Json]] = {}
    for each in broken:
        key = json.dumps([_subject(mismatch["what"]) for mismatch in each["mismatches"]])
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _subject(what: str) -> str:
    """What is broken, without the values of this run."""
    return what.partition(" (")[0]


def _broken(file: str, group: Sequence[Json]) -> View:
    first, *others = group
    yield line("  when ", Span(escape(first["failure"]), "warn"), f": {escape(first['status'])}")
    for each in others[: SHOWN - 1]:
        yield line("   and ", Span(escape(each["failure"]), "warn"), f": {escape(each['status'])}")
    if len(others) >= SHOWN:
        yield line(f"   and {len(others) - SHOWN + 1} more")
    for mismatch in first["mismatches"]:
        yield from _mismatch(file, mismatch, "    ")
    yield line(Span("    this case shows it alone:", "dim"))
    for text in first["reproducer"].split("\n"):
        yield line(f"      {escape(text)}")


def _mismatch(file: str, mismatch: Json, indent: str) -> View:
    where = Span(f"  {escape(file)}:{mismatch['line']}", "dim")
    yield line(f"{indent}{escape(mismatch['what'])}", where)
    if "expected" in mismatch or "actual" in mismatch:
        for text in _difference(mismatch):
            yield line(indent, *text)


def _difference(mismatch: Json) -> Iterator[Line]:
    """Two values: what is in one and not in the other, if they are lists or long texts."""
    expected, actual = (_lines(mismatch.get(name)) for name in ("expected", "actual"))
    if expected is not None and actual is not None:
        for text in difflib.ndiff(expected, actual):
            if not text.startswith("?"):
                style = _STYLES.get(text[0], "")
                yield line("  ", Span(escape(text), style))  # type: ignore[arg-type]
        return
    for name, style in (("expected", "good"), ("actual", "bad")):
        value = pretty(mismatch[name], _VALUE_LINES) if name in mismatch else ["nothing"]
        for index, text in enumerate(value):
            yield line(f"  {name if not index else '':8}  ", Span(text, style))  # type: ignore[arg-type]


_STYLES: Mapping[str, str] = {"-": "good", "+": "bad"}


def _lines(value: Any) -> list[str] | None:
    if isinstance(value, list):
        return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in value]
    return value.split("\n") if isinstance(value, str) and "\n" in value else None


def case_summary(summary: Json) -> View:
    """How it ended: ``{passed, failed, errors, failures_tried, elapsed, milliseconds}``."""
    yield EMPTY
    parts = [Span(f"{summary['passed']} passed", "good")] if summary["passed"] else []
    parts += [Span(f"{summary['failed']} failed", "bad")] if summary["failed"] else []
    if summary["errors"]:
        parts.append(Span(_count(summary["errors"], "file") + " with mistakes", "bad"))
    joined = [each for part in parts for each in (part, Span(", "))][:-1]
    tried = f", {summary['failures_tried']:,} failures tried" if summary["failures_tried"] else ""
    runs, took = (duration(round(each)) for each in (summary["elapsed"] * 1000, summary["milliseconds"]))
    ran = f": {runs} of runs in {took}" if summary["passed"] or summary["failed"] else ""
    yield line(*joined, Span(f"{tried}{ran}", "dim"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def coverage(documents: Sequence[Json]) -> View:
    """What of the documents the tests came to, and what not."""
    yield EMPTY
    columns = (
        Column("coverage"),
        *(Column(title, right=True) for title in ("steps", "branches", "retries", "compensations")),
        Column("", right=True),
    )
    rows = [
        Row(_cells(document), [line("    ", *_missing(each)) for each in document["missing"]])
        for document in documents
    ]
    yield Table(columns, rows, indent=0)


def _cells(document: Json) -> Sequence[Line]:
    counts = [line(f"{each['covered']}/{each['total']}") for each in document["kinds"].values()]
    whole = document["percent"] == 100
    return (
        line(Span(escape(document["workflow"]), "strong"), f" v{document['version']}"),
        *counts,
        line(Span(f"{document['percent']:g} %", "good" if whole else "warn")),
    )


def _missing(item: Json) -> Sequence[Span]:
    return Span(f"no {item['kind']}: ", "dim"), Span(escape(item["what"]), "name")
