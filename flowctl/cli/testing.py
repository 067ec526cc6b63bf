"""Commands that test workflows: test."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import FlowctlError, InvalidDocument, NotFound, UsageError

if TYPE_CHECKING:
    from flowctl.plugins import Plugins
    from flowctl.testing.suite import Suite

FAILED, MISTAKEN = 1, 2


@click.command(cls=Command)
@click.argument("paths", metavar="[PATH...]", nargs=-1)
@click.option("-k", "select", metavar="TEXT", help="Only cases in whose name, or file, this text occurs.")
@click.option("--every-failure", "every", is_flag=True, help="Run all cases with every failure there can be.")
@click.option("--coverage", is_flag=True, help="Show which steps, branches, retries and compensations ran.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT", help="Fail if less is covered."
)
@click.option("--junit", metavar="FILE", help="Write the results as JUnit XML, too.")
@click.option("--watch", is_flag=True, help="Run the tests again whenever a file changes.")
@click.option("--replay", is_flag=True, help="PATHs are exported runs: say whether they fit the documents.")
@click.option("--to", "targets", multiple=True, metavar="FILE", help="With --replay, the documents.")
@click.pass_obj
def test(
    invocation: Invocation,
    paths: Sequence[str],
    select: str | None,
    every: bool,
    coverage: bool,
    fail_under: float | None,
    junit: str | None,
    watch: bool,
    replay: bool,
    targets: Sequence[str],
) -> int:
    """Test workflows in virtual time, with mocks, against every failure.

    PATH is a file, NAME.test.yaml, or a folder with such files (by default, this one).

    Exit codes: 0 all passed; 1 a case failed, or too little is covered; 2 a file has mistakes; 4 there are no
    tests.
    """
    if targets and not replay:
        raise UsageError("--to says what --replay compares with", hint="write --replay HISTORY... --to FILE")
    if replay:
        return _replay(invocation, paths, targets)
    if watch and (invocation.json or junit):
        raise UsageError("--watch never ends", hint="leave --json and --junit away")
    asked = _Asked(paths or (".",), select, every, coverage or fail_under is not None, fail_under, junit)
    if watch:
        _watch(invocation, asked)
    return _run(invocation, asked)


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """The options of one call."""

    paths: Sequence[str]
    select: str | None
    every: bool
    coverage: bool
    fail_under: float | None
    junit: str | None


def _run(invocation: Invocation, asked: _Asked) -> int:
    """Run the tests once; returns the exit code."""
    from flowctl.testing.coverage import Coverage
    from flowctl.testing.suite import Suite, discover, summary_of, surroundings

    output.keep_secrets()
    around = surroundings(invocation.settings, _warn)
    suite = Suite(around, asked.select, asked.every, Coverage() if asked.coverage else None)
    files = discover(asked.paths)
    began = time.perf_counter()
    results = [_file(invocation, suite, file) for file in files]
    results = [result for result in results if result["cases"] or result["errors"]]
    if not results:
        raise _nothing(asked)
    summary = summary_of(results, time.perf_counter() - began)
    document = {"files": results, "summary": summary}
    if suite.coverage is not None:
        document["coverage"] = suite.coverage.to_json()
        summary["percent"] = suite.coverage.percent
    if asked.junit is not None:
        from flowctl.testing.junit import write

        write(asked.junit, results)
    if invocation.json:
        output.write_json(document)
    else:
        _show(document)
    return _exit_code(summary, asked.fail_under)


def _warn(plugins: Plugins) -> None:
    for problem in plugins.problems:
        output.warn(str(problem))


def _nothing(asked: _Asked) -> NotFound:
    where = ", ".join(asked.paths)
    if asked.select is not None:
        return NotFound(f"no test in {where} has {asked.select!r} in its name", hint="-k takes a part of it")
    return NotFound(f"there are no tests in {where}", hint="test files are called NAME.test.yaml")


def _file(invocation: Invocation, suite: Suite, path: Path) -> dict[str, Any]:
    """Run one file, showing what comes of it as it comes."""
    result: dict[str, Any] = {"file": str(path), "workflow": None, "version": None, "cases": [], "errors": []}
    try:
        file = suite.read(path)
    except InvalidDocument as error:
        return _mistaken(invocation, result, error, [found.to_json() for found in error.diagnostics])
    except UsageError as error:
        from flowctl.cli.errors import to_json

        return _mistaken(invocation, result, error, [to_json(error)])
    result["workflow"], result["version"] = file.subject.workflow.name, file.subject.workflow.version
    for case in suite.cases(file):
        if not invocation.json:
            _tell(result, case)
        result["cases"].append(case)
    return result


def _tell(result: dict[str, Any], case: dict[str, Any]) -> None:
    from flowctl import render

    if not result["cases"]:
        output.show(render.case_file(result))
    output.show(render.case_line(case))


def _mistaken(
    invocation: Invocation, result: dict[str, Any], error: FlowctlError, listed: list[dict[str, Any]]
) -> dict[str, Any]:
    from flowctl.cli.errors import show

    if not invocation.json:
        show(error, as_json=False)
    result["errors"] = listed
    return result


def _show(document: dict[str, Any]) -> None:
    from flowctl import render

    output.show(render.case_failures(document["files"]))
    if "coverage" in document:
        output.show(render.coverage(document["coverage"]))
    output.show(render.case_summary(document["summary"]))


def _exit_code(summary: dict[str, Any], fail_under: float | None) -> int:
    if summary["errors"]:
        return MISTAKEN
    too_little = fail_under is not None and summary["percent"] < fail_under
    if too_little:
        output.say(f"{summary['percent']:g} % is covered, less than {fail_under:g} %")
    return FAILED if summary["failed"] or too_little else 0


# --- replay


def _replay(invocation: Invocation, histories: Sequence[str], targets: Sequence[str]) -> int:
    """Hold exported runs against documents: those given, or those that the tests here are about."""
    if not histories:
        raise UsageError("--replay needs exported runs", hint="write --replay HISTORY... [--to FILE]")
    from flowctl.testing.replaying import replay

    known = _documents(invocation, targets)
    cases = [replay(Path(history), history, known) for history in histories]
    if invocation.json:
        output.write_json(
            [{"history": name, **_verdict(case)} for name, case in zip(histories, cases, strict=True)]
        )
    else:
        from flowctl import render

        for case in cases:
            output.show(render.case_line(case))
            for mismatch in case["mismatches"]:
                output.write(f"    {render.escape(mismatch['what'])}")
    return FAILED if any(case["status"] != "passed" for case in cases) else 0


def _verdict(case: dict[str, Any]) -> dict[str, Any]:
    reasons = [mismatch["what"] for mismatch in case["mismatches"]]
    return {"fits": not reasons, "reason": reasons[0] if reasons else None}


def _documents(invocation: Invocation, targets: Sequence[str]) -> dict[str, Any]:
    """Documents by name."""
    from flowctl import document
    from flowctl.testing.casefile import load_file
    from flowctl.testing.suite import discover, surroundings

    found = {}
    if targets:
        for target in targets:
            source = document.read(Path(target))
            workflow = document.load(source, target, functions=invocation.plugins.vocabulary).workflow
            found[workflow.name] = workflow
        return found
    around = surroundings(invocation.settings, _warn)
    for file in discover(["."]):
        subject = load_file(file, around).subject
        found |= {each.name: each for each in (*subject.documents.values(), subject.workflow)}
    if not found:
        raise UsageError("nothing says which documents to compare with", hint="name them: --to FILE")
    return found


# --- watch


def _watch(invocation: Invocation, asked: _Asked) -> None:
    """Run the tests again and again, each time in a process of its own: Python imports a plugin once."""
    from flowctl.testing import watching

    command = [sys.executable, "-m", "flowctl", *_arguments(invocation, asked)]
    for _ in watching.changes(lambda: watching.seen(asked.paths)):
        subprocess.run(command, check=False)  # noqa: S603 - flowctl itself, with what it was called with
        output.write("\nwatching; Ctrl-C ends it\n")


def _arguments(invocation: Invocation, asked: _Asked) -> list[str]:
    """The same call without ``--watch``."""
    arguments = ["test"]
    for folder in invocation.plugins_dirs:
        arguments += ["--plugins-dir", folder]
    if asked.select is not None:
        arguments += ["-k", asked.select]
    if asked.fail_under is not None:
        arguments += ["--fail-under", str(asked.fail_under)]
    arguments += ["--every-failure"] * asked.every + ["--coverage"] * asked.coverage
    return [*arguments, "--", *asked.paths]
