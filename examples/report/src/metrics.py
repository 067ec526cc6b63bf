"""What the sums of a year amount to. Plain Python: it knows nothing of workflows."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def summary(orders: Mapping[str, int], months: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures at the top of a report; amounts are text, in the currency's units.

    ``orders`` are ``{orders, cents, median}``, ``months`` rows of ``{month, region, cents}``.
    """
    by_month: dict[int, int] = defaultdict(int)
    by_region: dict[str, int] = defaultdict(int)
    for row in months:
        by_month[row["month"]] += row["cents"]
        by_region[row["region"]] += row["cents"]
    best = max(by_month, key=lambda month: (by_month[month], -month))
    region = max(by_region, key=lambda name: (by_region[name], name))
    return {
        "orders": f"{orders['orders']:,}",
        "revenue": amount(orders["cents"]),
        "average": amount(round(orders["cents"] / orders["orders"]), 2),
        "median": amount(orders["median"], 2),
        "best_month": calendar.month_name[best],
        "best_region": region,
        "best_share": f"{100 * by_region[region] / orders['cents']:.0f} %",
    }


def amount(cents: int, digits: int = 0) -> str:
    """Cents as units: ``1,234`` or, with two digits, ``12.34``."""
    return f"{cents / 100:,.{digits}f}"
