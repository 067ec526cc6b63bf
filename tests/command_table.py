"""The table of ``docs/operations.md`` that says what each command does in each state: ``state.COMMANDS``.

``python -m tests.command_table`` writes it into the page; a test says when that is due.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flowctl.state import COMMANDS, RunStatus

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- commands by state: python -m tests.command_table -->\n", "<!-- end -->\n"


def table() -> str:
    """The table in Markdown. States in which every command does the same share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for status in RunStatus:
        columns.setdefault(tuple(COMMANDS[name][status] for name in COMMANDS), []).append(f"`{status}`")
    return "".join(_lines([["", *map(" ".join, columns.values())], *zip(_names(), *columns, strict=True)]))


def _names() -> list[str]:
    return [f"`{name}`" for name in COMMANDS]


def _lines(rows: list[list[str] | tuple[str, ...]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |\n"
        if number == 0:
            yield f"|{'---|' * len(row)}\n"


def written(page: str) -> str:
    """The table as the page has it."""
    found = re.search(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", page, re.DOTALL)
    assert found, f"there is no {BEGIN!r}"
    return found[1]


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(written(page), table()), encoding="utf-8")
