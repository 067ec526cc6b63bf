"""What people see: views of runs, journals, catalogues and mistakes, on a terminal or in a pipe.

Three layers, each of which knows only the one below it:

1. *Views* (``run``, ``steps``, ``commands``, ``events``, ``working``, ``difference``, ``catalog``,
   ``cases``, ``torture``, ``problems``) are pure functions from the JSON of the command line to blocks:
   lines and tables of spans whose styles say what a thing means, never what it looks like.
2. *Layout* (``layout``) gives every block its columns and its width.
3. *Printers* write the lines: ``plain`` into pipes, files and tests, ``terminal`` with rich.

So there is one layout for both, nothing a view does can depend on where it is shown, and a pipe never pays
for importing rich. ``Output`` chooses the printer. Text that comes from users, documents, plugins or the
world is escaped (``text.escape``) on its way into a view: a terminal obeys what it is sent.

The public names are imported on first use: a command shows one view, and pays for that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowctl.render.cases import case_failures, case_file, case_line, case_summary, coverage
    from flowctl.render.catalog import activities, activity, plugins, verdicts, workflows
    from flowctl.render.difference import diff
    from flowctl.render.events import history
    from flowctl.render.keeping import backed_up, discarded, verified
    from flowctl.render.layout import View
    from flowctl.render.output import Output
    from flowctl.render.problems import diagnostics, doctor, error
    from flowctl.render.progress import Progress
    from flowctl.render.run import run_list, status, status_before
    from flowctl.render.text import escape
    from flowctl.render.torture import tortured, verdict
    from flowctl.render.working import ended, worked

_HOMES = {
    "Output": "output",
    "Progress": "progress",
    "View": "layout",
    "activities": "catalog",
    "activity": "catalog",
    "backed_up": "keeping",
    "case_failures": "cases",
    "case_file": "cases",
    "case_line": "cases",
    "case_summary": "cases",
    "coverage": "cases",
    "diagnostics": "problems",
    "diff": "difference",
    "discarded": "keeping",
    "doctor": "problems",
    "ended": "working",
    "error": "problems",
    "escape": "text",
    "history": "events",
    "plugins": "catalog",
    "run_list": "run",
    "status": "run",
    "status_before": "run",
    "tortured": "torture",
    "verdict": "torture",
    "verdicts": "catalog",
    "verified": "keeping",
    "worked": "working",
    "workflows": "catalog",
}
"""The module that each public name lives in."""

__all__ = [
    "Output",
    "Progress",
    "View",
    "activities",
    "activity",
    "backed_up",
    "case_failures",
    "case_file",
    "case_line",
    "case_summary",
    "coverage",
    "diagnostics",
    "diff",
    "discarded",
    "doctor",
    "ended",
    "error",
    "escape",
    "history",
    "plugins",
    "run_list",
    "status",
    "status_before",
    "tortured",
    "verdict",
    "verdicts",
    "verified",
    "worked",
    "workflows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
