"""Commands about what is installed: activities, plugins, doctor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from flowctl.cli import output
from flowctl.cli.options import Command, Invocation
from flowctl.errors import UnknownActivity


@click.command(cls=Command)
@click.argument("name", required=False)
@click.pass_obj
def activities(invocation: Invocation, name: str | None) -> None:
    """Show what activities there are and how they are called.

    With NAME: everything about that one.
    """
    from flowctl.activities.describe import describe

    known = invocation.plugins.activities
    if name is not None and name not in known:
        raise _unknown(name, known)
    items = [describe(known[found]) for found in ([name] if name is not None else sorted(known))]
    if invocation.json:
        output.write_json(items if name is None else items[0])
        return
    from flowctl import render

    output.show(render.activities(items) if name is None else render.activity(items[0]))


def _unknown(name: str, known: Mapping[str, Any]) -> UnknownActivity:
    from flowctl.expressions.hints import did_you_mean

    hint = did_you_mean(name, known, "there are")
    return UnknownActivity(f"no plugin registers {name}", hint=hint, details={"activities": [name]})


@click.command(cls=Command)
@click.pass_obj
def plugins(invocation: Invocation) -> None:
    """Show loaded plugins, and those that could not be."""
    loaded = invocation.load_plugins()
    found = [msgspec.structs.asdict(info) for info in loaded.described]
    problems = [msgspec.structs.asdict(problem) for problem in loaded.problems]
    if invocation.json:
        output.write_json({"plugins": found, "problems": problems})
        return
    from flowctl import render

    output.show(render.plugins(found, problems))


@click.command(cls=Command)
@click.pass_obj
def doctor(invocation: Invocation) -> int:
    """Check the installation and the database.

    Nothing is changed. Exit code 1 if something is wrong.
    """
    from flowctl.cli.checks import check_all

    checks = check_all(invocation.settings.database, invocation.load_plugins())
    if invocation.json:
        output.write_json([dataclasses.asdict(check) for check in checks])
    else:
        from flowctl import render

        output.show(render.doctor([dataclasses.asdict(check) for check in checks]))
    return int(any(check.status == "error" for check in checks))
