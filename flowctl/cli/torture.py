"""The command that tortures workflows: the real engine, with processes that die and disks that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import InternalError, NotFound, UsageError

if TYPE_CHECKING:
    from flowctl.plugins import Plugins
    from flowctl.testing.casefile import CaseFile
    from flowctl.testing.suite import Suite

POINTS = 10


@click.command(cls=Command)
@click.argument("file", metavar="FILE")
@click.option("--seed", type=int, default=1, show_default=True, help="Where the faults fall.")
@click.option(
    "--points",
    type=click.IntRange(1, 100_000),
    default=POINTS,
    show_default=True,
    help="So many places for each case.",
)
@click.option("-k", "select", metavar="TEXT", help="Only cases in whose name, or file, this text occurs.")
@click.option("--at", "only", metavar="POINT", help="At this point only, as a violation names it.")
@click.pass_obj
def torture(
    invocation: Invocation, file: str, seed: int, points: int, select: str | None, only: str | None
) -> int:
    """Kill the real engine, let its disk fail and its time go wrong, and see that a workflow holds.

    FILE is a file with tests, NAME.test.yaml, or a workflow that has one beside it.

    Each case is carried out undisturbed, and then again and again, with mocks, in a temporary folder: a
    process is killed, or its disk fails, at a system call that changes the database, or it stands still for
    too long, and another goes on; answers and commits come late; the clock is set. All must end as
    undisturbed, or as time has it, with no effect lost and none of a completed step repeated.

    Exit codes: 0 all did; 1 violations; 2 the file has mistakes; 4 no case was selected.
    """
    from flowctl.testing.points import needs_shim, parse_point
    from flowctl.testing.suite import Suite, surroundings
    from flowctl.testing.torture import summary_of

    point = parse_point(only) if only is not None else ()
    settings = invocation.settings
    suite = Suite(surroundings(settings, _warn), select)
    read = _read(suite, file)
    library, missing = _shim()
    if missing is not None and needs_shim(point):
        raise UsageError(f"{only} cannot be repeated here: {missing}")
    result: dict[str, Any] = {"file": str(read.path), "workflow": read.subject.workflow.name}
    result |= {"version": read.subject.workflow.version, "seed": seed, "shim": library is not None}
    result |= {"plugins_dirs": list(invocation.plugins_dirs), "why_no_shim": missing, "cases": []}
    if not invocation.json:
        _show_head(result)
    asked = {"file": str(read.path), "plugins_dirs": settings.plugins_dirs, "select": select, "seed": seed}
    asked |= {"points": points, "shim": library is not None, "only": only}
    began = time.perf_counter()
    for case in _tortured(asked, library):
        result["cases"].append(case)
        if not invocation.json:
            _show_case(case)
    result["summary"] = summary_of(result["cases"], time.perf_counter() - began)
    if invocation.json:
        output.write_json(result)
    else:
        _show_end(result)
    return 1 if result["summary"]["violations"] else 0


def _warn(plugins: Plugins) -> None:
    for problem in plugins.problems:
        output.warn(str(problem))


def _read(suite: Suite, file: str) -> CaseFile:
    """The test file. ``InvalidDocument``, ``UsageError``, ``NotFound``."""
    from flowctl.document.cases import SUFFIXES
    from flowctl.testing.suite import discover

    path = Path(file)
    if path.is_file() and not path.name.endswith(SUFFIXES):
        beside = [path.with_name(path.stem + suffix) for suffix in SUFFIXES]
        path = next((each for each in beside if each.exists()), path)
        if path not in beside:
            raise UsageError(f"{file} has no tests beside it", hint=f"write {beside[0].name}")
    if path.is_dir():
        raise UsageError(f"{file} is a folder", hint="name a test file, NAME.test.yaml")
    [found] = discover([str(path)])
    read = suite.read(found)
    if not suite.selected(read):
        raise NotFound(f"no case of {path} has {suite.select!r} in its name", hint="-k takes a part of it")
    return read


def _shim() -> tuple[Path | None, str | None]:
    """The fault shim, or why there is none."""
    from flowctl.testing import faults

    try:
        return faults.build(), None
    except faults.Unavailable as reason:
        return None, str(reason)


def _tortured(asked: Mapping[str, Any], library: Path | None) -> Iterator[dict[str, Any]]:
    """What comes of each case, from a process that has the shim."""
    from flowctl.testing import faults

    command = [sys.executable, "-m", "flowctl.testing.torture", json.dumps(asked)]
    more = faults.preloading(library) if library is not None else {}
    with subprocess.Popen(  # noqa: S603 - flowctl itself
        command, stdout=subprocess.PIPE, text=True, env=os.environ | more
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            yield json.loads(text)
    if process.returncode:
        raise InternalError(f"the process that tortures ended with exit code {process.returncode}")


def _show_head(result: dict[str, Any]) -> None:
    from flowctl import render

    output.show(render.case_file(result))
    if result["why_no_shim"] is not None:
        output.write(f"  {render.escape(result['why_no_shim'])}: kills come at random moments, no I/O errors")


def _show_case(case: dict[str, Any]) -> None:
    from flowctl import render

    output.show(render.tortured(case))


def _show_end(result: dict[str, Any]) -> None:
    from flowctl import render

    output.show(render.verdict(result))
