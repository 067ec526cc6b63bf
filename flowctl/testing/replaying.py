"""Exported runs, held against documents: whether what a run has done still fits the document as it is now.

The answer is that of ``migrate --check`` (``machine.fitting``); here it is asked of a file that
``flowctl history --export`` has written, without the journal that the run is in.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowctl.backends.exported import read_history
from flowctl.errors import UsageError
from flowctl.model import Workflow

if TYPE_CHECKING:
    from flowctl.testing.casefile import CaseFile


def replay_file(file: CaseFile) -> Iterator[dict[str, Any]]:
    """A case, as in ``suite``, for every history that a test file names."""
    known = {workflow.name: workflow for workflow in file.subject.documents.values()}
    known[file.subject.workflow.name] = file.subject.workflow
    for index, pattern in enumerate(file.histories):
        line = file.line(("histories", index))
        found = sorted(glob.glob(pattern, root_dir=file.path.parent, recursive=True))
        if not found:
            yield _case(f"histories: {pattern}", line, f"there is no file {pattern}", 0.0)
        for name in found:
            yield replay(file.path.parent / name, name, known, line)


def replay(path: Path, name: str, known: Mapping[str, Workflow], line: int = 1) -> dict[str, Any]:
    """The same for one history. ``known`` are documents by name."""
    began = time.perf_counter()
    try:
        history = read_history(path)
        workflow = known.get(history.run.workflow)
        if workflow is None:
            listed = ", ".join(sorted(known)) or "there is none"
            reason: str | None = f"it is a run of {history.run.workflow}; the documents here: {listed}"
        else:
            misfit = history.misfit(workflow)
            reason = None if misfit is None else misfit.reason
    except UsageError as error:
        reason = str(error)
    return _case(f"{name} fits", line, reason, time.perf_counter() - began)


def _case(name: str, line: int, reason: str | None, seconds: float) -> dict[str, Any]:
    mismatches = [] if reason is None else [{"what": reason, "line": line}]
    return {
        "case": name,
        "line": line,
        "status": "passed" if reason is None else "failed",
        "milliseconds": round(seconds * 1000, 3),
        "elapsed": 0.0,
        "mismatches": mismatches,
        "why": None,
        "every_failure": None,
    }
