"""Which runs: the filters of ``list``, and commands that take them, with ``--all``, in place of RUN.

Rules:

1. Filters of different kinds must all hold. Of one kind, given several times, any may: a run has one state,
   and one value of an attribute.
2. ``--where KEY=VALUE`` has no document to tell the type, so ``42`` means the text as well as the number.
3. Without ``--status``, a command takes the runs in whose state it has something to do (``state.COMMANDS``),
   so that ``cancel --all`` does not trip over all that ever ended.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowctl.errors import UsageError
from flowctl.state import RunStatus, acts_on

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.journal import Scalar, Where

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Selection:
    """What the filters say. ``limit`` is None where all are wanted."""

    statuses: Sequence[str] = ()
    workflow: str | None = None
    where: Where = ()
    limit: int | None = None

    def for_command(self, backend: Backend, command: str) -> list[dict[str, Any]]:
        """The runs that a command is to take, as ``{"id", "status"}``.

        They are those that ``list`` shows with these filters, in the order of their creation: so a parent
        comes before its children.
        """
        statuses = self.statuses or sorted(acts_on(command))
        found = backend.select(statuses=statuses, workflow=self.workflow, where=self.where, limit=self.limit)
        return found[::-1]


def where(ctx: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> Where:
    """``KEY=VALUE``, several times: names, each with the values it may have."""
    from flowctl.document import scalar

    conditions: dict[str, list[Scalar]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE, such as customer=c-1", ctx, parameter)
        allowed = conditions.setdefault(name, [])
        allowed.append(text)
        try:
            allowed.append(scalar(text))
        except ValueError:  # too large for a number: the text it is
            continue
    return tuple(conditions.items())


_FILTERS = (
    click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice([str(state) for state in RunStatus]),
        metavar="STATUS",
        help="Only runs in this state; may be repeated.",
    ),
    click.option("--workflow", metavar="NAME", help="Only runs of this workflow."),
    click.option(
        "--where",
        multiple=True,
        callback=where,
        metavar="KEY=VALUE",
        help="Only runs with this search attribute; may be repeated.",
    ),
)


def filters(limit: int | None) -> Callable[[Function], Function]:
    """A command that takes filters; it is called with a ``selection``. ``limit`` is the default."""

    def decorate(function: Function) -> Any:
        @functools.wraps(function)
        def call(*args: Any, statuses: Any, workflow: Any, where: Any, limit: Any, **more: Any) -> Any:
            return function(*args, selection=Selection(statuses, workflow, where, limit), **more)

        count = click.IntRange(1, 1_000_000)
        limited = click.option(
            "--limit", type=count, default=limit, show_default=limit is not None, help="At most so many."
        )
        for option in (limited, *reversed(_FILTERS)):
            call = option(call)
        return call

    return decorate


def run_or_all(function: Function) -> Any:
    """A command that takes RUN, or ``--all`` and filters; it is called with a ``target``: RUN or a
    ``Selection``.
    """

    @click.argument("reference", metavar="[RUN]", required=False)
    @click.option("--all", "every", is_flag=True, help="All runs that fit the filters, in place of RUN.")
    @filters(limit=None)
    @functools.wraps(function)
    def call(*args: Any, reference: str | None, every: bool, selection: Selection, **more: Any) -> Any:
        if every and reference is not None:
            raise UsageError(f"--all and {reference!r} exclude each other", hint="give one of them")
        if not every and selection != Selection():
            raise UsageError("filters choose among all runs", hint="give --all with them, in place of RUN")
        if not every and reference is None:
            raise UsageError("RUN is missing", hint="give a run, or --all")
        return function(*args, target=selection if every else reference, **more)

    return call
