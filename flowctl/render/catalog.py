"""What is installed and deployed: workflows, activities, plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowctl.render.layout import EMPTY, Column, Json, Line, Row, Span, Table, View, line
from flowctl.render.text import escape, inline, moment


def workflows(items: Iterable[Json]) -> View:
    """Deployed versions: ``{name, version, digest, deployed_at, deprecated}``."""
    rows = [Row(_workflow(item)) for item in items]
    if not rows:
        yield line(Span("no workflows are deployed; flowctl deploy FILE registers one", "dim"))
        return
    columns = (
        Column("workflow", flexible=True),
        Column("version", right=True),
        Column("deployed"),
        Column("digest", flexible=True, optional=True),
        Column(""),
    )
    yield Table(columns, rows, indent=0)


def verdicts(items: Iterable[Json]) -> View:
    """Open runs, and whether a document fits them: ``{id, fits, path, reason}``."""
    rows = [Row(_verdict(item)) for item in items]
    columns = (
        Column("open run", flexible=True),
        Column("migrate"),
        Column("where"),
        Column("", flexible=True),
    )
    yield Table(columns, rows, indent=0)


def _verdict(item: Json) -> Sequence[Line]:
    return (
        line(Span(escape(item["id"]), "strong")),
        line(Span("fits", "good") if item["fits"] else Span("does not fit", "warn")),
        line(Span(escape(item["path"] or ""), "name")),
        line(escape(item["reason"] or "")),
    )


def _workflow(item: Json) -> Sequence[Line]:
    deprecated = item["deprecated"]
    return (
        line(Span(escape(item["name"]), "strong")),
        line(str(item["version"])),
        line(moment(item["deployed_at"])),
        line(Span(item["digest"][:19], "dim")),
        line(Span(f"deprecated: {escape(deprecated)}" if deprecated else "", "warn")),
    )


def activities(items: Iterable[Json]) -> View:
    """Activities as ``describe`` has them, each with the first line of its doc."""
    rows = []
    for item in items:
        cells = (
            line(Span(escape(item["name"]), "name")),
            line(escape(_prose(item["doc"])[0])),
            line(Span(escape(item["plugin"] or ""), "dim")),
        )
        rows.append(Row(cells))
    columns = (Column("activity"), Column("does", flexible=True), Column("plugin", optional=True))
    yield Table(columns, rows, indent=0)


def _prose(doc: str | None) -> list[str]:
    """The lines of a docstring. Doubled backticks are for tools that make pages of it, not for readers."""
    return [text.rstrip() for text in (doc or "").strip().replace("``", "`").split("\n")]


def activity(item: Json) -> View:
    """One activity: signature, doc, parameters, policy, origin."""
    yield line(Span(escape(item["signature"]), "strong"))
    if item["doc"]:
        yield EMPTY
        yield from (line("  ", escape(text)) if text else EMPTY for text in _prose(item["doc"]))
    if item["parameters"]:
        yield EMPTY
        yield Table(
            (Column(), Column(), Column(flexible=True)), [Row(_parameter(p)) for p in item["parameters"]]
        )
    facts = {
        "result": inline(item["result"]) if item["result"] else "",
        "resources": ", ".join(item["resources"]),
        "isolation": item["isolation"],
        "plugin": item["plugin"],
        "origin": item["origin"],
        **_policy(item),
    }
    yield EMPTY
    rows = [
        Row((line(Span(name, "dim")), line(escape(str(value))))) for name, value in facts.items() if value
    ]
    yield Table((Column(), Column()), rows)


def _parameter(parameter: Json) -> Sequence[Line]:
    need = "required" if parameter["required"] else f"default {inline(parameter['default'], 40)}"
    schema = inline(parameter["schema"]) if parameter["schema"] else ""
    return line(Span(escape(parameter["name"]), "name")), line(need), line(Span(schema, "dim"))


def _policy(item: Json) -> dict[str, str]:
    policy = {
        name: inline(value) if isinstance(value, dict) else value for name, value in item["policy"].items()
    }
    return {name.replace("_", " "): value for name, value in policy.items()}


def plugins(found: Iterable[Json], problems: Iterable[Json] = ()) -> View:
    """Plugins ``{name, version, origin, activities, functions}`` and problems ``{plugin, origin, error}``."""
    rows = []
    for plugin in found:
        brings = [*plugin["activities"], *(f"{function}()" for function in plugin["functions"])]
        cells = (
            line(Span(escape(plugin["name"]), "strong")),
            line(escape(plugin["version"] or "")),
            line(escape(", ".join(brings)) or Span("nothing", "dim")),
            line(Span(escape(plugin["origin"]), "dim")),
        )
        rows.append(Row(cells))
    columns = (
        Column("plugin"),
        Column("version"),
        Column("brings", flexible=True),
        Column("origin", optional=True),
    )
    yield Table(columns, rows, indent=0)
    for problem in problems:
        yield line(
            Span("✗ ", "bad"),
            Span(escape(problem["plugin"]), "strong"),
            Span(f"  {escape(problem['origin'])}", "dim"),
        )
        yield line("    ", Span(escape(problem["error"]), "bad"))
