"""What became of a database: verified, backed up, with old runs discarded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowctl.render.layout import EMPTY, Column, Json, Line, Row, Span, Table, View, line
from flowctl.render.text import escape, moment

SHOWN = 50
"""Lines, at most, of what may be very long."""

_LOOKED_AT = ("runs", "entries", "messages", "documents")
_REMEDY = (
    "Nothing was changed. Let nothing work on this database any more, keep its files for whoever looks",
    "into it, and put a backup in its place.",
)


def verified(report: Json) -> View:
    """What ``verify`` found: ``{database, runs, entries, messages, documents, problems}``."""
    problems = report["problems"]
    where = Span(escape(report["database"]), "strong")
    what = _contents(report, *_LOOKED_AT) or "nothing"
    if not problems:
        yield line(Span("✓  ", "good"), where, f": {what}, all as it was written")
        return
    yield line(Span("✗  ", "bad"), where, f": {_count(len(problems), 'problems')} in {what}")
    yield EMPTY
    rows = [Row(_problem(problem)) for problem in problems[:SHOWN]]
    yield Table((Column("run"), Column("what is wrong")), rows)
    yield from _more(len(problems))
    yield EMPTY
    for text in _REMEDY:
        yield line("  ", text)


def _problem(problem: Json) -> tuple[Line, ...]:
    run = Span(escape(problem["run"]), "name") if problem["run"] else Span("(the database)", "dim")
    return line(run), line(Span(escape(problem["message"]), "bad"))


def backed_up(report: Json) -> View:
    """What is in a copy: as ``verified``."""
    where = Span(escape(report["database"]), "strong")
    yield line(Span("✓  ", "good"), where, f": {_contents(report, *_LOOKED_AT) or 'nothing yet'}, verified")


def discarded(report: Json) -> View:
    """What ``gc`` discarded, or would: ``{dry_run, before, families, runs, …}``."""
    families = report["families"]
    if report["dry_run"] and families:
        rows = [Row(_family(family)) for family in families[:SHOWN]]
        columns = (Column("run"), Column("ended"), Column("runs", right=True), Column("entries", right=True))
        yield Table(columns, rows, indent=0)
        yield from _more(len(families))
        yield EMPTY
    limit = moment(report["before"])
    if what := _contents(report, "runs", "entries", "documents", "sessions"):
        verb = "would discard" if report["dry_run"] else "discarded"
        yield line(f"{verb} {what}; what ended after {limit} is kept")
    else:
        yield line(f"nothing to discard: what ended after {limit} is kept")
    if report["returned"] or report["freed"]:
        yield line(
            f"{_size(report['returned'])} returned to the disk, {_size(report['freed'])} free for new runs"
        )


def _family(family: Json) -> tuple[Line, ...]:
    return (
        line(Span(escape(family["id"]), "name")),
        line(moment(family["completed_at"])),
        line(f"{family['runs']:,}"),
        line(f"{family['entries']:,}"),
    )


def _more(count: int) -> Iterator[Line]:
    if count > SHOWN:
        yield line(Span(f"  and {count - SHOWN:,} more; --json lists all", "dim"))


_NOUNS: Mapping[str, tuple[str, str]] = {
    "runs": ("run", "runs"),
    "entries": ("entry", "entries"),
    "messages": ("message", "messages"),
    "documents": ("document", "documents"),
    "sessions": ("dead session", "dead sessions"),
    "problems": ("problem", "problems"),
}


def _contents(report: Json, *names: str) -> str:
    """``2 runs, 8 entries and 1 document``, without what there is none of; empty if there is nothing."""
    counts = [_count(report[name], name) for name in names if report[name]]
    return " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)


def _count(number: int, name: str) -> str:
    return f"{number:,} {_NOUNS[name][number != 1]}"


def _size(size: int) -> str:
    for unit, of_it in (("GB", 1_000_000_000), ("MB", 1_000_000)):
        if size >= of_it:
            return f"{size / of_it:,.1f} {unit}"
    return f"{size / 1000:,.0f} kB"
