"""Figures for people: a table, and a chart as SVG. Both stand in docs/performance.md.

python -m benchmarks.report     write both anew, from the figures that are kept
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import KEPT, Comparison, Figure, Row, Target, kept, target

PAGE = KEPT.with_name("performance.md")
CHART = KEPT.with_name("comparison.svg")
MARKS = "<!-- comparison: python -m benchmarks.comparison --write -->\n", "<!-- end -->\n"

WIDTH, LABEL, BAR, GAP, HEAD, END = 760, 250, 18, 4, 44, 110


def table(comparison: Comparison) -> str:
    """The table, in Markdown."""
    lines = ["| | figure | flowctl is | target |", "|---|---|---|---|"]
    for row in comparison.rows:
        lines.append(f"| **{row.what}** | | | |")
        lines += [_line(row, figure) for figure in row.figures]
    about = [f"{name} {value}" for name, value in {**comparison.machine, **comparison.versions}.items()]
    return "\n".join([*lines, "", f"Measured on: {', '.join(about)}.", ""])


def _line(row: Row, figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f"{_number(figure.ratio)} ×"
    meant = target(row, figure)
    verdict = "" if meant is None else f": {_verdict(meant)}"
    return f"| {figure.who} | {_number(figure.value)} {row.unit} | {ratio} | {figure.target}{verdict} |"


def targets(rows: Sequence[Target]) -> str:
    """What was to be reached, and whether it was, for terminals."""
    width = max(len(row.what) for row in rows)
    lines = [f"{'what':{width}} {'measured':>14} {'target':>20}"]
    for row in rows:
        wanted = f"{'at least' if row.least else 'at most'} {row.wanted:,g} {row.unit}".rstrip()
        measured = f"{_number(row.measured)} {row.unit}".rstrip()
        lines.append(f"{row.what:{width}} {measured:>14} {wanted:>20}  {_verdict(row)}")
    return "\n".join(lines)


def _verdict(row: Target) -> str:
    return "holds" if row.holds else "missed"


def _number(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def chart(comparison: Comparison) -> str:
    """The chart: for each piece of work a bar for everybody, on a logarithmic scale of its own."""
    rows = [row for row in comparison.rows if row.figures[0].who == "flowctl"]  # where it is compared
    parts = list(_groups(rows))
    height = sum(HEAD + len(row.figures) * (BAR + GAP) for row in rows) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="13">\n'
        "<title>flowctl beside bare SQLite and its peers, on logarithmic scales</title>\n"
        "<style>text{fill:#24292f}.head{font-weight:600}.bar{fill:#8c959f}.ours{fill:#1f6feb}.limit{fill:#d0d7de}"
        "@media (prefers-color-scheme: dark){text{fill:#e6edf3}.limit{fill:#484f58}}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _groups(rows: list[Row]) -> Iterator[str]:
    top = 0
    for row in rows:
        better = "more is better" if row.unit == "steps/s" else "less is better"
        heading = f"{row.what} ({row.unit}, {better})"
        yield f'<text class="head" x="0" y="{top + HEAD - 14}">{escape(heading)}</text>'
        top += HEAD
        for figure in sorted(row.figures, key=lambda figure: figure.value, reverse=row.unit == "steps/s"):
            yield from _bar(row, figure, top)
            top += BAR + GAP


def _bar(row: Row, figure: Figure, top: int) -> Iterator[str]:
    least = min(each.value for each in row.figures)
    most = max(each.value for each in row.figures)
    decades = max(1.0, math.ceil(math.log10(most / least) + 0.3))
    share = (math.log10(figure.value / least) + 0.3) / (decades + 0.3)
    length = max(2, round(share * (WIDTH - LABEL - END)))
    kind = "ours" if figure.who.startswith("flowctl") else "limit" if figure.who.startswith("bare") else "bar"
    middle = top + BAR - 5
    yield f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(figure.who)}</text>'
    yield f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{length}" height="{BAR}" rx="2"/>'
    yield f'<text x="{LABEL + length + 6}" y="{middle}">{_number(figure.value)}</text>'


def with_table(page: str, comparison: Comparison) -> str:
    """The page with this table in its place."""
    begin, end = MARKS
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda found: begin + table(comparison) + end, page)


def write() -> None:
    """Write chart and table."""
    comparison = kept()
    assert comparison is not None, "measure first"
    CHART.write_text(chart(comparison), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), comparison), encoding="utf-8")


if __name__ == "__main__":
    write()
