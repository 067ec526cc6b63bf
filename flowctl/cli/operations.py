"""Commands that hold a run up, end it, or let it go on: pause, unpause, terminate, retry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flowctl.cli.driving import accepted, drive
from flowctl.cli.options import Command, Invocation, wait_option
from flowctl.cli.selection import Selection, run_or_all
from flowctl.errors import UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.cli.bulk import Act


@click.command(cls=Command)
@run_or_all
@click.pass_obj
def pause(invocation: Invocation, target: str | Selection) -> int:
    """Let nothing new begin in runs.

    What is under way ends and is recorded; no clock stops. `unpause` and `resume` take it back.

    With --all: every run that is live and fits the filters.
    """
    with invocation.existing() as backend:
        return _accept(invocation, backend, "pause", target, backend.pause, "pause accepted")


@click.command(cls=Command)
@run_or_all
@click.pass_obj
def unpause(invocation: Invocation, target: str | Selection) -> int:
    """Let paused runs go on.

    Whoever drives runs here goes on with them; `resume` does it in this process. A run that is held because a
    step failed stays held: `retry` or `cancel` decide about it.

    With --all: every run that is paused and fits the filters.
    """
    with invocation.existing() as backend:
        return _accept(invocation, backend, "unpause", target, backend.unpause, "unpause accepted")


@click.command(cls=Command)
@run_or_all
@click.pass_obj
def terminate(invocation: Invocation, target: str | Selection) -> int:
    """End runs at once, and undo nothing.

    Attempts under way are told to stop. Children that a run waits for are terminated with it. `cancel` ends a
    run and undoes what it did.

    With --all: every run that is live and fits the filters.
    """
    with invocation.existing() as backend:
        return _accept(invocation, backend, "terminate", target, backend.terminate, "termination accepted")


@click.command(cls=Command)
@run_or_all
@click.option(
    "--skip",
    multiple=True,
    metavar="PATH",
    help="A step that was not undone, and that a person has seen to; may be repeated.",
)
@click.option("--detach", is_flag=True, help="Only record the request.")
@wait_option
@click.pass_obj
def retry(
    invocation: Invocation, target: str | Selection, skip: Sequence[str], detach: bool, wait: int
) -> int:
    """Let runs go on from where they failed.

    A failed run, or one that is held, goes on from its failed step; one whose compensation failed, from what
    was not undone. All of it has its retries and its time anew. Then, unless somebody else has the run, it is
    driven here; exit codes are those of `run`.

    With --all: every run that can be retried and fits the filters. The exit code is 0 if it could be done for
    all of them, else 1; --wait is for all together.
    """
    if skip and isinstance(target, Selection):
        raise UsageError("--skip is about a step of one run", hint="give RUN in place of --all")
    with invocation.existing(executes=not detach) as backend:
        if isinstance(target, Selection):
            return _for_each(
                invocation,
                backend,
                "retry",
                target,
                backend.retry,
                "retry accepted",
                wait=None if detach else wait,
            )
        run_id = backend.resolve(target)
        answer = backend.retry(run_id, skip=skip)
        if detach:
            return accepted(invocation, backend, answer, "retry accepted")
        return drive(invocation, backend, run_id, wait)


def _accept(
    invocation: Invocation, backend: Backend, command: str, target: str | Selection, act: Act, said: str
) -> int:
    """A command that only records, on one run or on many."""
    if isinstance(target, Selection):
        return _for_each(invocation, backend, command, target, act, said)
    return accepted(invocation, backend, act(backend.resolve(target)), said)


def _for_each(
    invocation: Invocation,
    backend: Backend,
    command: str,
    target: Selection,
    act: Act,
    said: str,
    wait: int | None = None,
) -> int:
    from flowctl.cli.bulk import for_each

    return for_each(invocation, backend, command, target, act, said=said, wait=wait)
