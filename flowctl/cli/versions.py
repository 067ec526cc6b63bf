"""Commands that take a run to another document, or repeat it: migrate, replay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowctl.cli import output
from flowctl.cli.driving import accepted, drive
from flowctl.cli.options import Command, Invocation, principal_option, wait_option
from flowctl.errors import DoesNotFit

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.document.closure import Closure
    from flowctl.model import Workflow


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option("--to", "target", required=True, metavar="FILE|VERSION", help="The document to go on with.")
@click.option("--check", is_flag=True, help="Only say whether it fits.")
@click.pass_obj
def migrate(invocation: Invocation, reference: str, target: str, check: bool) -> int:
    """Let a live run go on with another document.

    The document must fit what the run has done: walked with the recorded answers, it asks for exactly the
    same steps and calls, up to where the run is. VERSION is a deployed version of the run's workflow.

    Exit codes: 0 moved, or it fits; 3 another process drives the run; 5 it does not fit, or the run has
    ended.
    """
    from flowctl.cli.starting import is_file, read_source

    source = read_source(target) if is_file(target) else None
    with invocation.existing(executes=True) as backend:
        run_id = backend.resolve(reference)
        name = target if source is not None else _deployed_name(backend, run_id, target)
        workflow, text, children = _document(invocation, backend, name, source)
        if check:
            return _tell(invocation, backend.verdict(run_id, workflow))
        answer = backend.migrate(run_id, workflow, text, children)
        return accepted(invocation, backend, answer, f"goes on with {workflow.name}@{workflow.version}")


def _deployed_name(backend: Backend, run_id: str, target: str) -> str:
    """VERSION alone is one of the run's own workflow; NAME@V is understood as well."""
    if not target.isdecimal():
        return target
    return f"{backend.status(run_id, count=0)['workflow']}@{target}"


def _document(
    invocation: Invocation, backend: Backend, name: str, source: str | None
) -> tuple[Workflow, str, Closure | None]:
    """What a run is to go on with: a document that can be executed here, its text and its children.
    ``InvalidDocument``, ``NotFound``, ``UsageError``, ``UnknownActivity``.
    """
    from flowctl.cli.starting import check_activities, closure_of, find

    workflow, text = find(invocation, backend, name, source)
    children = closure_of(invocation, backend, workflow, Path(name).parent if source is not None else None)
    check_activities(workflow, invocation.plugins.activities, invocation.settings.plugins_dirs)
    return workflow, text, children


def _tell(invocation: Invocation, verdict: dict[str, Any]) -> int:
    if invocation.json:
        output.write_json(verdict)
    else:
        from flowctl.render import verdicts

        output.show(verdicts([verdict]))
    return 0 if verdict["fits"] else DoesNotFit.exit_code


@click.command(cls=Command)
@click.argument("reference", metavar="RUN")
@click.option("--from", "start", required=True, metavar="PATH", help="The first step that is executed again.")
@click.option("--input", "text", metavar="JSON|@FILE|-", help="Another input for what is executed.")
@click.option("--detach", is_flag=True, help="Only accept the new run.")
@wait_option
@principal_option
@click.pass_obj
def replay(
    invocation: Invocation,
    reference: str,
    start: str,
    text: str | None,
    detach: bool,
    wait: int,
    principal: str | None,
) -> int:
    """Repeat a run from one of its steps on.

    A new run is served what was recorded before the step, but for `commit` steps; the step and all that
    follows is executed. The run that is repeated stays as it is.

    Exit codes are those of `run`; 5 if something before the step was undone.
    """
    from flowctl.cli.inputs import run_input

    other = run_input(text, (), None) if text is not None else None
    with invocation.existing(executes=True) as backend:
        run_id = backend.resolve(reference)
        answer = backend.replay(run_id, start, input=other, principal=principal)
        if detach:
            return accepted(invocation, backend, answer, f"repeats {run_id} from {start}")
        return drive(invocation, backend, answer["id"], wait)
