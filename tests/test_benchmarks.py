"""What docs/performance.md shows is what was measured, and is put together rightly."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.figures import Comparison, Figure, Row, compared, kept, targets

ROUNDS = [{"flowctl": 100.0, "other": 50.0}, {"flowctl": 300.0, "other": 100.0}, {"flowctl": 90.0}]


def test_page_and_chart_show_the_figures_that_are_kept() -> None:
    comparison = kept()
    assert comparison is not None
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.with_table(page, comparison) == page
    assert report.CHART.read_text(encoding="utf-8") == report.chart(comparison)


def test_rates_are_compared_in_pairs_and_more_is_better() -> None:
    row = compared("work", "steps/s", ROUNDS, {"other": "at least 2"})
    assert row.figures == [Figure("flowctl", 100.0), Figure("other", 75.0, 2.5, "at least 2")]


def test_times_are_compared_in_pairs_and_less_is_better() -> None:
    [_, other] = compared("work", "s", ROUNDS, {}).figures
    assert other.ratio == pytest.approx((50 / 100 + 100 / 300) / 2)


def test_the_chart_is_well_formed_and_longer_bars_are_larger_figures() -> None:
    row = Row("a < b & c", "steps/s", [Figure("flowctl", 100.0), Figure("bare SQLite", 1_000.0)])
    root = ElementTree.fromstring(report.chart(Comparison({}, {}, [row])))
    bars = [
        (bar.get("class"), int(bar.get("width") or 0))
        for bar in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert [kind for kind, _ in bars] == ["limit", "ours"]
    assert bars[0][1] > bars[1][1] > 0


def test_what_was_measured_is_held_against_its_target() -> None:
    held = Row("work", "steps/s", [Figure("flowctl", 9.0), Figure("other", 3.0, 3.0, "at least 2")])
    missed = Row("start", "s", [Figure("flowctl", 1.5, target="under 1 s")])
    silent = Row("memory", "MB", [Figure("flowctl", 30.0, target="as with none")])
    found = targets(Comparison({}, {}, [held, missed, silent]))
    assert [(each.what, each.measured, each.holds) for each in found] == [
        ("work: × other", 3.0, True),
        ("start", 1.5, False),
    ]
    assert "| at least 2: holds |" in report.table(Comparison({}, {}, [held]))
    assert report.targets(found).splitlines()[-1].split()[-1] == "missed"
