"""A report of sales: a chart as SVG, and a page as PDF. Over ReportLab, which draws both.

The same numbers are the same bytes: there is no date and no random id in either file, so a step that is
repeated after a crash changes nothing.
"""

from __future__ import annotations

import calendar
import io
from typing import Any, TypedDict

from flowctl import ActivityContext, activity

PALETTE = ("#264653", "#2a9d8f", "#e9c46a", "#e76f51")
INK, QUIET, RULE, PAPER = "#22303c", "#6b7a88", "#dde3e8", "#f4f6f8"
MILLION = 100_000_000
"""Cents."""


class Month(TypedDict):
    month: int
    region: str
    cents: int


class Product(TypedDict):
    product: str
    orders: int
    cents: int


@activity("reports.chart", timeout="1m")
def chart(ctx: ActivityContext, root: str, path: str, year: int, months: list[Month]) -> dict[str, Any]:
    """Draw the months of a year, one bar each, by region; returns ``{path, size, sha256}``."""
    from reportlab.graphics import renderSVG
    from reportlab.graphics.shapes import Drawing, Group, Rect
    from reportlab.lib.colors import white

    from flowctl_files import save

    drawn = _bars(months, 720, 320, f"Sales of {year} by month and region, in millions")
    sheet = Drawing(768, 368)
    sheet.add(Rect(0, 0, 768, 368, fillColor=white, strokeColor=None))
    sheet.add(Group(*drawn.contents, transform=(1, 0, 0, 1, 24, 24)))
    return save(ctx, root, path, renderSVG.drawToString(sheet).encode())


@activity("reports.pdf", timeout="1m")
def pdf(
    ctx: ActivityContext,
    root: str,
    path: str,
    year: int,
    metrics: dict[str, str],
    months: list[Month],
    products: list[Product],
) -> dict[str, Any]:
    """Print a page; returns ``{path, size, sha256}``. ``metrics`` are those of ``src/metrics.py``."""
    from reportlab.graphics import renderPDF
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    from flowctl_files import save

    content = io.BytesIO()
    page = Canvas(content, pagesize=A4, invariant=1)
    page.setTitle(f"Sales of {year}")
    page.setAuthor("flowctl")
    page.setFillColor(INK)
    page.setFont("Helvetica-Bold", 26)
    page.drawString(48, 766, f"Sales of {year}")
    page.setFillColor(QUIET)
    page.setFont("Helvetica", 10.5)
    page.drawString(
        48, 746, f"{metrics['orders']} orders. Amounts in EUR. {metrics['best_region']} leads with "
        f"{metrics['best_share']} of the revenue."
    )  # fmt: skip
    tiles = [
        ("revenue", "Revenue"),
        ("average", "Average order"),
        ("median", "Median order"),
        ("best_month", "Best month"),
    ]
    for place, (name, title) in enumerate(tiles):
        _tile(page, 48 + place * 126.5, 672, title, metrics[name])
    renderPDF.draw(_bars(months, 499, 250, "By month and region, in millions"), page, 48, 398)
    _table(page, products, 48, 366, 499)
    page.setFillColor(QUIET)
    page.setFont("Helvetica", 8)
    page.drawString(48, 40, "Made by the workflow report, version 1")
    page.save()
    return save(ctx, root, path, content.getvalue())


def _tile(page: Any, x: float, y: float, title: str, value: str) -> None:
    page.setFillColor(PAPER)
    page.roundRect(x, y, 119.5, 52, 5, stroke=0, fill=1)
    page.setFillColor(QUIET)
    page.setFont("Helvetica", 8.5)
    page.drawString(x + 10, y + 34, title)
    page.setFillColor(INK)
    page.setFont("Helvetica-Bold", 15)
    page.drawString(x + 10, y + 13, value)


def _table(page: Any, products: list[Product], x: float, y: float, width: float) -> None:
    """Products, the best first, each with a bar of its share."""
    page.setFillColor(INK)
    page.setFont("Helvetica-Bold", 11)
    page.drawString(x, y, "By product")
    most = max(each["cents"] for each in products)
    for row, each in enumerate(products):
        below = y - 24 - row * 22
        page.setFillColor(INK)
        page.setFont("Helvetica", 9.5)
        page.drawString(x, below, each["product"])
        page.drawRightString(x + width, below, f"{each['cents'] / 100:,.0f}")
        page.setFillColor(QUIET)
        page.drawRightString(x + width - 78, below, f"{each['orders']:,} orders")
        page.setFillColor(RULE)
        page.roundRect(x + 96, below - 2, 230, 10, 2, stroke=0, fill=1)
        page.setFillColor(PALETTE[1])
        page.roundRect(x + 96, below - 2, max(4, 230 * each["cents"] / most), 10, 2, stroke=0, fill=1)


def _bars(months: list[Month], width: float, height: float, title: str) -> Any:
    """A drawing: a bar for each month, its parts the regions."""
    from reportlab.graphics.shapes import Drawing, Line, Rect, String
    from reportlab.lib.colors import HexColor

    drawing = Drawing(width, height)

    def text(
        x: float, y: float, words: str, size: float, colour: str, anchor: str = "start", bold: bool = False
    ) -> None:
        font = "Helvetica-Bold" if bold else "Helvetica"
        drawing.add(
            String(x, y, words, fontName=font, fontSize=size, fillColor=HexColor(colour), textAnchor=anchor)
        )

    regions = sorted({row["region"] for row in months})
    sums = {(row["month"], row["region"]): row["cents"] for row in months}
    totals = [sum(sums.get((month, region), 0) for region in regions) for month in range(1, 13)]
    step, top = _scale(max(totals))
    left, bottom, above = 34, 24, height - 46
    high = (above - bottom) / top
    text(0, height - 12, title, 11, INK, bold=True)
    for place, region in enumerate(regions):
        x = width - 64 * (len(regions) - place)
        drawing.add(
            Rect(x, height - 13, 9, 9, rx=2, ry=2, fillColor=HexColor(PALETTE[place % 4]), strokeColor=None)
        )
        text(x + 14, height - 12, region, 9, QUIET)
    for line in range(top // step + 1):
        y = bottom + line * step * high
        drawing.add(Line(left, y, width, y, strokeColor=HexColor(RULE), strokeWidth=0.7))
        text(left - 7, y - 3, f"{line * step / MILLION:.1f}", 8.5, QUIET, "end")
    slot = (width - left) / 12
    for month in range(1, 13):
        x, y = left + (month - 1) * slot + slot * 0.18, float(bottom)
        for place, region in enumerate(regions):
            tall = sums.get((month, region), 0) * high
            drawing.add(
                Rect(x, y, slot * 0.64, tall, fillColor=HexColor(PALETTE[place % 4]), strokeColor=None)
            )
            y += tall
        text(x + slot * 0.32, bottom - 14, calendar.month_abbr[month], 8.5, QUIET, "middle")
    return drawing


def _scale(most: int) -> tuple[int, int]:
    """The distance of the lines of a chart, and the topmost: round numbers, and four lines or more."""
    steps = (digit * 10**power for power in range(len(str(most)), -1, -1) for digit in (5, 2, 1))
    step = next((step for step in steps if most >= 4 * step), 1)
    return step, step * -(-most // step)
