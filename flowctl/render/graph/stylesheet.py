"""The style sheet of the SVG: fonts, lines, and the colours of both themes.

Plain rules rather than variables, which not every program that shows SVG knows. Every selector begins with
the class of the picture, so that it can stand inside of a page.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowctl.render.graph.palette import DARK, LIGHT, Theme

ROOT = "flowctl-graph"
"""The class of the picture."""

_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"

_SHAPES = (
    f"text{{font-family:{_FONTS};white-space:pre}}",
    ".heading{font-size:18px;font-weight:600}",
    ".prose{font-size:13px}",
    ".title{font-size:13px;font-weight:600}",
    ".detail,.label{font-size:11.5px}",
    ".mark{font-size:10.5px}",
    ".box,.frame,.lane,.pill{stroke-width:1.2}",
    ".undo>.box,.undo>.frame{stroke-dasharray:5 3}",
    ".icon,.state{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}",
    ".state{stroke-width:2}",
    ".badged{fill:none;stroke-width:2.4;stroke-linecap:round;stroke-linejoin:round}",
    ".flow,.again,.undoes,.fails{fill:none;stroke-width:1.4}",
    ".undoes,.fails{stroke-dasharray:4 3}",
    ".head{stroke-dasharray:none;stroke-linejoin:round}",
)


def stylesheet() -> str:
    """All rules."""
    dark = "".join(_scoped(_colours(DARK)))
    return "".join([*_scoped(_SHAPES), *_scoped(_colours(LIGHT))]) + (
        f"@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _scoped(rules: Iterator[str] | tuple[str, ...]) -> Iterator[str]:
    for rule in rules:
        selectors, brace, body = rule.partition("{")
        yield ",".join(f".{ROOT} {selector}" for selector in selectors.split(",")) + brace + body


def _colours(theme: Theme) -> Iterator[str]:
    yield f".canvas{{fill:{theme.canvas}}}"
    yield f"text{{fill:{theme.text}}}"
    yield f".prose,.detail,.mark,.dim .title{{fill:{theme.quiet}}}"
    yield f".label{{fill:{theme.accent}}}"
    yield f".catch>.label{{fill:{theme.error}}}"
    yield f".icon{{stroke:{theme.quiet}}}"
    yield f".frame{{fill:{theme.frame.fill};stroke:{theme.frame.line}}}"
    yield f".lane{{fill:{theme.lane.fill};stroke:{theme.lane.line}}}"
    yield f".pill{{fill:none;stroke:{theme.flow}}}"
    yield f".badged{{stroke:{theme.canvas}}}"
    for names, colour in ((".flow,.again,.undoes", theme.flow), (".fails", theme.error)):
        yield f"{names}{{stroke:{colour}}}"
        yield f"{names.replace(',', '.head,')}.head{{fill:{colour}}}"
    for style, (fill, line) in theme.steps.items():
        name = f".{style or 'plain'}"
        yield f"{name}>.box{{fill:{fill};stroke:{line}}}"
        if style:
            yield f"{name}>.frame,{name}>.state{{stroke:{line}}}"
            yield f"{name}>.badge,{name}>g>.note{{fill:{line}}}"
